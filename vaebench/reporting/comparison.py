"""Comparisons: two configurations, paired by seed; and new results with the published reference, which they replace.

Runs of one seed share the order of data and the initial weights, so that their effect cancels in the difference.

A sweep never reads `results/` to skip work. A new mean over m seeds agrees with the published mean over n seeds if it
lies in their 95 % prediction interval, mean ± t_{n−1} s √(1/n + 1/m). Of independent cells, one in twenty lies outside
by chance.
"""

import math
from collections.abc import Collection, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from vaebench.config.presentation import PLAIN, Presentation
from vaebench.records.arrays import find_pictures
from vaebench.records.description import Bias
from vaebench.records.files import (
    PUBLISHED_ARRAYS,
    PUBLISHED_RECORDS,
    published_arrays,
    published_record,
    write_atomically,
)
from vaebench.records.record import Record, encode, read_all
from vaebench.reporting.tables import rendering, table
from vaebench.reporting.tables.intervals import ROUNDING, Gap, Interval, paired, prediction_half_width, t_interval
from vaebench.reporting.tables.labels import canonical
from vaebench.reporting.tables.layout import leaf
from vaebench.reporting.tables.quantities import MARK, Fact, Quantity, explanation, observations, quantities
from vaebench.reporting.tables.table import Group, Row


class Difference(NamedTuple):
    """A quantity in two configurations over the seeds that both have, and the difference, first minus second.

    Attributes:
        quantity: what is compared.
        first, second: its value in each configuration.
        gap: the difference; None if the two values cannot be compared, for the reason.
        cautions: for each configuration, what the mark of its value says; None if it has no mark.
    """

    quantity: Quantity
    first: Interval
    second: Interval
    gap: Gap | None
    cautions: tuple[str | None, str | None] = (None, None)
    reason: str = ""

    @property
    def is_clear(self) -> bool:
        """Whether the seeds show a difference; one pair of runs never does, and a marked number never does."""
        return self.gap is not None and self.gap.is_clear and self.cautions == (None, None)


def difference(first: Group, second: Group, quantity: Quantity) -> Difference | None:
    """The paired difference of a quantity; None if no seed has it in both configurations."""
    ours, theirs = first.values(quantity), second.values(quantity)
    seeds = [seed for seed in ours if seed in theirs]
    gap = paired(ours, theirs)
    if gap is None:
        return None
    sides = t_interval([ours[seed] for seed in seeds]), t_interval([theirs[seed] for seed in seeds])
    cells = [group.cell(quantity) for group in (first, second)]
    if cells[0].over != cells[1].over:
        words = " against ".join(dict.fromkeys(observations(cell.over) for cell in cells))
        return Difference(quantity, *sides, None, reason=f"it was taken over other observations in each ({words})")
    return Difference(quantity, *sides, gap, (cells[0].caution, cells[1].caution))


def differences(first: Group, second: Group) -> list[Difference]:
    """The difference of every measured quantity that both configurations have.

    Raises:
        ValueError: if there is nothing to pair, or if the two differ in the data or the measure.
    """
    if reason := obstacle(first, second):
        raise ValueError(reason)
    measured = [q for q in quantities([*first.done, *second.done]) if not isinstance(q, Fact)]
    return [d for q in measured if (d := difference(first, second, q)) is not None]


def obstacle(first: Group, second: Group) -> str | None:
    """Why two configurations cannot be compared; None if they can."""
    for name, group in (("first", first), ("second", second)):
        if not group.done:
            reasons = "; ".join(dict.fromkeys(str(record.reason) for record in group.failed))
            return f"no run of the {name} finished: {reasons or 'there is none'}"
    keys = dict.fromkeys((*first.comparability, *second.comparability))
    apart = [k for k in keys if canonical(first.comparability.get(k)) != canonical(second.comparability.get(k))]
    if apart:
        values = [f"{k} {leaf(first.comparability.get(k))} and {leaf(second.comparability.get(k))}" for k in apart]
        return f"not comparable: {', '.join(values)}; a bound means something else on other pixels or another measure"
    ours, theirs = ([record.config["seed"] for record in group.done] for group in (first, second))
    if not set(ours) & set(theirs):
        return f"no seed in common: {_listed(ours)} and {_listed(theirs)}; run both with the same seeds"
    return None


def _listed(seeds: Sequence[int]) -> str:
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"


EXACT = 1e-9  # two numbers are the same if their relative difference is at most this


class PublishError(ValueError):
    """These results cannot become the reference; the message says what is missing."""


