"""A table: rows of records that differ in nothing but the seed, and blocks of rows that may be ranked together.

It is a function of the records alone, whatever order they come in.

Bounds compare only on the same pixels under the same measure, so rows stand in one block exactly where the records'
comparability is equal. Within a block, a column ranks only rows whose numbers were taken over the same observations.

The best of a column are the best row (`ordered`) and every row that a test does not tell from it, at 95 % a pair: of
rows that are equal in truth, about one in twenty is left out by chance. There is no correction for the number of rows:
the set of the best would be larger, and so say less.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from vaebench.config.presentation import PLAIN, Presentation
from vaebench.records.description import Bias, Description, Role
from vaebench.records.provenance import commit
from vaebench.records.record import Record
from vaebench.reporting.tables.intervals import ROUNDING, Interval, gap, ordered, t_interval
from vaebench.reporting.tables.labels import (
    ABSENT,
    SEED,
    canonical,
    is_number,
    labels,
    merged_axes,
    named,
    natural,
    slug,
)
from vaebench.reporting.tables.quantities import WHOLE, Fact, Quantity, Reading, caution, quantities, with_role


class Cell(NamedTuple):
    """A quantity over the seeds of a row."""

    interval: Interval | None  # mean and interval over seeds; None where no seed has it, for the reasons in the remarks
    remarks: tuple[str, ...] = ()  # what stands under the table
    caution: str | None = None  # what the mark says, where a seed of it rests on collapsed importance weights
    unreliable: int | None = None  # how many seeds do; None where it rests on no weights
    over: str | None = None  # the observations that it was taken over, where not all seeds have the whole split


@dataclass(frozen=True)
class Group:
    """The runs of one configuration, which differ in the seed alone."""

    config: Mapping[str, Any]
    comparability: Mapping[str, Any]
    done: tuple[Record, ...]
    failed: tuple[Record, ...]

    @property
    def key(self) -> str:
        """What is equal for the same row of another set of records."""
        return canonical([self.config, self.comparability])

    def readings(self, quantity: Quantity) -> list[tuple[int, Reading]]:
        """What every seed says of the quantity."""
        key = (quantity, quantity.description)  # equal quantities may be described differently
        if key not in self._read:
            self._read[key] = [(record.config[SEED], quantity.read(record)) for record in self.done]
        return self._read[key]

    @cached_property
    def _read(self) -> dict[tuple[Quantity, Description], list[tuple[int, Reading]]]:
        """What was read already: tables and figures ask for the same numbers many times."""
        return {}

    @cached_property
    def _quantities(self) -> list[Quantity]:
        return quantities(self.done)

    def values(self, quantity: Quantity) -> dict[int, float]:
        """The quantity by seed, of the seeds that have it."""
        return {seed: r.value for seed, r in sorted(self.readings(quantity)) if r.value is not None}

    def values_of(self, role: Role) -> dict[int, float]:
        """The first quantity with this role, by seed; empty where no run has one."""
        found = with_role(self._quantities, role)
        return self.values(found[0]) if found else {}

    def cell(self, quantity: Quantity) -> Cell:
        """The quantity with its interval, every remark of a seed, and what its weights and observations say."""
        if not self.done:
            return Cell(None, ("no run of this row finished",))
        readings = [reading for _, reading in self.readings(quantity)]
        found = [reading for reading in readings if reading.value is not None]
        values = [r.value for r in found if r.value is not None]
        weights = [r.weights for r in found if r.weights is not None]
        unreliable = [w for w in weights if w.unreliable]
        over = {r.over for r in found}
        return Cell(
            t_interval(values) if values else None,
            _counted([reading.remark for reading in readings]),
            caution(quantity.description, unreliable, len(values)),
            len(unreliable) if weights else None,
            None if over <= {None} else "; ".join(sorted(each or WHOLE for each in over)),
        )


def _counted(said: Sequence[str | None]) -> tuple[str, ...]:
    """Every remark once, with how many seeds have it where not all do."""
    counts = {remark: said.count(remark) for remark in said if remark is not None}
    n = len(said)
    return tuple(text if count == n else f"{text} ({count} of {n} seeds)" for text, count in counts.items())


def groups(records: Sequence[Record]) -> list[Group]:
    """Distinct records by configuration without the seed, and by comparability where they were measured."""
    found: defaultdict[str, defaultdict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        found[canonical(_seedless(record))][canonical(record.comparability)].append(record)
    return [group for same in found.values() for group in _by_comparability(same)]


def distinct(records: Sequence[Record]) -> list[Record]:
    """The records in an order of their own, each run once.

    Raises:
        ValueError: if one run is there twice with different content.
    """
    by_id: dict[str, Record] = {}
    for record in sorted(records, key=lambda r: r.id):
        known = by_id.setdefault(record.id, record)
        if known is not record and repr(known) != repr(record):
            raise ValueError(f"run {record.id} is there twice with different content; remove one of the two records")
    return list(by_id.values())


def _seedless(record: Record) -> dict[str, Any]:
    return {k: v for k, v in record.config.items() if k != SEED}


def _by_comparability(same: Mapping[str, list[Record]]) -> list[Group]:
    """Groups of one configuration: failed runs stand with the first whose runs were measured."""
    measured = [k for k, records in same.items() if any(r.status == "done" for r in records)] or [next(iter(same))]
    failed = tuple(r for records in same.values() for r in records if r.status == "failed")
    return [
        Group(
            _seedless(same[k][0]),
            same[k][0].comparability,
            tuple(sorted((r for r in same[k] if r.status == "done"), key=lambda r: r.config[SEED])),
            failed if k == measured[0] else (),
        )
        for k in measured
    ]


class Row(NamedTuple):
    """A line of the table: what it is called, the runs behind it, and a cell a quantity."""

    labels: tuple[str, ...]
    group: Group
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Block:
    """Rows that may be ranked together."""

    comparability: Mapping[str, Any]
    rows: tuple[Row, ...]

    def contenders(self, column: int) -> dict[str | None, list[int]]:
        """The rows that are ranked in a column, by the observations that it was taken over.

        A marked number is not ranked, and neither is a number of a single seed, since no test applies to it.
        """
        found: defaultdict[str | None, list[int]] = defaultdict(list)
        for i, row in enumerate(self.rows):
            cell = row.cells[column]
            if cell.interval is not None and cell.interval.n > 1 and cell.caution is None:
                found[cell.over].append(i)
        return {over: rows for over, rows in found.items() if len(rows) > 1}

    def best(self, column: int, quantity: Quantity) -> frozenset[int]:
        """The rows that are the best of a column, or that no test tells from it; none where better has no meaning."""
        sign = quantity.description.sign
        if not sign:
            return frozenset()
        values = {i: row.group.values(quantity) for i, row in enumerate(self.rows)}
        return frozenset(i for rows in self.contenders(column).values() for i in _leading(rows, values, sign))


def _leading(rows: Sequence[int], values: Mapping[int, Mapping[int, float]], sign: int) -> list[int]:
    """The best row, and those that are not clearly worse."""
    best, *_ = ordered({i: values[i] for i in rows}, sign)
    gaps = {i: gap(values[best], values[i]) for i in rows if i != best}
    return [
        best,
        *(i for i, each in gaps.items() if each is None or not (each.is_clear and each.interval.mean * sign > 0)),
    ]


@dataclass(frozen=True)
class Table:
    """Everything that a rendering shows."""

    title: str  # the study
    axes: tuple[str, ...]  # the path of every column of labels
    keys: tuple[str, ...]  # by which a user, a study or an answer calls each of them, e.g. `beta`
    headings: tuple[str, ...]  # what stands above each of them, e.g. β
    quantities: tuple[Quantity, ...]  # the columns of numbers
    blocks: tuple[Block, ...]  # the rows
    commits: tuple[str, ...]  # of the code that wrote the records
    remarks: tuple[str, ...] = ()  # what is said at the head, e.g. of runs that the study's file does not ask for
    presentation: Presentation = PLAIN  # how the study wants to be shown

    def name(self, row: Row) -> str:
        """A row in words; a class or a list says what it is without its heading."""
        return named(self.headings, row.labels)

    def slug(self, row: Row, seed: int | None = None) -> str:
        """A row, or its run of a seed, as users call it."""
        return slug(self.keys, row.labels) if seed is None else slug((*self.keys, SEED), (*row.labels, str(seed)))

    def label(self, name: str) -> int | None:
        """The column of labels with this path, key or heading; None if there is none."""
        names = zip(self.axes, self.keys, self.headings, strict=True)
        return next((i for i, known in enumerate(names) if name in known), None)

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows of all blocks, from top to bottom."""
        return tuple(row for block in self.blocks for row in block.rows)

    @property
    def marked(self) -> list[tuple[str, Bias]]:
        """The heading of every column with a mark, and in which way its marked numbers are wrong."""
        columns = [q for i, q in enumerate(self.quantities) if any(row.cells[i].caution for row in self.rows)]
        return [(q.description.heading or q.heading, q.description.bias) for q in columns]

    @property
    def measured(self) -> tuple[Block, ...]:
        """The blocks with a finished run: all but that of the rows whose runs all failed."""
        return tuple(block for block in self.blocks if any(row.group.done for row in block.rows))

    @property
    def failures(self) -> list[tuple[str, str]]:
        """Run and reason of every run that failed."""
        failed = [(row, r) for row in self.rows for r in sorted(row.group.failed, key=lambda r: r.config[SEED])]
        return [(self.slug(row, r.config[SEED]), " ".join((r.reason or "no reason").split())) for row, r in failed]


