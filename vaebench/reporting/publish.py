"""Fresh results beside published ones, and how the one become the other.

What lies under `results/` is a reference and never a reason to skip work. A fresh mean of m seeds agrees with the
published one where it falls into the published seeds' 95 % prediction interval, t_{n−1} s √(1/n + 1/m) on either side
of their mean; of independent cells one in twenty falls outside by chance.
"""

import math
from collections.abc import Collection, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from vaebench.records import images
from vaebench.records.files import write_atomically
from vaebench.records.record import Record, encode, read_all
from vaebench.records.run_folder import PUBLISHED_ARRAYS, PUBLISHED_RECORDS, published_arrays, published_record
from vaebench.reporting.tables import table
from vaebench.reporting.tables.intervals import prediction_half_width
from vaebench.reporting.tables.labels import slug
from vaebench.reporting.tables.quantities import Fact, Quantity
from vaebench.reporting.tables.rankings import Row
from vaebench.reporting.tables.reliability import EXPLANATION, MARK

EXACT = 1e-9
"""Relative difference up to which two numbers count as the same number."""


class PublishError(ValueError):
    """Results that are not fit to be a reference; the message says what is missing."""


class Deviation(NamedTuple):
    """A cell in both sets of records.

    `allowed` is the half-width of the prediction interval, None where the published row has one seed and cannot say.
    """

    row: str
    metric: str
    fresh: float
    published: float
    allowed: float | None
    marks: tuple[str, str] = ("", "")
    """The marks of the fresh and of the published number, where they rest on collapsed importance weights."""

    @property
    def is_same(self) -> bool:
        """Whether both are the same number."""
        return math.isclose(self.fresh, self.published, rel_tol=EXACT)

    @property
    def excess(self) -> float | None:
        """By how much the fresh mean lies outside, 0 inside; None where nothing is known of the scatter."""
        if self.is_same:
            return 0.0
        return None if self.allowed is None else max(0.0, abs(self.fresh - self.published) - self.allowed)

    def __str__(self) -> str:
        allowed = "one published seed" if self.allowed is None else f"± {self.allowed:.3g} expected"
        beyond = f", {self.excess:.3g} beyond" if self.excess else ""
        fresh, published = (
            f"{value + 0.0:.6g}{mark}"  # 0.0 takes the sign from -0.0
            for value, mark in zip((self.fresh, self.published), self.marks, strict=True)
        )
        return f"{self.row}: {self.metric} {fresh}, published {published} ({allowed}{beyond})"


class Comparison(NamedTuple):
    """Every cell that both sets have, and the fresh rows that have no published counterpart, with the reason."""

    deviations: list[Deviation]
    unmatched: list[str]

    @property
    def outside(self) -> list[Deviation]:
        """The cells that disagree, the farthest first in terms of what was allowed."""
        found = [d for d in self.deviations if d.excess]
        return sorted(found, key=lambda d: -(d.excess or 0) / (d.allowed or EXACT))

    def lines(self) -> list[str]:
        """The comparison in words."""
        same = sum(d.is_same for d in self.deviations)
        unknown = sum(d.excess is None for d in self.deviations)
        within = len(self.deviations) - same - unknown - len(self.outside)
        counted = {"identical": same, "within": within, "outside": len(self.outside), "of one published seed": unknown}
        shown = ", ".join(f"{count} {word}" for word, count in counted.items() if count)
        head = f"{len(self.deviations)} cells against the published seeds' 95 % prediction intervals: {shown}"
        explained = [EXPLANATION] if any(any(d.marks) for d in self.outside) else []
        return [*([head] if self.deviations else []), *map(str, self.outside), *explained, *self.unmatched]


def compare(fresh: Sequence[Record], published: Sequence[Record]) -> Comparison:
    """Every measured cell of the fresh records beside the published one of equal configuration and comparability."""
    if not fresh:
        return Comparison([], [])
    if not published:
        return Comparison([], ["nothing is published for this study"])
    ours = table.table(fresh)
    theirs = {row.group.key: row for row in table.table(published).rows}
    measured = [q for q in ours.quantities if not isinstance(q, Fact)]
    deviations, unmatched = [], []
    for row in ours.rows:
        name = slug(ours.headings, row.labels)
        if row.group.done and row.group.key in theirs:
            deviations += [d for q in measured if (d := _deviation(name, q, row, theirs[row.group.key])) is not None]
        else:
            unmatched.append(f"{name}: {_why(row, list(theirs.values()))}")
    return Comparison(deviations, unmatched)


def publish(
    runs: Path, results: Path, planned: Collection[str] | None = None, *, incomplete: bool = False
) -> list[Path]:
    """Makes the records of `runs/<study>` the published ones of `results/<study>`, with pictures, and writes tables.

    Args:
        runs: where the sweep worked.
        results: where the reference lies; records of runs that are not published now are removed from it.
        planned: ids of the study's runs; others in the folder are left out. Every run found, if None.
        incomplete: publish although runs failed or are missing.

    Returns:
        The files written.

    Raises:
        PublishError: if there is nothing to publish, or a run failed or is missing.
        RecordError: if a record, or pictures, are not as the run left them.
    """
    records = [r for r in read_all(runs) if planned is None or r.id in planned]
    faults = [f"{r.id} failed ({r.reason})" for r in records if r.status == "failed"]
    faults += [f"{i} is missing" for i in sorted(set(planned or ()) - {r.id for r in records})]
    if not records:
        raise PublishError(f"{runs}: no records to publish; run the sweep first")
    if faults and not incomplete:
        raise PublishError(f"{runs}: not published: {'; '.join(faults)}; run the sweep again")
    wanted = {published_record(results, r.id): encode(r) for r in records}
    wanted |= {published_arrays(results, r.id): r.left(path) for r, path in _pictured(records, runs)}
    for path, content in wanted.items():
        write_atomically(path, content)
    for old in {*results.glob(f"{PUBLISHED_RECORDS}/*.json"), *results.glob(f"{PUBLISHED_ARRAYS}/*.npz")} - set(wanted):
        old.unlink()
    return [*wanted, *table.write(records, results)]


def _pictured(records: Sequence[Record], runs: Path) -> list[tuple[Record, Path]]:
    """The pictures of the first seed of every row, which its page shows."""
    firsts = [row.group.done[0] for row in table.table(records).rows if row.group.done]
    return [(first, path) for first in firsts if (path := images.find(runs, first.id)) is not None]


def _deviation(name: str, quantity: Quantity, ours: Row, theirs: Row) -> Deviation | None:
    """One quantity of a row in both sets, None where one of them has no number."""
    fresh, published = (list(row.group.values(quantity).values()) for row in (ours, theirs))
    if not fresh or not published:
        return None
    allowed = prediction_half_width(published, len(fresh))
    marks = (MARK if row.group.cell(quantity).caution else "" for row in (ours, theirs))
    return Deviation(name, quantity.heading, fmean(fresh), fmean(published), allowed, (next(marks), next(marks)))


def _why(row: Row, published: Sequence[Row]) -> str:
    """Why a row has no counterpart."""
    if not row.group.done:
        return "no run finished"
    if any(row.group.config == other.group.config for other in published):
        return "published for other data or another measure, not comparable"
    return "not published with this configuration"
