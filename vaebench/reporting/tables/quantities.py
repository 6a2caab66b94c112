"""The columns of a table: each reads one number from a record, and the record says how to show it.

Why a cell is blank. The note of the cell gives one of these reasons; here is the file that decides it:

- no run of the row finished: `Group.cell` in `table.py`; the reason of each run stands below the table
- not measured, since the study did not ask for it, or measured before the number existed: `Quantity.read` below
- not a finite number: `Quantity.read` below; which value it was, `_noted` in `records/record.py`
- a fact such as β that the model does not have: `facts_not_applicable` in `models/base.py`, `models/vae.py` and
  `models/parts/likelihoods.py`; of older records, `earlier_reason` in `records/description.py`
- bits/dim, of what is no image: `BitsPerDimension.read` below
- the model does not allow it: `why_not_applicable` of the metric in `evaluation/metrics/`, or of the estimator in
  `evaluation/estimators/`; `without_…` in `evaluation/metrics/base.py`; where q(z∣x) has no mean, `why_no_code` in
  `models/`
- the data do not allow it: `NotApplicable` in `compute` of the metric, or in `estimate` of the estimator
- the estimator met a number that is not finite: `estimate` in `evaluation/measure.py`
- the forecast, the causes of collapse, the point where training ended: `evaluation/collapse.py`
- the ceiling, and the distances from it: `Absent` in `evaluation/ceiling.py`
- the known directions, score or dictionary of the data: `evaluation/known_truth.py`
- a label, since the configuration of the row has no such key: `_labels` in `layout.py`

A number that rests on collapsed importance weights has a mark. If a few draws carry most of the weight, their mean is
biased, and nothing in the draws says how far. Where a record says so, the number is marked in every place that shows
it, is never bold, and is not ranked.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from vaebench.records.description import (
    Bias,
    Description,
    Direction,
    Panel,
    Role,
    Weights,
    earlier_description,
    earlier_observations,
    earlier_reason,
    earlier_weights,
    meaning,
)
from vaebench.records.record import NOT_FINITE, SCALE, Estimate, Record
from vaebench.reporting.tables.labels import natural

MARK = "†"

BITS_PER_DIMENSION = "bits/dim"

RESTS = "rests on collapsed importance weights"


def rests(marked: Iterable[tuple[str, Bias]]) -> str:
    """What the mark means, for the text below numbers. `marked` has the heading of each marked number."""
    return f"{MARK} {RESTS}: {direction(marked)} by an unknown amount."


def explanation(marked: Iterable[tuple[str, Bias]]) -> str:
    """The same below numbers that are ranked."""
    return f"{rests(marked)} It is never bold and never ranked."


def briefly(marked: Iterable[tuple[str, Bias]]) -> str:
    """The same beside a sentence."""
    return f"{MARK}: {direction(marked)} by an unknown amount, for its importance weights collapsed."


def direction(marked: Iterable[tuple[str, Bias]]) -> str:
    """In which way marked numbers are wrong; where not all in one way, the others are named.

    >>> direction([("IWAE-50", Bias.TOO_LOW), ("bits/dim", Bias.TOO_HIGH)])
    'too low (bits/dim: too high)'
    """
    names: dict[Bias, list[str]] = {}
    for heading, bias in dict.fromkeys(marked):
        names.setdefault(bias, []).append(heading)
    first, *rest = (bias for bias in Bias if bias in names)
    others = "; ".join(f"{', '.join(names[bias])}: {bias}" for bias in rest)
    return f"{first} ({others})" if rest else str(first)


def weights(record: Record, estimate: Estimate) -> Weights | None:
    """How far an estimate's weights can be trusted: as it says itself, or as an older record says elsewhere."""
    if estimate.weights is not None or record.tells_weights:
        return estimate.weights
    return earlier_weights(record, estimate)


def caution(description: Description, unreliable: Sequence[Weights], seeds: int = 1) -> str | None:
    """What the mark of a number says; None where it has none.

    Args:
        unreliable: the weights of the seeds that are not to be trusted.
    """
    if not unreliable:
        return None
    shapes = [w.pareto_k for w in unreliable if w.pareto_k is not None]
    parts = [f"{len(unreliable)} of {seeds} seeds"] if seeds > 1 else []
    parts += [f"median Pareto k̂ {_span(shapes, '.2f')}"] if shapes else []
    draws = _span([float(w.draws) for w in unreliable], ".0f")
    parts += [f"{_span([w.effective for w in unreliable], '.3g')} effective draws of {draws}"]
    return f"{MARK} {RESTS} ({', '.join(parts)}): {description.bias} by an unknown amount"


def _span(values: Sequence[float], form: str) -> str:
    return " to ".join(dict.fromkeys(f"{v:{form}}" for v in (min(values), max(values))))


class Reading(NamedTuple):
    """What one record says of one quantity."""

    value: float | None  # a finite number, or None
    remark: str | None = None  # a reservation, or why there is no number
    over: str | None = None  # the observations that it was taken over, where not the whole split
    weights: Weights | None = None  # the importance weights that it rests on

    def caution(self, description: Description) -> str | None:
        """What the mark of the number says, where it rests on collapsed importance weights."""
        collapsed = self.weights is not None and self.weights.unreliable
        return caution(description, [self.weights]) if self.weights is not None and collapsed else None