def blocks(rows: Sequence[Row]) -> list[Block]:
    """The rows by comparability, in the natural order of their labels; last the rows without any number."""
    by_key: defaultdict[str, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: [natural(text) for text in row.labels]):
        by_key[canonical(row.group.comparability)].append(row)
    found = [Block(by_key[k][0].group.comparability, tuple(by_key[k])) for k in sorted(by_key)]
    return sorted(found, key=lambda block: not block.comparability)


def table(records: Sequence[Record], remarks: Sequence[str] = (), presentation: Presentation = PLAIN) -> Table:
    """The records of a study in rows, blocks and columns, with what is to be said at the head.

    Raises:
        ValueError: if there is no record, or one run is there twice with different content.
    """
    if not records:
        raise ValueError("no records to tabulate; run the sweep first")
    records = distinct(records)
    found = groups(records)
    columns = quantities(records)
    named = labels([g.config for g in found], merged_axes([r.axes for r in records]))
    rows = [Row(tuple(c.texts[i] for c in named), g, tuple(map(g.cell, columns))) for i, g in enumerate(found)]
    return Table(
        title=", ".join(sorted({r.study for r in records})),
        axes=tuple(c.path for c in named),
        keys=tuple(c.key for c in named),
        headings=tuple(_heading(c.key, i, columns, rows) for i, c in enumerate(named)),
        quantities=tuple(columns),
        blocks=tuple(blocks(rows)),
        commits=tuple(sorted({commit(r.provenance, 12) for r in records} - {""})),
        remarks=tuple(remarks),
        presentation=presentation,
    )


def _heading(key: str, label: int, columns: Sequence[Quantity], rows: Sequence[Row]) -> str:
    """What stands above a column of labels: the heading of the fact of its name that has the same numbers, or its key.

    So the heading of β is changed where the fact is described, whether β is an axis of the study or not.
    """
    same = (
        q.heading
        for i, q in enumerate(columns)
        if isinstance(q, Fact) and q.name == key and label in equal_labels(rows, i)
    )
    return next(same, key)


def equal_labels(rows: Sequence[Row], column: int) -> list[int]:
    """The columns of labels that have the numbers of a column, and no number where it is blank.

    A row without a finished run has a label and no number, so it is not asked.
    """
    done = [row for row in rows if row.group.done]
    if all(row.cells[column].interval is None for row in done):
        return []
    return [i for i in range(len(done[0].labels)) if all(_agree(r.cells[column].interval, r.labels[i]) for r in done)]


def _agree(number: Interval | None, label: str) -> bool:
    if number is None:
        return label == ABSENT
    return is_number(label) and math.isclose(number.mean, float(label), rel_tol=ROUNDING)