class Deviation(NamedTuple):
    """A cell that both sets of records have."""

    row: str  # the labels of its row
    metric: str  # the heading of its column
    fresh: float  # the new mean
    published: float  # the published mean
    allowed: float | None  # half-width of the prediction interval; None if only one seed is published
    # the mark of the new and of the published number, where it rests on collapsed importance weights
    marks: tuple[str, str] = ("", "")
    bias: Bias = Bias.TOO_LOW  # in which way a marked number is wrong

    @property
    def is_same(self) -> bool:
        return math.isclose(self.fresh, self.published, rel_tol=EXACT)

    @property
    def excess(self) -> float | None:
        """How far the new mean lies outside the interval; 0 inside, None if there is no interval."""
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
    """Every cell that both sets have, and why other new rows have no published counterpart."""

    deviations: list[Deviation]
    unmatched: list[str]

    @property
    def outside(self) -> list[Deviation]:
        """The cells outside their interval; the first one is the farthest outside, in half-widths."""
        found = [d for d in self.deviations if d.excess]
        return sorted(found, key=lambda d: -(d.excess or 0) / (d.allowed or EXACT))

    def lines(self) -> list[str]:
        same = sum(d.is_same for d in self.deviations)
        unknown = sum(d.excess is None for d in self.deviations)
        within = len(self.deviations) - same - unknown - len(self.outside)
        interval = "the 95 % prediction interval of the published seeds"
        counted = {
            "identical": same,
            f"within {interval}": within,
            f"outside {'it' if within else interval}": len(self.outside),
            "of one published seed, which allows no interval": unknown,
        }
        shown = ", ".join(f"{count} {words}" for words, count in counted.items() if count)
        head = f"{len(self.deviations)} numbers compared with the published ones: {shown}"
        marked = [(d.metric, d.bias) for d in self.outside if any(d.marks)]
        explained = [explanation(marked)] if marked else []
        return [*([head] if self.deviations else []), *map(str, self.outside), *explained, *self.unmatched]


def compare(fresh: Sequence[Record], published: Sequence[Record]) -> Comparison:
    """Compares every measured cell with the published cell of equal configuration, data and measure."""
    ours = table.table(fresh)
    theirs = {row.group.key: row for row in table.table(published).rows}
    measured = [q for q in ours.quantities if not isinstance(q, Fact)]
    deviations, unmatched = [], []
    for row in ours.rows:
        name = ours.slug(row)
        if row.group.done and row.group.key in theirs:
            deviations += [d for q in measured if (d := _deviation(name, q, row, theirs[row.group.key])) is not None]
        else:
            unmatched.append(f"{name}: {_why(row, list(theirs.values()))}")
    return Comparison(deviations, unmatched)


def publish(
    runs: Path,
    results: Path,
    planned: Collection[str] | None = None,
    *,
    incomplete: bool = False,
    presentation: Presentation = PLAIN,
) -> list[Path]:
    """Replaces the records and images in `results/<study>` by those of `runs/<study>`, and writes the tables.

    Args:
        runs: the folder of the sweep.
        results: the folder of the reference; files of runs that are not published now are deleted.
        planned: ids of the runs to publish; None for every run in the folder.
        incomplete: whether to publish although runs failed or are missing.
        presentation: how the tables are shown.

    Returns:
        The files written.

    Raises:
        PublishError: if there is nothing to publish, or if a run failed or is missing.
        RecordError: if a record or a file of images was changed since the run wrote it.
    """
    records = [r for r in read_all(runs) if planned is None or r.id in planned]
    faults = [f"{r.id} failed ({r.reason})" for r in records if r.status == "failed"]
    faults += [f"{i} is missing" for i in sorted(set(planned or ()) - {r.id for r in records})]
    if not records:
        raise PublishError(f"{runs}: no records to publish; run the sweep first")
    if faults and not incomplete:
        remedy = "run the sweep again, or publish what is done with --incomplete"
        raise PublishError(f"{runs}: not published: {'; '.join(faults)}; {remedy}")
    wanted = {published_record(results, r.id): encode(r) for r in records}
    wanted |= {published_arrays(results, r.id): r.left(path) for r, path in _pictured(records, runs)}
    for path, content in wanted.items():
        write_atomically(path, content)
    for old in {*results.glob(f"{PUBLISHED_RECORDS}/*.json"), *results.glob(f"{PUBLISHED_ARRAYS}/*.npz")} - set(wanted):
        old.unlink()
    return [*wanted, *rendering.write(records, results, presentation=presentation)]


def _pictured(records: Sequence[Record], runs: Path) -> list[tuple[Record, Path]]:
    """The images that the page shows: for each row, those of its first seed."""
    firsts = [row.group.done[0] for row in table.table(records).rows if row.group.done]
    return [(first, path) for first in firsts if (path := find_pictures(runs, first.id)) is not None]


def _deviation(name: str, quantity: Quantity, ours: Row, theirs: Row) -> Deviation | None:
    """One quantity of a row in both sets; None if one of them has no number."""
    fresh, published = (list(row.group.values(quantity).values()) for row in (ours, theirs))
    if not fresh or not published:
        return None
    allowed = prediction_half_width(published, len(fresh))
    allowed = None if allowed is None else max(allowed, ROUNDING * abs(fmean(published)))  # of seeds that agree exactly
    marks = (MARK if row.group.cell(quantity).caution else "" for row in (ours, theirs))
    means, bias = (fmean(fresh), fmean(published)), quantity.description.bias
    return Deviation(name, quantity.heading, *means, allowed, (next(marks), next(marks)), bias)


def _why(row: Row, published: Sequence[Row]) -> str:
    if not row.group.done:
        return "no run finished"
    if any(row.group.config == other.group.config for other in published):
        return "published for other data or another measure, not comparable"
    return "not published with this configuration"
