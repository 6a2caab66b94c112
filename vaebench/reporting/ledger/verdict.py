"""A published number and the measured one, compared under the tolerance that was stated before the run."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from vaebench.records.checksums import sha256
from vaebench.records.record import Record
from vaebench.reporting.ledger.claims import Budget, Claim, Pick, Point, Rule, State
from vaebench.reporting.ledger.evidence import RUN, Evidence
from vaebench.reporting.select import leaves_of
from vaebench.reporting.tables.intervals import prediction_half_width, t_interval
from vaebench.reporting.tables.quantities import weights


class Verdict(StrEnum):
    """What the records say about a claim."""

    REPRODUCED = "reproduced"
    DIFFERS = "differs"
    OTHER_SAMPLE = "other sample"
    SMALLER_BUDGET = "budget smaller"
    NOT_COMPARABLE = "not comparable"
    NOT_RUN = "not run"
    NOT_VERIFIED = "not verified"


@dataclass(frozen=True)
class Measured:
    """A point of a claim with what was measured.

    Attributes:
        point: the published number.
        values: the measured ones, one a record.
        allowed: the largest difference that counts as the same; None where too few runs are there to tell.
        runs: how many different runs were measured, and how many the protocol has.
        unreliable: whether a value rests on importance weights that are not to be trusted.
    """

    point: Point
    values: list[float]
    allowed: float | None
    runs: tuple[int, int] = (0, 0)
    unreliable: bool = False

    @property
    def published(self) -> float:
        """The published number; the mean of independent runs."""
        return math.fsum(self.point.values) / len(self.point.values)

    @property
    def value(self) -> float | None:
        """The measured number; None if there is none, NaN if one of several is not finite."""
        if not self.values:
            return None
        if not all(map(math.isfinite, self.values)):
            return math.nan
        return max(self.values, key=abs) if self.point.pick is Pick.LARGEST else t_interval(self.values).mean

    @property
    def half_width(self) -> float | None:
        """Half-width of the 95 % interval over seeds; None where there is no mean of several."""
        return None if self.point.pick is Pick.LARGEST or not self.values else t_interval(self.values).half_width

    @property
    def difference(self) -> float | None:
        """Measured minus published."""
        return None if self.value is None else self.value - self.published

    @property
    def excess(self) -> float:
        """The difference in units of what is allowed: up to 1 is the same. Infinite if it is unknown or NaN."""
        if self.difference is None or self.allowed is None or not math.isfinite(self.difference):
            return math.inf
        if self.allowed == 0:
            return 0.0 if self.difference == 0 else math.inf
        return abs(self.difference) / self.allowed


@dataclass(frozen=True)
class Judgement:
    """A claim, its verdict, and the numbers behind it.

    Attributes:
        claim: what is in print.
        verdict: what the records say.
        points: every point with its numbers.
        reason: why it is not comparable; empty for other verdicts.
        budgets: what was spent of what, for the verdict that the budget is smaller.
        evidence: the records, and the files that were left out.
    """

    claim: Claim
    verdict: Verdict
    points: list[Measured] = field(default_factory=list)
    reason: str = ""
    budgets: tuple[Budget, ...] = ()
    evidence: Evidence = field(default_factory=Evidence)

    @property
    def worst(self) -> Measured | None:
        """The point that is farthest outside its tolerance, or nearest to its edge; None if nothing was measured."""
        measured = [m for m in self.points if m.value is not None]
        return max(measured, key=lambda m: m.excess, default=None)


def judge(claim: Claim, evidence: Evidence) -> Judgement:
    """The verdict on a claim. Nothing but these records counts, and one damaged file is enough to refuse them all."""
    points = [_measured(claim, point, evidence) for point in claim.points]

    def verdict(which: Verdict, reason: str = "", budgets: tuple[Budget, ...] = ()) -> Judgement:
        shown = [] if which is Verdict.NOT_VERIFIED else points
        return Judgement(claim, which, shown, reason, budgets, evidence)

    if claim.state is State.MEMORY:
        return verdict(Verdict.NOT_VERIFIED)
    if claim.incomparable:
        return verdict(Verdict.NOT_COMPARABLE, claim.incomparable)
    if evidence.faults:
        return verdict(Verdict.NOT_COMPARABLE, evidence.faults[0])
    if not evidence.records and evidence.foreign:
        return verdict(Verdict.NOT_COMPARABLE, f"the records are of another protocol ({', '.join(evidence.foreign)})")
    if not evidence.records and not evidence.failed:
        return verdict(Verdict.NOT_RUN)
    if budgets := (*filter(None, [claim.budget]), *_short(points, evidence)):
        return verdict(Verdict.SMALLER_BUDGET, budgets=budgets)
    if not points or any(not point.excess <= 1 for point in points):
        return verdict(Verdict.DIFFERS)
    return verdict(Verdict.OTHER_SAMPLE if claim.sample else Verdict.REPRODUCED)


def _short(points: list[Measured], evidence: Evidence) -> Iterator[Budget]:
    """What is missing, although something was run: failed runs, points without a number, runs, seeds for an interval.

    Only the first of these, since the others follow from it.
    """
    done = len(evidence.records)
    measured = [p for p in points if p.values]
    if evidence.failed:
        yield Budget(done, done + evidence.failed, "runs")
    elif len(measured) < len(points):
        yield Budget(len(measured), len(points), "numbers")
    elif any(found < asked for found, asked in (p.runs for p in points)):
        found, asked = min((p.runs for p in points), key=lambda runs: runs[0] / max(1, runs[1]))
        yield Budget(found, asked, "runs" if len(points) == 1 else "runs for each number")
    elif fewest := min((len(p.values) for p in points if p.allowed is None), default=0):
        yield Budget(fewest, 2, "seeds")


def _measured(claim: Claim, point: Point, evidence: Evidence) -> Measured:
    chosen = [(r, _read(r, point)) for r in evidence.records if _matches(r.config, point)]
    found = [(r, value) for r, value in chosen if value is not None]
    values = [value for _, value in found]
    tolerance = claim.allowed(point)
    match tolerance.rule:
        case Rule.STATED:
            allowed = tolerance.value
        case Rule.PUBLISHED:
            allowed = prediction_half_width(point.values, max(1, len(values)))
        case Rule.SEEDS:
            allowed = prediction_half_width(values, 1) if values else None
    different = {sha256(r.config.get(RUN, r.config)) for r, _ in found}  # a run that is measured twice is one run
    return Measured(
        point,
        values,
        None if allowed is None else math.hypot(allowed, point.error),
        (len(different), sum(_matches(protocol, point) for protocol in evidence.protocols)),
        any(_unreliable(r, point) for r, _ in found),
    )


def _matches(config: dict[str, Any], point: Point) -> bool:
    """Whether it is the configuration that the point is about."""
    there = dict(leaves_of(config))
    return all(there.get(path) == value for path, value in point.of.items())


def _unreliable(record: Record, point: Point) -> bool:
    estimate = record.estimate(point.read)
    behind = None if estimate is None else weights(record, estimate)
    return behind is not None and behind.unreliable


def _read(record: Record, point: Point) -> float | None:
    """The number of a point in a record; None if the record has none.

    A number that `vaebench evaluate --save` added later may have been measured with other settings, so it has no part
    in the protocol.
    """
    later = {name for added in record.provenance.get("later", []) for name in added["names"]}
    estimate = None if point.read in later else record.estimate(point.read)
    found: Any = estimate.value if estimate is not None else record.facts.get(point.read)
    if found is None and (column := record.curve.get(point.read)):
        found = column[-1]  # of the last epoch: an earlier value is no number of the trained model
    if isinstance(found, list):
        found = found[point.index] if point.index is not None and point.index < len(found) else None
    is_number = isinstance(found, int | float) and not isinstance(found, bool)
    return point.times * float(found) + point.plus if is_number else None
