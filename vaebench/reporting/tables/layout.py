"""A table laid out for the eye: which columns stand together, how many digits they show, which notes stand below.

First comes a headline of at most seven columns, which answers the study's question; the other columns follow by panel.
No column stands twice: one that repeats a label or another bound is left out, and one that is the same in every row is
one sentence instead.

Digits: two significant ones of the column's median half-width, so that no figure is shown which the seeds do not
support. An interval that these digits show as zero is not shown.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, NamedTuple

from vaebench.records.description import Panel, Role
from vaebench.reporting.tables.intervals import ROUNDING, Interval, t_quantile
from vaebench.reporting.tables.labels import ABSENT, brief, canonical, plain
from vaebench.reporting.tables.quantities import Fact, Quantity, observations
from vaebench.reporting.tables.table import Block, Cell, Row, Table, equal_labels

MOST_HEADLINE = 7  # columns of the headline, labels and seeds included

HEADLINE = "The answer in numbers"

HEADLINE_ROLES = (Role.ACTIVE_UNITS, Role.COLLAPSED_UNITS, Role.RECONSTRUCTION_ERROR)
"""What a headline shows beside the best bound and what the study names."""

CHECKSUM = "checksum"  # the key of the data's checksum in what makes runs comparable
DIGITS = 5  # significant digits of a column that has no interval


class Entry(NamedTuple):
    """One cell as it is read."""

    text: str  # the mean
    # what stands beside it, "± 0.4", or both values of two seeds, "[1.2, 1.6]"; None if nothing does.
    spread: str | None = None
    best: bool = False  # whether no other row of the column is better, as far as can be told
    notes: tuple[int, ...] = ()  # the numbers of its notes
    is_number: bool = True  # whether the text is a number, and not a word or a blank
    marked: bool = False  # whether it rests on collapsed importance weights; a note says how far


@dataclass(frozen=True)
class Sheet:
    """One grid of the page: a block's rows under some columns, the first `labels` of which are labels."""

    block: str  # what sets the rows apart from those of other blocks
    caption: str  # what the columns are
    labels: int  # the number of columns that say which row it is
    fixed: int  # the number of columns before the numbers: the labels, and the seeds where rows differ in them
    headings: tuple[Entry, ...]  # above each column
    rows: tuple[tuple[Entry, ...], ...]  # the cells
    constants: str = ""  # the columns that are the same in every row, in one sentence
    is_headline: bool = False  # whether it answers the study's question


@dataclass(frozen=True)
class Page:
    """The sheets, and the notes that they share."""

    sheets: tuple[Sheet, ...]
    notes: tuple[str, ...]


def page(table: Table) -> Page:
    """The table in sheets, of each block the headline first; a note that several cells share is written once."""
    numbers: dict[str, int] = {}
    return Page(tuple(sheet for block in table.blocks for sheet in _sheets(table, block, numbers)), tuple(numbers))


def _sheets(table: Table, block: Block, numbers: dict[str, int]) -> Iterator[Sheet]:
    """The headline of a block, then its panels; the first of them says how many seeds there are."""
    first, seeds = headline(table, block), _seeds(block)
    if first:
        yield replace(_sheet(table, block, HEADLINE, first, numbers), constants=seeds, is_headline=True)
        seeds = ""
    elsewhere = {*first, *repeats(table, block)}
    left = [i for i in range(len(table.quantities)) if i not in elsewhere and _says(block, i)]
    for panel in Panel:
        inside = [i for i in left if table.quantities[i].description.panel is panel]
        constant = {i: text for i in inside if (text := _constant(block, i)) is not None}
        said = "; ".join(f"{table.quantities[i].heading} {text}" for i, text in constant.items())
        if columns := [i for i in inside if i not in constant]:
            same = f"The same in every row: {said}." if said else ""
            sheet = _sheet(table, block, panel.heading, columns, numbers)
            yield replace(sheet, constants=" ".join(filter(None, (seeds, same))))
            seeds = ""
        elif said:
            yield Sheet(comparability(table, block), panel.heading, 0, 0, (), (), f"{said}, in every row.")


