"""What a table knows of a number by its name: its heading, its place, and whether more of it is better.

A metric that is not named here still gets its column: last, under its own name, and unranked.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from vaebench.records.record import SCALE, Estimate, Record
from vaebench.records.weights import Weights
from vaebench.reporting.tables.labels import natural
from vaebench.reporting.tables.reliability import caution, remark, weights

HIGHER, LOWER, UNRANKED = 1, -1, 0


class Description(NamedTuple):
    """How quantities of one kind of name are shown; `heading` may use the groups of `pattern`."""

    pattern: str
    heading: str
    panel: str
    better: int = UNRANKED


BOUNDS = "Bounds in nats per observation, higher is better (bits/dim: lower)"
EVIDENCE = "Evidence of some observations in nats (naive, AIS: of the split; BDMC: of simulated ones)"
OBJECTIVE = "Objective, rate and latent units"
PARTS = "Parts of the rate in nats per observation"
COLLAPSE = "Collapse explained, on the training split"
USE = "Reconstruction and representation, higher is better"
ALTERED = "A part erased against a shift: how often the erased image is the nearer one"
AWAY = "How far the alteration takes an image (two different ones: 1), and how often its class is kept"

DESCRIPTIONS = (
    Description("elbo", "ELBO", BOUNDS, HIGHER),
    Description(r"iwae_(\d+)", r"IWAE-\1", BOUNDS, HIGHER),
    Description("bits_per_dimension", "bits/dim", BOUNDS, LOWER),
    Description("effective_sample_size_median", "ESS median", BOUNDS),
    Description(r"effective_sample_size_(\d+)%", r"ESS \1 %", BOUNDS),
    Description("pareto_k_median", "Pareto k median", BOUNDS),
    Description(r"pareto_k_above_([\d.]+)", r"share of k > \1", BOUNDS),
    Description("naive_monte_carlo", "naive MC", EVIDENCE),
    Description("naive_monte_carlo_effective_sample_size", "naive MC ESS", EVIDENCE),
    Description("ais", "AIS", EVIDENCE, HIGHER),
    Description("ais_effective_sample_size", "AIS ESS", EVIDENCE),
    Description("bdmc_lower", "BDMC lower", EVIDENCE),
    Description("bdmc_upper", "BDMC upper", EVIDENCE),
    Description("bdmc_gap", "BDMC gap", EVIDENCE),
    Description("beta", "β", OBJECTIVE),
    Description("beta_normalised", "βL/D", OBJECTIVE),
    Description("beta_effective", "βσ²", OBJECTIVE),
    Description("variance", "σ²", OBJECTIVE),
    Description("rate", "rate", OBJECTIVE),
    Description("distortion", "distortion", OBJECTIVE),
    Description("squared_error", "squared error", OBJECTIVE, LOWER),
    Description("forecast_active_units", "forecast active units", OBJECTIVE),
    Description("active_units", "active units", OBJECTIVE),
    Description("collapsed_units", "collapsed units", OBJECTIVE),
    Description("parameters", "parameters", OBJECTIVE),
    Description("collapsed_by_objective", "collapsed by objective", COLLAPSE),
    Description("collapsed_by_optimisation", "collapsed by optimisation", COLLAPSE),
    Description("below_optimum", "nats below optimum", COLLAPSE),
    Description("gradient_norm", "gradient norm", COLLAPSE),
    Description("gradient_gain", "gain along gradient", COLLAPSE),
    Description("smallest_curvature", "smallest curvature", COLLAPSE),
    Description("curvature_gain", "gain along curvature", COLLAPSE),
    Description("off_diagonal_share", "off-diagonal share of WᵀW", COLLAPSE),
    Description("mutual_information", "I(x;z)", PARTS),
    Description("mutual_information_cap", "its cap log N", PARTS),
    Description("aggregate_kl", "aggregate KL", PARTS),
    Description("total_correlation", "total correlation", PARTS),
    Description("dimension_kl", "dimension-wise KL", PARTS),
    Description("psnr", "PSNR in dB", USE, HIGHER),
    Description("ssim", "SSIM", USE, HIGHER),
    Description("linear_probe_accuracy", "linear probe", USE, HIGHER),
    Description("nearest_neighbours_accuracy", "nearest neighbours", USE, HIGHER),
    Description("wrong_by_squared_error", "by squared error", ALTERED),
    Description("wrong_by_cross_entropy", "by cross-entropy", ALTERED),
    Description("wrong_by_reconstruction", "by reconstruction", ALTERED, LOWER),
    Description("wrong_by_code", "by code", ALTERED, LOWER),
    Description("wrong_by_posterior", "by posterior", ALTERED, LOWER),
    Description("shifted_in_pixels", "pixels, shifted", AWAY),
    Description("erased_in_pixels", "pixels, erased", AWAY),
    Description("shifted_in_code", "code, shifted", AWAY),
    Description("erased_in_code", "code, erased", AWAY),
    Description("unaltered_as_class", "class, unaltered", AWAY),
    Description("shifted_as_class", "class, shifted", AWAY),
    Description("erased_as_class", "class, erased", AWAY),
)
"""Every known quantity, in the order of the columns."""

PANELS = (BOUNDS, EVIDENCE, OBJECTIVE, COLLAPSE, PARTS, USE, ALTERED, AWAY)
FACTS = ("beta", "beta_normalised", "beta_effective", "variance", "forecast_active_units", "parameters")
"""What a table shows of a record's `facts`; a `<first word>_note` among the facts stands under the table."""

