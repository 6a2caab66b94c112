"""A table laid out for the eye: which columns stand together, how many digits they show, which notes stand below.

Digits: two significant ones of the column's median half-width, so that no figure is shown which the seeds do not
support. An interval that these digits show as zero is not shown.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

from vaebench.records.description import Panel
from vaebench.reporting.tables.grouping import Cell
from vaebench.reporting.tables.intervals import ROUNDING, Interval
from vaebench.reporting.tables.labels import ABSENT, canonical, plain
from vaebench.reporting.tables.quantities import Quantity, observations
from vaebench.reporting.tables.rankings import Block, Row, Table

DIGITS = 5
"""Significant digits of a column that has no interval."""


class Entry(NamedTuple):
    """One cell as it is read.

    Attributes:
        text: the mean.
        half_width: what stands beside it.
        best: whether no other row of the column is better, as far as can be told.
        notes: the numbers of its notes.
        is_number: whether the text is a number, and not a word or a blank.
        marked: whether it rests on collapsed importance weights; a note says how far.
    """

    text: str
    half_width: str | None = None
    best: bool = False
    notes: tuple[int, ...] = ()
    is_number: bool = True
    marked: bool = False


@dataclass(frozen=True)
class Sheet:
    """One grid of the page: a block's rows under the columns of one panel, the first `labels` of which are labels."""

    block: str
    caption: str
    labels: int
    headings: tuple[Entry, ...]
    rows: tuple[tuple[Entry, ...], ...]


@dataclass(frozen=True)
class Page:
    """The sheets, and the notes that they share."""

    sheets: tuple[Sheet, ...]
    notes: tuple[str, ...]


def page(table: Table) -> Page:
    """The table in sheets; a note that several cells share is written once."""
    numbers: dict[str, int] = {}
    sheets = [
        _sheet(table, block, panel, columns, numbers)
        for block in table.blocks
        for panel in Panel
        if (columns := [i for i, q in enumerate(table.quantities) if _shown(q, i, panel, block)])
    ]
    return Page(tuple(sheets), tuple(numbers))


def comparability(block: Block, others: Sequence[Block]) -> str:
    """What sets a block apart: all of its key if it is alone, else what differs among the blocks."""
    keys = dict.fromkeys(k for b in others for k in b.comparability)
    apart = [k for k in keys if len(others) == 1 or len({canonical(b.comparability.get(k)) for b in others}) > 1]
    shown = [f"{k} {leaf(block.comparability.get(k))}" for k in apart]
    return ", ".join(shown) if block.comparability else "not measured"


def leaf(value: Any) -> str:
    """A value of the comparability key in one word; of a checksum, enough to tell it from another."""
    text = canonical(value) if isinstance(value, Mapping) else plain(value)
    return text[:12] if len(text) >= 32 and all(c in "0123456789abcdef" for c in text) else text


def _shown(quantity: Quantity, column: int, panel: Panel, block: Block) -> bool:
    """Whether a column belongs to the panel and has something to say in the block."""
    cells = (row.cells[column] for row in block.rows)
    return quantity.description.panel is panel and any(c.interval or c.remarks for c in cells)


def _sheet(table: Table, block: Block, panel: Panel, columns: Sequence[int], numbers: dict[str, int]) -> Sheet:
    found = [_column(block, table.quantities[i], i, numbers) for i in columns]
    headed = [_headed(table.quantities[i].heading, entries) for i, entries in zip(columns, found, strict=True)]
    return Sheet(
        block=comparability(block, table.blocks),
        caption=panel.heading,
        labels=len(table.headings),
        headings=(*map(_word, (*table.headings, "seeds")), *(heading for heading, _ in headed)),
        rows=tuple((*_labels(row), *rest) for row, *rest in zip(block.rows, *(e for _, e in headed), strict=True)),
    )


def _labels(row: Row) -> list[Entry]:
    """What the row is called, and how many seeds are behind it."""
    failed = f", {len(row.group.failed)} failed" if row.group.failed else ""
    return [_word(text) for text in (*row.labels, f"{len(row.group.done)}{failed}")]


def _headed(heading: str, entries: list[Entry]) -> tuple[Entry, list[Entry]]:
    """A column under its heading; a note of all its numbers, if they are several, stands at the heading alone."""
    noted = [set(e.notes) for e in entries if e.is_number]
    shared = set.intersection(*noted) if len(noted) > 1 else set()
    rest = [e._replace(notes=tuple(n for n in e.notes if n not in shared)) for e in entries]
    return _word(heading, tuple(sorted(shared))), rest


def _word(text: str, notes: tuple[int, ...] = ()) -> Entry:
    return Entry(text, notes=notes, is_number=False)


def _column(block: Block, quantity: Quantity, column: int, numbers: dict[str, int]) -> list[Entry]:
    """The entries of one quantity, one a row."""
    cells = [row.cells[column] for row in block.rows]
    best, digits = block.best(column, quantity), decimals([c.interval for c in cells if c.interval is not None])
    ranked = quantity.description.sign != 0
    apart = ranked and len({c.over for c in cells if c.interval is not None}) > 1
    entries = []
    for i, cell in enumerate(cells):
        said = [*cell.remarks, *_over(cell, apart), *([cell.caution] if cell.caution else [])]
        notes = tuple(numbers.setdefault(" ".join(r.split()), len(numbers) + 1) for r in said)
        if cell.interval is None:
            entries.append(_word(ABSENT, notes))
        else:
            mean, spread = shown(cell.interval, digits)
            entries.append(Entry(mean, spread, i in best, notes, marked=cell.caution is not None))
    return entries


def _over(cell: Cell, apart: bool) -> list[str]:
    """What is said of the observations of a number: of which they are, and that others of the column are of others."""
    if cell.interval is None or (cell.over is None and not apart):
        return []
    return [f"over {observations(cell.over)}{': ranked only among rows of the same observations' * apart}"]


def shown(interval: Interval, places: int | None) -> tuple[str, str | None]:
    """A mean, and the half-width beside it; None where that is rounding, or these digits show it as zero."""
    width = None if interval.spread is None else figure(interval.spread, places)
    return figure(interval.mean, places), None if width is None or not float(width) else width


def decimals(intervals: Sequence[Interval]) -> int | None:
    """Decimal places for a column, None where no seed scatters by more than rounding."""
    level = ROUNDING * max((abs(i.mean) for i in intervals), default=0.0)
    widths = [i.spread for i in intervals if i.spread is not None and i.spread > level]
    return min(max(1 - math.floor(math.log10(median(widths))), 0), 6) if widths else None


LARGE = 1e9
"""From where on a number is written with an exponent."""


def figure(value: float, places: int | None) -> str:
    """A number with so many decimal places; with five significant digits, or whole, where None are given.

    With five digits, too, where it is so large that decimal places say nothing: a model that has all but diverged.
    """
    if places is not None and not abs(value) >= LARGE:
        text = f"{value:.{places}f}"
    else:
        text = f"{value:.0f}" if float(value).is_integer() and abs(value) < 1e15 else f"{value:.{DIGITS}g}"
    return text if float(text) else text.removeprefix("-")
