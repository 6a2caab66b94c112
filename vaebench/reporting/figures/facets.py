"""Which rows share a panel, and by what they are told apart: the last axis of few values is the colour.

Beta by colour and models by panel, for a grid of models × σ² × β. What is left over (σ²) shares the colour. Rows that
do not compare never share a panel.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from vaebench.reporting.figures.svg import CATEGORIES, RAMP, variable
from vaebench.reporting.tables.labels import natural
from vaebench.reporting.tables.layout import comparability
from vaebench.reporting.tables.rankings import Block, Row, Table

T = TypeVar("T")

MOST_COLOURS, MOST_PANELS = 8, 6


class Strand(NamedTuple):
    """A row and its colour."""

    row: Row
    colour: str


class Facet(NamedTuple):
    """The rows of one panel, and what they have in common, in words."""

    title: str
    strands: tuple[Strand, ...]


@dataclass(frozen=True)
class Arrangement:
    """The panels of every chart of a study, and the colour of every value of the axis that has the colours."""

    facets: tuple[Facet, ...]
    colours: Mapping[str, str]

    def legend(self, facets: Sequence[Facet]) -> tuple[tuple[str, str], ...]:
        """Colour and words of what some panels show; none where a colour would tell nothing apart."""
        shown = {strand.colour for facet in facets for strand in facet.strands}
        entries = [(variable(c), text) for text, c in self.colours.items() if c in shown]
        return tuple(_few(entries)) if len(entries) > 1 or len(self.colours) > len(entries) else ()

    def showing(self, has: Callable[[Row], bool]) -> list[Facet]:
        """The panels of which some row has something to show, with those rows."""
        kept = [Facet(f.title, tuple(s for s in f.strands if has(s.row))) for f in self.facets]
        return [f for f in kept if f.strands]


def arrange(table: Table) -> Arrangement:
    """The rows of a table in panels and colours."""
    rows = table.rows
    hue = _column(rows, [*reversed(range(len(table.headings)))], MOST_COLOURS)
    apart = _column(rows, [i for i in range(len(table.headings)) if i != hue], MOST_PANELS)
    values = _values(rows, hue or 0)
    colours = dict(zip(values, _colours(values), strict=True))
    facets = [
        Facet(_title(table, block, apart, name), tuple(Strand(r, colours[r.labels[hue or 0]]) for r in members))
        for block in table.blocks
        for name, members in _parted(block, apart)
    ]
    return Arrangement(tuple(facets), {_named(table.headings[hue or 0], v): c for v, c in colours.items()})


def _column(rows: Sequence[Row], columns: Sequence[int], most: int) -> int | None:
    """The first column of labels with several values, but not too many."""
    return next((i for i in columns if 1 < len({r.labels[i] for r in rows}) <= most), None)


def _values(rows: Sequence[Row], column: int) -> list[str]:
    return sorted({r.labels[column] for r in rows}, key=natural)


def _parted(block: Block, column: int | None) -> list[tuple[str, list[Row]]]:
    if column is None:
        return [("", list(block.rows))]
    return [(v, [r for r in block.rows if r.labels[column] == v]) for v in _values(block.rows, column)]


def _title(table: Table, block: Block, column: int | None, value: str) -> str:
    measured = comparability(block, table.blocks) if len(table.blocks) > 1 else ""
    return ", ".join(filter(None, [_named(table.headings[column or 0], value), measured]))


def _named(heading: str, value: str) -> str:
    """A value that a number alone would not explain gets its heading."""
    return f"{heading} {value}" if is_number(value) else value


def is_number(text: str) -> bool:
    """Whether a label is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _colours(values: Sequence[str]) -> list[str]:
    """A colour a value: along the ramp if the values are numbers, from the categories otherwise."""
    if all(map(is_number, values)):
        last = max(len(values) - 1, 1)
        return [RAMP[round(i * (len(RAMP) - 1) / last)] for i in range(len(values))]
    return [CATEGORIES[i % len(CATEGORIES)] for i in range(len(values))]


def _few(values: Sequence[T]) -> list[T]:
    """As many entries as a legend holds, the first and the last among them."""
    if len(values) <= MOST_COLOURS:
        return list(values)
    last = MOST_COLOURS - 1
    return [values[round(i * (len(values) - 1) / last)] for i in range(MOST_COLOURS)]