def headline(table: Table, block: Block) -> list[int]:
    """The columns that answer the study's question: what the study names, then the best bound that can be trusted.

    With the bound stand active units, collapsed units and the error of reconstruction, as far as there is room. A
    column is left out if it is the same in every row, or, unless the study names it, if one of several rows has it.
    """
    room = MOST_HEADLINE - len(_labelling(table)) - 1  # of seeds, which stand below the table where rows agree in them
    quantities, repeated = table.quantities, repeats(table, block)
    named = [i for name in table.presentation.headline for i, q in enumerate(quantities) if q.name == name]
    usual = [i for role in HEADLINE_ROLES for i, q in enumerate(quantities) if q.description.role is role]
    wanted = dict.fromkeys((*_best_bound(table, block), *named, *(i for i in usual if _compares(block, i))))
    found = [i for i in wanted if _says(block, i) and _constant(block, i) is None]
    shown = [i for i in found[: max(room, 0)] if i not in repeated]
    return [*(i for i in named if i in shown), *sorted({*shown} - {*named})]


def _compares(block: Block, column: int) -> bool:
    """Whether two rows have the column, or the only row of the block."""
    having = sum(row.cells[column].interval is not None for row in block.rows)
    return having >= min(2, len(block.rows))


def _best_bound(table: Table, block: Block) -> list[int]:
    """The tightest bound that no row of the block has to mark; none if there is no bound."""
    bounds = [i for i, q in enumerate(table.quantities) if q.description.role is Role.BOUND and _compares(block, i)]
    sound = [i for i in bounds if all(row.cells[i].caution is None for row in block.rows)]
    return (sound or bounds)[-1:]


def repeats(table: Table, block: Block) -> set[int]:
    """The columns that say nothing new: a bound equal to an earlier one, a fact that is a label of the rows."""
    found: set[int] = set()
    bounds = [i for i, q in enumerate(table.quantities) if q.description.role is Role.BOUND and _says(block, i)]
    for later in range(1, len(bounds)):
        if any(_equal(block, bounds[earlier], bounds[later]) for earlier in range(later)):
            found.add(bounds[later])
    return found | {i for i, q in enumerate(table.quantities) if isinstance(q, Fact) and _is_label(table, q, i)}


def _is_label(table: Table, fact: Quantity, column: int) -> bool:
    """Whether a fact is a label of the rows: of its name, and the same number in every row.

    Equal numbers are not enough: a forecast of 2, 4 and 6 active units for 2, 4 and 6 latent units is a result.
    """
    return any(table.axes[i].rpartition(".")[2] == fact.name for i in equal_labels(table.rows, column))


def _equal(block: Block, first: int, second: int) -> bool:
    """Whether two columns have the same means in every row, to rounding."""
    pairs = [(row.cells[first].interval, row.cells[second].interval) for row in block.rows]
    return all(
        a is b is None or (a is not None and b is not None and math.isclose(a.mean, b.mean, rel_tol=ROUNDING))
        for a, b in pairs
    )


def _constant(block: Block, column: int) -> str | None:
    """The text of a column that is the same in each of several rows, and has nothing to note; else None."""
    cells = [row.cells[column] for row in block.rows]
    known = [cell.interval.mean for cell in cells if cell.interval is not None and cell.interval.spread is None]
    plain = all(not cell.remarks and cell.caution is None for cell in cells)
    if len(known) < len(cells) or len(cells) < 2 or not plain:
        return None
    if max(known) - min(known) > ROUNDING * max(map(abs, known)) or len({cell.over for cell in cells}) > 1:
        return None
    over = cells[0].over
    return figure(known[0], None) + (f" (over {observations(over)})" if over is not None else "")


