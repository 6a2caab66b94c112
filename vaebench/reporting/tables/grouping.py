"""Records that differ in nothing but the seed, and what they say together."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from vaebench.records.description import Description, Role
from vaebench.records.record import Record
from vaebench.reporting.tables.intervals import Interval, t_interval
from vaebench.reporting.tables.labels import SEED, canonical
from vaebench.reporting.tables.quantities import Quantity, Reading, quantities, with_role
from vaebench.reporting.tables.reliability import caution


class Cell(NamedTuple):
    """A quantity over the seeds of a row.

    Attributes:
        interval: mean and interval over seeds; None where no seed has it, for the reasons in the remarks.
        remarks: what stands under the table.
        caution: what the mark says, where a seed of it rests on collapsed importance weights.
        unreliable: how many seeds do; None where it rests on no weights.
        over: the observations that it was taken over, where not the whole split.
    """

    interval: Interval | None
    remarks: tuple[str, ...] = ()
    caution: str | None = None
    unreliable: int | None = None
    over: str | None = None


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
        return Cell(
            t_interval(values) if values else None,
            _counted([reading.remark for reading in readings]),
            caution(quantity.description, unreliable, len(values)),
            len(unreliable) if weights else None,
            "; ".join(sorted({r.over for r in found if r.over is not None})) or None,
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