NOT_MEASURED = "not measured: this run did not ask for it, or its record is older than the number"


@dataclass(frozen=True)
class Quantity:
    """A column of numbers; this one reads an estimate. Two columns are equal if they read the same number."""

    name: str
    description: Description = field(default=Description(), compare=False)

    def read(self, record: Record) -> Reading:
        """The estimate, or why there is none."""
        estimate = record.estimate(self.name)
        if estimate is None:
            return Reading(None, record.not_applicable.get(self.name, NOT_MEASURED))
        if isinstance(estimate.value, list) or not math.isfinite(estimate.value):
            return Reading(None, estimate.note or NOT_FINITE)
        over = estimate.over or earlier_observations(record, estimate)
        return Reading(float(estimate.value), estimate.note, over, weights(record, estimate))

    @property
    def heading(self) -> str:
        return self.description.heading or self.name.replace("_", " ")

    @property
    def meaning(self) -> str:
        """What the number is; empty if neither its description nor the package says it."""
        return self.description.meaning or meaning(self.name)

    @property
    def order(self) -> tuple[int, int, object]:
        return list(Panel).index(self.description.panel), self.description.place, natural(self.name)


@dataclass(frozen=True)
class Fact(Quantity):
    """A column that reads a record's facts."""

    def read(self, record: Record) -> Reading:
        """The fact, with its note."""
        value, note = record.facts.get(self.name), record.facts.get(self.description.note or "")
        if not isinstance(value, int | float) or not math.isfinite(value):
            reason = note or record.not_applicable.get(self.name) or earlier_reason(record, self.name)
            return Reading(None, reason or f"this model does not state {self.heading}")
        return Reading(float(value), note)


BITS = Description(
    BITS_PER_DIMENSION,
    Panel.BOUNDS,
    30,
    "bits",
    Direction.LOWER,
    bias=Bias.TOO_HIGH,
    meaning="−bound / (D ln 2), of the tightest bound, for images of D numbers.",
)


@dataclass(frozen=True)
class BitsPerDimension(Quantity):
    """−bound / (D ln 2), of the tightest bound at hand, for images of D = `dimensions` numbers."""

    name: str = "bits_per_dimension"
    description: Description = field(default=BITS, compare=False)
    bound: Quantity = field(kw_only=True)

    def read(self, record: Record) -> Reading:
        """The bound in bits per dimension."""
        bound = self.bound.read(record)
        if bound.value is None:
            return bound
        if not is_image(record):
            return Reading(None, "bits per dimension are for images")
        said = "; ".join(filter(None, (bound.remark, _per_unit(record)))) or None
        return bound._replace(value=-bound.value / (record.facts["dimensions"] * math.log(2)), remark=said)

    @property
    def heading(self) -> str:
        return f"{self.description.heading} ({self.bound.heading})"


def _per_unit(record: Record) -> str | None:
    """Per which unit of x a density is; None for probabilities, which have none."""
    if record.comparability.get("measure") != "density":
        return None
    scale = record.facts.get(SCALE)
    if scale is None:
        return "bits/dim of a density per unit of x, as the model sees it"
    if scale == 1:
        return "bits/dim of a density per unit of x, as the data has it"
    more = f"{math.log2(scale):+.4g}"
    return f"bits/dim of a density per unit of x, the data divided by {scale:g}; per unit of the data itself: {more}"


WHOLE = "the whole split"


def observations(over: str | None) -> str:
    """Which observations, in words: what tells them from as many others (after the comma) says a reader nothing."""
    return " and ".join(dict.fromkeys(each.partition(",")[0] for each in (over or WHOLE).split("; ")))


def is_image(record: Record) -> bool:
    """Whether the record states D, and no `shape` of fewer than two axes."""
    return bool(record.facts.get("dimensions")) and len(record.facts.get("shape", "HW")) > 1


def quantities(records: Sequence[Record]) -> list[Quantity]:
    """Every quantity that some record has, in the order of the columns."""
    described: dict[str, Description] = {}
    for record in sorted(records, key=lambda r: (str(r.provenance.get("finished", "")), r.id)):
        described |= record.descriptions  # the newest record decides, whatever order the records come in

    def of(name: str) -> Description:
        return described.get(name) or earlier_description(name) or Description()

    measured = {Quantity(name, of(name)) for name in {e.name for r in records for e in r.scalars}}
    facts = {Fact(name, of(name)) for name in {name for r in records for name in r.facts} if of(name) != Description()}
    facts = {fact for fact in facts if any(fact.read(r).value is not None for r in records)}
    bounds = [q for q in sorted(measured, key=lambda q: q.order) if q.description.role is Role.BOUND]
    bits = [BitsPerDimension(bound=bounds[-1])] if bounds and any(map(is_image, records)) else []
    return sorted([*measured, *facts, *bits], key=lambda q: q.order)


def with_role(quantities: Iterable[Quantity], *roles: Role) -> list[Quantity]:
    """The quantities that have one of the roles, in the given order of quantities."""
    return [q for q in quantities if q.description.role in roles]
