"""Which rows share a panel, and which colour a row has.

The last axis with few values has the colours, and the first other one has the panels: in a grid of models × σ² × β, β
has the colours and the models have the panels. Rows that differ in the remaining axes (σ²) share a colour. Rows that
cannot be compared never share a panel.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from vaebench.reporting.figures.svg import CATEGORIES, RAMP, variable
from vaebench.reporting.tables.labels import brief, is_number, natural
from vaebench.reporting.tables.layout import comparability
from vaebench.reporting.tables.rows import Block, Row, Table

T = TypeVar("T")

MOST_COLOURS, MOST_PANELS = 8, 6

Legend = tuple[tuple[str, str], ...]
"""Colour (the name of a CSS variable, `c0` or `r0`) and text of every entry."""


class Series(NamedTuple):
    """A row, its colour, and what stands at the end of its line: its value of the coloured axis."""

    row: Row
    colour: str
    name: str = ""


class Facet(NamedTuple):
    """The rows of one panel, and a title that says what they have in common."""

    title: str
    series: tuple[Series, ...]


@dataclass(frozen=True)
class Facets:
    """The facets of a study, which all its figures use, and the colour of every value of the coloured axis."""

    all: tuple[Facet, ...]
    colours: Mapping[str, str]

    @classmethod
    def of(cls, table: Table) -> "Facets":
        """The facets of a table."""
        columns = range(len(table.headings))
        hue = _column(table.rows, [*reversed(columns)], MOST_COLOURS)
        split = _column(table.rows, [i for i in columns if i != hue], MOST_PANELS)
        values = _values(table.rows, hue or 0)
        coloured = dict(zip(values, colours(values), strict=True))
        facets = [
            Facet(
                _title(table, block, split, name),
                tuple(Series(r, coloured[r.labels[hue or 0]], brief(r.labels[hue or 0])) for r in members),
            )
            for block in table.blocks
            for name, members in _split(block, split)
        ]
        return cls(tuple(facets), {_named(table.headings[hue or 0], v): c for v, c in coloured.items()})

    def legend(self, facets: Sequence[Facet]) -> Legend:
        """The legend of some facets; empty if the study has only one colour."""
        shown = {series.colour for facet in facets for series in facet.series}
        entries = [(variable(c), text) for text, c in self.colours.items() if c in shown]
        return tuple(_few(entries)) if len(entries) > 1 or len(self.colours) > len(entries) else ()

    def keep(self, has: Callable[[Row], bool]) -> list[Facet]:
        """The facets without the rows that have nothing to show, and without the facets that are then empty."""
        kept = [Facet(f.title, tuple(s for s in f.series if has(s.row))) for f in self.all]
        return [f for f in kept if f.series]


def measured_on(table: Table, block: Block) -> list[str]:
    """What distinguishes the data and measure of a block from those of the others; empty if it is the only one."""
    return [comparability(table, block)] if len(table.blocks) > 1 else []


def _column(rows: Sequence[Row], columns: Sequence[int], most: int) -> int | None:
    """The first column of labels that has several values, but not too many."""
    return next((i for i in columns if 1 < len({r.labels[i] for r in rows}) <= most), None)


def _values(rows: Sequence[Row], column: int) -> list[str]:
    return sorted({r.labels[column] for r in rows}, key=natural)


def _split(block: Block, column: int | None) -> list[tuple[str, list[Row]]]:
    """The rows of a block by their label in a column."""
    if column is None:
        return [("", list(block.rows))]
    return [(v, [r for r in block.rows if r.labels[column] == v]) for v in _values(block.rows, column)]


def _title(table: Table, block: Block, column: int | None, value: str) -> str:
    return ", ".join(filter(None, [_named(table.headings[column or 0], value), *measured_on(table, block)]))


def _named(heading: str, value: str) -> str:
    """A value; with its heading if it is a number, which alone would not explain itself."""
    return f"{heading} {value}" if is_number(value) else brief(value)


def colours(values: Sequence[str]) -> list[str]:
    """A colour for each value: along the ramp if all values are numbers, otherwise from the categories."""
    if all(map(is_number, values)):
        last = max(len(values) - 1, 1)
        return [RAMP[round(i * (len(RAMP) - 1) / last)] for i in range(len(values))]
    return [CATEGORIES[i % len(CATEGORIES)] for i in range(len(values))]


def _few(values: Sequence[T]) -> list[T]:
    """At most as many entries as a legend has room for, with the first and the last."""
    if len(values) <= MOST_COLOURS:
        return list(values)
    last = MOST_COLOURS - 1
    return [values[round(i * (len(values) - 1) / last)] for i in range(MOST_COLOURS)]
