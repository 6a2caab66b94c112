"""The records that speak to a claim, and the verdict on it under the tolerance that was stated before the run.

A record counts if it is intact, is there once, and is of the claim's protocol in everything but the seeds.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from vaebench.config import load
from vaebench.records import provenance, record
from vaebench.records.checksums import sha256
from vaebench.records.description import Bias, identities
from vaebench.records.files import PAPER, place, record_paths
from vaebench.records.record import SEAL, Record, RecordError
from vaebench.reporting.ledger.claims import FILE, Budget, Claim, Pick, Point, Rule, State
from vaebench.reporting.select import leaves_of
from vaebench.reporting.tables.intervals import prediction_half_width, t_interval
from vaebench.reporting.tables.quantities import weights

MEASURED = Path(PAPER, "exact")
"""Folder of the records of exact measurements, below `runs` and `results`: `spectrum-3f2a61c09b.json`."""

MEASUREMENT = "measurement"  # key of a configuration that names an exact measurement instead of a training
SEED = "seed"  # the end of the keys that choose a sample or a start. A protocol may be repeated with others

AT_ODDS = 1e-6
"""The relative difference from which two numbers that must be equal are not. In published records it is below 1e-9."""

RUN = "run"  # key of a measurement's configuration: the trained run that is measured


@dataclass(frozen=True)
class Evidence:
    """What is known about a claim.

    Attributes:
        records: of the protocol, done, sorted by file.
        protocols: the configurations that the protocol asks for, one a run.
        failed: how many runs of the protocol have a record that says why they failed.
        faults: why a file is refused: it is damaged, was changed after it was written, has no checksum, repeats another
            file, or is published and does not say which code wrote it.
        foreign: ids of intact records in the same folder that are of another protocol.
    """

    records: list[Record] = field(default_factory=list)
    protocols: list[dict[str, Any]] = field(default_factory=list)
    failed: int = 0
    faults: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)


def evidence(claim: Claim, root: Path) -> Evidence:
    """The records below `root`, which is `results` or `runs`, that speak to a claim.

    Those that stand beside the claims are published, and must also say how to repeat them.

    Raises:
        ConfigError: if the claim's study has a file that does not load.
    """
    if claim.protocol is None:
        return Evidence()
    if isinstance(claim.protocol, dict):
        protocol: dict[str, Any] = {SEED: 0} | claim.protocol
        protocols = [protocol]
        if RUN in protocol:  # one for each run of a study; none where this version has no such study
            study = Path(protocol.pop(RUN))
            protocols = [protocol | {RUN: run.config} for run in (load(study).runs if study.is_file() else ())]
        found = _sorted_out((root / MEASURED).glob(f"{protocol[MEASUREMENT]}-[!.]*.json"), protocols)
    elif claim.protocol.is_file():
        plan = load(claim.protocol)
        paths = record_paths(root / place(claim.protocol))
        found = _sorted_out(paths, [run.config for run in plan.runs], plan.name)
    else:
        return Evidence()  # a protocol that needs what this version does not have
    if (root / FILE).is_file():
        found.faults.extend(_without_origin(found.records))
    return found


def without_seeds(config: Any) -> Any:
    """A configuration with 0 for each of its seeds, wherever they stand. What is no seed by its value stays.

    >>> without_seeds({"data": {"name": "LinearGaussian", "data_seed": 3}, "seed": 7})
    {'data': {'name': 'LinearGaussian', 'data_seed': 0}, 'seed': 0}
    """
    if isinstance(config, Mapping):
        return {k: 0 if k.endswith(SEED) and type(v) is int and v >= 0 else without_seeds(v) for k, v in config.items()}
    return config


def _sorted_out(paths: Iterable[Path], protocols: list[dict[str, Any]], study: str | None = None) -> Evidence:
    allowed = {sha256(without_seeds(protocol)) for protocol in protocols}
    found: dict[Path, Record] = {}
    failed, faults, foreign = 0, [], []
    for path in sorted(paths):
        try:
            one = _intact(path, study)
        except RecordError as error:
            faults.append(str(error))
            continue
        if sha256(without_seeds(one.config)) not in allowed:
            foreign.append(one.id)
        elif one.status == "failed":
            failed += 1
        else:
            found[path] = one
    faults += _repeated(found)
    return Evidence(list(found.values()), protocols, failed, faults, foreign)


def _intact(path: Path, study: str | None) -> Record:
    """The record of a file, which is the one that was written there."""
    one = record.read(path, study)
    if not isinstance(entries := from_json(path.read_bytes()), dict) or SEAL not in entries:
        raise RecordError(f"{path}: has no checksum, since an earlier version wrote it; repeat the run")
    if path.parent.name == MEASURED.name and path.stem != f"{one.config.get(MEASUREMENT)}-{one.id}":
        raise RecordError(f"{path}: expected the name {one.config.get(MEASUREMENT)}-{one.id}.json; restore the file")
    if at_odds := _at_odds(one):
        raise RecordError(f"{path}: its numbers do not fit together: {at_odds}; repeat the run")
    return one


def _at_odds(one: Record) -> str:
    """Why the numbers of a record cannot come from one evaluation: a number and its parts come from the same draws."""
    found = {e.name: e.value for e in one.scalars if not isinstance(e.value, list)}
    for name, parts in ((name, parts) for name, sums in identities().items() for parts in sums):
        if name in found and parts.keys() <= found.keys():
            value, other = found[name], sum(times * found[part] for part, times in parts.items())
            if abs(value - other) > AT_ODDS * max(1.0, abs(value), abs(other)):
                words = " ".join(f"{'−' if times < 0 else '+'} {part}" for part, times in parts.items())
                return f"expected {name} {value} to be {words.removeprefix('+ ')}, {other}"
    return ""


def _repeated(found: Mapping[Path, Record]) -> Iterator[str]:
    """Files with the run of another file, and trainings with the numbers of another seed."""
    seen: dict[str, Path] = {}
    for path, one in found.items():
        numbers = sha256([list(map(str, one.estimates)), one.curve]) if one.curve else one.id
        for key in dict.fromkeys((one.id, numbers)):
            if (first := seen.setdefault(key, path)) != path:
                yield f"{path}: has the {'run' if key == one.id else 'numbers'} of {first}; delete the copy"


def _without_origin(records: Sequence[Record]) -> Iterator[str]:
    """Records that do not say how to repeat them: no command, no commit, or a commit that is not in the history.

    Where git cannot say which commits there are, a commit is believed.
    """
    unknown = provenance.not_in_history({str(r.provenance.get("commit")) for r in records})
    for one in records:
        origin, name = one.provenance, f"record {one.id} of {one.study}"
        if not origin.get("command") or not origin.get("commit"):
            yield f"{name}: names no command or no commit, so it cannot be repeated; publish a run of a git checkout"
        elif origin.get("dirty"):
            yield f"{name}: its code was changed after {origin['commit'][:10]}; publish a run of a clean checkout"
        elif origin["commit"] in unknown:
            yield f"{name}: its commit {origin['commit'][:10]} is not in the history; restore the record from git"


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
    """A point of a claim with what was measured."""

    point: Point  # the published number
    values: list[float]  # the measured ones, one a record
    allowed: float | None  # the largest difference that counts as the same; None where too few runs are there to tell
    runs: tuple[int, int] = (0, 0)  # how many different runs were measured, and how many the protocol has
    bias: Bias | None = None  # in which way a value is wrong that rests on collapsed weights; None if none does

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
    """A claim, its verdict, and the numbers behind it."""

    claim: Claim  # what is in print
    verdict: Verdict  # what the records say
    points: list[Measured] = field(default_factory=list)  # every point with its numbers
    reason: str = ""  # why it is not comparable; empty for other verdicts
    budgets: tuple[Budget, ...] = ()  # what was spent of what, for the verdict that the budget is smaller
    evidence: Evidence = field(default_factory=Evidence)  # the records, and the files that were left out

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
        _bias([r for r, _ in found], point),
    )


def _bias(records: Sequence[Record], point: Point) -> Bias | None:
    """In which way the number of a point is wrong, where it rests on collapsed weights; a factor below 0 turns it."""
    for one in records:
        estimate = one.estimate(point.read)
        behind = None if estimate is None else weights(one, estimate)
        if behind is not None and behind.unreliable:
            bias = one.description(point.read).bias
            return bias if point.times > 0 else bias.opposite
    return None


def _matches(config: dict[str, Any], point: Point) -> bool:
    there = dict(leaves_of(config))
    return all(there.get(path) == value for path, value in point.of.items())


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