WHOLE = ("elbo", "squared_error")
"""Estimates that every observation of the split takes part in."""


class Reading(NamedTuple):
    """What one record says of one quantity.

    Attributes:
        value: a finite number, or None.
        remark: a reservation, or why there is no number.
        over: the observations that it was taken over, where not the whole split.
        weights: the importance weights that it rests on.
    """

    value: float | None
    remark: str | None = None
    over: str | None = None
    weights: Weights | None = None

    def caution(self, name: str) -> str | None:
        """What the mark of the number says, where it rests on collapsed importance weights."""
        return caution(name, [self.weights]) if self.weights is not None and self.weights.unreliable else None


@dataclass(frozen=True)
class Quantity:
    """A column of numbers; this one reads an estimate."""

    name: str

    def read(self, record: Record) -> Reading:
        """The estimate, or why there is none."""
        estimate = record.estimate(self.name)
        if estimate is None:
            return Reading(None, self._reason(record))
        if isinstance(estimate.value, list) or not math.isfinite(estimate.value):
            return Reading(None, estimate.note or "not a finite number")
        seen = weights(record, estimate)
        return Reading(float(estimate.value), remark(estimate, seen), _over(record, estimate), seen)

    def _reason(self, record: Record) -> str:
        """Why there is no number: by its own name, or by its metric's, with which the names of its columns begin."""
        plain = self.name.replace("_", "").lower()
        known = [n for n in record.not_applicable if plain.startswith(n.replace("_", "").lower())]
        return record.not_applicable[max(known, key=len)] if known else "not measured"

    @cached_property
    def description(self) -> Description:
        """How this quantity is shown."""
        known = next((d for d in DESCRIPTIONS if re.fullmatch(d.pattern, self.name)), None)
        return known or Description("", self.name.replace("_", " "), OBJECTIVE)

    @cached_property
    def heading(self) -> str:
        """The column's heading."""
        known = re.fullmatch(self.description.pattern, self.name)
        return known.expand(self.description.heading) if known else self.description.heading

    @property
    def order(self) -> tuple[int, object]:
        """Where the column stands."""
        known = [i for i, d in enumerate(DESCRIPTIONS) if re.fullmatch(d.pattern, self.name)]
        return (known or [len(DESCRIPTIONS)])[0], natural(self.name)


@dataclass(frozen=True)
class Fact(Quantity):
    """A column that reads a record's facts."""

    def read(self, record: Record) -> Reading:
        """The fact, with its note."""
        value, note = record.facts.get(self.name), record.facts.get(f"{self.name.partition('_')[0]}_note")
        if not isinstance(value, int | float) or not math.isfinite(value):
            return Reading(None, note or f"this model has no {self.heading}")
        return Reading(float(value), note)


@dataclass(frozen=True)
class BitsPerDimension(Quantity):
    """−bound / (D ln 2), of the tightest bound at hand, for images of D = `dimensions` numbers."""

    name: str = "bits_per_dimension"
    bound: Quantity = Quantity("elbo")

    def read(self, record: Record) -> Reading:
        """The bound in bits per dimension."""
        bound = self.bound.read(record)
        if bound.value is None:
            return bound
        if not is_image(record):
            return Reading(None, "bits per dimension are for images")
        said = "; ".join(filter(None, (bound.remark, _per_unit(record)))) or None
        return bound._replace(value=-bound.value / (record.facts["dimensions"] * math.log(2)), remark=said)

    @cached_property
    def heading(self) -> str:
        """The heading names the bound."""
        return f"bits/dim ({self.bound.heading})"


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


def _over(record: Record, estimate: Estimate) -> str | None:
    """The observations of an estimate; an older record tells by their number that they are not the whole split."""
    if estimate.over is not None or Quantity(estimate.name).description.panel not in (EVIDENCE, ALTERED, AWAY):
        return estimate.over
    whole = max((e.n for e in record.estimates if e.name in WHOLE), default=0)
    return f"{estimate.n} observations" if 0 < estimate.n < whole else None


def observations(over: str | None) -> str:
    """Which observations, in words: what tells them from as many others (after the comma) says a reader nothing."""
    return " and ".join(dict.fromkeys(each.partition(",")[0] for each in (over or "the whole split").split("; ")))


def is_image(record: Record) -> bool:
    """Whether the record states D, and no `shape` of fewer than two axes."""
    return bool(record.facts.get("dimensions")) and len(record.facts.get("shape", "HW")) > 1


def quantities(records: Sequence[Record]) -> list[Quantity]:
    """Every quantity of which some record has a number, in the order of the columns."""
    measured = sorted(map(Quantity, {e.name for r in records for e in r.scalars}), key=lambda q: q.order)
    facts = [f for f in map(Fact, FACTS) if any(f.read(r).value is not None for r in records)]
    bounds = [q for q in measured if (q.description.panel, q.description.better) == (BOUNDS, HIGHER)]
    bits = [BitsPerDimension(bound=bounds[-1])] if bounds and any(map(is_image, records)) else []
    return sorted([*measured, *facts, *bits], key=lambda q: q.order)