def comparability(table: Table, block: Block) -> str:
    """What sets a block apart: all of its key if it is alone, else what differs among the blocks.

    A checksum says a reader nothing: it is left out where the rest of the key, or a label, tells the blocks apart.
    """
    names = [_apart(table, each) for each in table.blocks]
    for words in zip(*names, strict=True):
        if all(words) and len({*words}) == len(words):
            return words[table.blocks.index(block)]
    return names[table.blocks.index(block)][-1]


def _apart(table: Table, block: Block) -> tuple[str, ...]:
    """What sets a block apart: its key without a checksum, the labels that all its rows have, its whole key."""
    others = table.measured
    keys = dict.fromkeys(k for b in others for k in b.comparability)
    apart = [k for k in keys if len(others) == 1 or len({canonical(b.comparability.get(k)) for b in others}) > 1]
    key = {k: f"{k} {leaf(block.comparability.get(k))}" for k in apart}
    columns = zip(table.headings, zip(*(row.labels for row in block.rows), strict=True), strict=True)
    labels = [f"{heading} {texts[0]}" for heading, texts in columns if len({*texts}) == 1]
    if not block.comparability:
        return ("not measured",) * 3
    whole = ", ".join(key.values())
    if len(others) == 1:
        return (whole,) * 3
    return ", ".join(text for k, text in key.items() if k != CHECKSUM), ", ".join(labels), whole


def leaf(value: Any) -> str:
    """A value of the comparability key in one word; of a checksum, enough to tell it from another."""
    text = canonical(value) if isinstance(value, Mapping) else plain(value)
    return text[:12] if len(text) >= 32 and all(c in "0123456789abcdef" for c in text) else text


def _says(block: Block, column: int) -> bool:
    return any(row.cells[column].interval or row.cells[column].remarks for row in block.rows)


def _sheet(table: Table, block: Block, caption: str, columns: Sequence[int], numbers: dict[str, int]) -> Sheet:
    found = [_column(block, table.quantities[i], i, numbers) for i in columns]
    headed = [_headed(table.quantities[i].heading, entries) for i, entries in zip(columns, found, strict=True)]
    labels = _labelling(table)
    beside = [] if _seeds(block) else ["seeds"]
    return Sheet(
        block=comparability(table, block),
        caption=caption,
        labels=len(labels),
        fixed=len(labels) + len(beside),
        headings=(*map(_word, (*(table.headings[i] for i in labels), *beside)), *(heading for heading, _ in headed)),
        rows=tuple(
            (*_labels(table, row, labels, numbers), *map(_word, [_counted(row)] * len(beside)), *rest)
            for row, *rest in zip(block.rows, *(e for _, e in headed), strict=True)
        ),
    )


def _seeds(block: Block) -> str:
    """How many seeds each row of a block has, where that is one number; else empty, and the sheets have a column."""
    texts = {_counted(row) for row in block.rows}
    return f"Seeds of each row: {texts.pop()}." if len(texts) == 1 else ""


def _counted(row: Row) -> str:
    return f"{len(row.group.done)}{f', {len(row.group.failed)} failed' if row.group.failed else ''}"


def _labelling(table: Table) -> list[int]:
    """The columns of labels that stand in the sheets: not those that the heading of every block says already."""
    columns = range(len(table.headings))
    said = [i for i in columns if all(_is_said(table, block, i) for block in table.blocks)]
    return [i for i in columns if i not in said] or list(columns)


def _is_said(table: Table, block: Block, column: int) -> bool:
    """Whether the heading of a block among others has the label of all its rows."""
    texts = {row.labels[column] for row in block.rows}
    return len(table.blocks) > 1 and len(texts) == 1 and texts <= {*re.split("[ ,]+", comparability(table, block))}


def _labels(table: Table, row: Row, columns: Sequence[int], numbers: dict[str, int]) -> list[Entry]:
    texts = {i: row.labels[i] for i in columns}
    said = {i: [without_key(table.axes[i])] if text == ABSENT else [] for i, text in texts.items()}
    return [_word(brief(text), _numbered(said[i], numbers)) for i, text in texts.items()]


def without_key(axis: str) -> str:
    """The reason for a blank label."""
    return f"no {axis} in the configuration of this row"


