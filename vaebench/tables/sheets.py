"""A table laid out for the eye: which columns stand together, how many digits they show, which notes stand below.

Digits: two significant ones of the column's median half-width, so that no figure is shown which the seeds do not
support.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

from vaebench.tables.blocks import Block, Row, Table
from vaebench.tables.intervals import Interval
from vaebench.tables.labels import ABSENT, canonical, plain
from vaebench.tables.quantities import PANELS, Quantity

DIGITS = 5
"""Significant digits of a column that has no interval."""


class Entry(NamedTuple):
    """One cell as it is read: the text, the half-width beside it, whether it is the best, the numbers of its notes."""

    text: str
    half_width: str | None = None
    best: bool = False
    notes: tuple[int, ...] = ()
    is_number: bool = True


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
        for panel in PANELS
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


def _shown(quantity: Quantity, column: int, panel: str, block: Block) -> bool:
    """Whether a column belongs to the panel and has something to say in the block."""
    cells = (row.cells[column] for row in block.rows)
    return quantity.description.panel == panel and any(c.interval or c.remarks for c in cells)


def _sheet(table: Table, block: Block, panel: str, columns: Sequence[int], numbers: dict[str, int]) -> Sheet:
    found = [_column(block, table.quantities[i], i, numbers) for i in columns]
    headed = [_headed(table.quantities[i].heading, entries) for i, entries in zip(columns, found, strict=True)]
    return Sheet(
        block=comparability(block, table.blocks),
        caption=panel,
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
    intervals = [c.interval for c in cells if c.interval is not None]
    best, digits = block.best(column, quantity), decimals(intervals)
    entries = []
    for cell in cells:
        notes = tuple(numbers.setdefault(" ".join(r.split()), len(numbers) + 1) for r in cell.remarks)
        if cell.interval is None:
            entries.append(_word(ABSENT, notes))
        else:
            spread = quantity.spread(cell.interval)
            half_width = None if spread is None else figure(spread, digits)
            entries.append(Entry(figure(cell.interval.mean, digits), half_width, cell.interval.mean == best, notes))
    return entries


def decimals(intervals: Sequence[Interval]) -> int | None:
    """Decimal places for a column, None where no seed scatters."""
    positive = [i.half_width for i in intervals if i.half_width]
    return min(max(1 - math.floor(math.log10(median(positive))), 0), 6) if positive else None


LARGE = 1e9
"""From where on a number is written with an exponent."""


def figure(value: float, places: int | None) -> str:
    """A number with so many decimal places; with five significant digits, or whole, where None are given.

    With five digits, too, where it is so large that decimal places say nothing: a model that has all but diverged.
    """
    if places is not None and not abs(value) >= LARGE:
        return f"{value:.{places}f}"
    return f"{value:.0f}" if float(value).is_integer() and abs(value) < 1e15 else f"{value:.{DIGITS}g}"