def _numbered(said: Sequence[str], numbers: dict[str, int]) -> tuple[int, ...]:
    """The numbers of notes; a note that was not there before gets the next one."""
    return tuple(numbers.setdefault(" ".join(text.split()), len(numbers) + 1) for text in said)


def _headed(heading: str, entries: list[Entry]) -> tuple[Entry, list[Entry]]:
    """A column under its heading; a note of all its numbers, if they are several, stands at the heading alone."""
    noted = [set(e.notes) for e in entries if e.is_number]
    shared = set.intersection(*noted) if len(noted) > 1 else set()
    rest = [e._replace(notes=tuple(n for n in e.notes if n not in shared)) for e in entries]
    return _word(heading, tuple(sorted(shared))), rest


def _word(text: str, notes: tuple[int, ...] = ()) -> Entry:
    return Entry(text, notes=notes, is_number=False)


def _column(block: Block, quantity: Quantity, column: int, numbers: dict[str, int]) -> list[Entry]:
    cells = [row.cells[column] for row in block.rows]
    best, digits = block.best(column, quantity), decimals([c.interval for c in cells if c.interval is not None])
    ranked = quantity.description.sign != 0
    apart = ranked and len({c.over for c in cells if c.interval is not None}) > 1
    entries = []
    for i, cell in enumerate(cells):
        said = [*cell.remarks, *_over(cell, apart), *([cell.caution] if cell.caution else [])]
        notes = _numbered(said, numbers)
        if cell.interval is None:
            entries.append(_word(ABSENT, notes))
        else:
            mean, spread = shown(cell.interval, digits)
            entries.append(Entry(mean, spread, i in best, notes, marked=cell.caution is not None))
    return entries


def _over(cell: Cell, apart: bool) -> list[str]:
    """The note on the observations behind a number, and that the column has numbers over other observations."""
    if cell.interval is None or (cell.over is None and not apart):
        return []
    return [f"over {observations(cell.over)}{': ranked only among rows of the same observations' * apart}"]


def shown(interval: Interval, places: int | None) -> tuple[str, str | None]:
    """A mean, and what stands beside it: the half-width, or both values of two seeds; None if it is rounding.

    Student's interval of two seeds is 12.7 standard errors wide, so it would say less than the two values.
    """
    mean, spread = figure(interval.mean, places), interval.spread
    if spread is None or not float(figure(spread, places)):
        return mean, None
    if interval.n > 2:
        return mean, f"± {figure(spread, places)}"
    half = spread / t_quantile(1)
    low, high = (figure(interval.mean + sign * half, places) for sign in (-1, 1))
    return mean, None if low == high else f"[{low}, {high}]"


def worded(interval: Interval, places: int | None, mark: str = "") -> str:
    """A mean with its mark, and what stands beside it."""
    mean, spread = shown(interval, places)
    return f"{mean}{mark}" if spread is None else f"{mean}{mark} {spread}"


def decimals(intervals: Sequence[Interval]) -> int | None:
    """Decimal places for a column, None where no seed scatters by more than rounding."""
    level = ROUNDING * max((abs(i.mean) for i in intervals), default=0.0)
    spreads = [(i.spread, i.n) for i in intervals if i.spread is not None and i.spread > level]
    widths = [spread if n > 2 else spread / t_quantile(1) for spread, n in spreads]
    return min(max(1 - math.floor(math.log10(median(widths))), 0), 6) if widths else None


LARGE = 1e9  # from where on a number is written with an exponent


def figure(value: float, places: int | None) -> str:
    """A number with so many decimal places; with five significant digits, or whole, where None are given.

    With five digits, too, where it is so large that decimal places say nothing: a model that has all but diverged.
    """
    if places is not None and not abs(value) >= LARGE:
        text = f"{value:.{places}f}"
    else:
        text = f"{value:.0f}" if float(value).is_integer() and abs(value) < 1e15 else f"{value:.{DIGITS}g}"
    return text if float(text) else text.removeprefix("-")
