"""How a number is shown: its heading, its place in the table, its unit, and whether more of it is better.

A metric, an estimator or a model declares the description of each of its numbers in its own file. The record of a run
carries the descriptions; tables, pages, W&B and the terminal read them there and know no metric by its name. `Weights`
says beside a number how far its importance weights can be trusted.
"""

import json
import re
from enum import StrEnum
from functools import cache
from importlib import resources
from inspect import cleandoc
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import Field

if TYPE_CHECKING:
    from vaebench.records.record import Estimate, Record


class Panel(StrEnum):
    """A part of the table, with what stands above it. The parts stand in the order of this list."""

    heading: str

    def __new__(cls, name: str, heading: str) -> "Panel":
        """The part that records call by this name."""
        made = str.__new__(cls, name)
        made._value_, made.heading = name, heading
        return made

    BOUNDS = "bounds", "Bounds in nats per observation, higher is better (bits/dim: lower)"
    EVIDENCE = "evidence", "Evidence of some observations in nats (naive, AIS: of the split; BDMC: of simulated ones)"
    OBJECTIVE = "objective", "Objective, rate and latent units"
    COLLAPSE = "collapse", "Collapse explained, on the training split"
    RATE = "rate", "Parts of the rate in nats per observation"
    REPRESENTATION = "representation", "Reconstruction and representation, higher is better"
    DISENTANGLEMENT = (
        "disentanglement",
        "Disentanglement: units of the code against the factors of the data, from 0 to 1",
    )
    ALTERED = "altered", "A part erased against a shift: how often the erased image is the nearer one"
    DISTANCE = (
        "distance",
        "How far the alteration takes an image (two different ones: 1), and how often its class is kept",
    )
    TRAINING = "training", "Training"  # numbers of every epoch. They are drawn over epochs and stand in no table


class Direction(StrEnum):
    """Which of two numbers is the better one."""

    HIGHER = "higher"
    LOWER = "lower"
    NEITHER = "neither"


class Role(StrEnum):
    """What a number means to a chart or a sentence, so that these need no names of metrics."""

    BOUND = "bound"
    """A lower bound on log p(x) of the whole split. The last one in the order of columns is the tightest."""
    RATE = "rate"
    DISTORTION = "distortion"
    RECONSTRUCTION_ERROR = "reconstruction error"
    ACTIVE_UNITS = "active units"
    COLLAPSED_UNITS = "collapsed units"
    FORECAST = "forecast of active units"
    ALTERED_BY_PIXELS = "altered, by pixels"
    ALTERED_BY_CODE = "altered, by code"


class Within(StrEnum):
    """Between which runs the number compares; data, split, binarisation and likelihood are always the same."""

    SPLIT = "split"  # runs that were measured on the same split
    OBSERVATIONS = "observations"  # runs that were measured on the same observations, a part of the split


class Bias(StrEnum):
    """In which way a number is wrong where its importance weights have collapsed."""

    TOO_LOW = "too low"
    TOO_HIGH = "too high"
    TOO_LARGE = "too large"
    EITHER = "wrong"  # too low or too high

    @property
    def opposite(self) -> "Bias":
        """In which way the number times −1 is wrong."""
        return {Bias.TOO_LOW: Bias.TOO_HIGH, Bias.EITHER: Bias.EITHER}.get(self, Bias.TOO_LOW)


LAST = 1000  # the place of a number that names none: after all others of its panel


class Description(NamedTuple):
    """How one number is shown.

    Attributes:
        heading: of its column; the name of the number if it is empty.
        panel: the part of the table.
        place: within the panel, from left to right. Numbers of one place stand in the natural order of their names.
        unit: e.g. `nats`; empty for a count or a share.
        better: whether more of it is better.
        ranked: whether the table marks the best row. (The distortion alone does not rank models: rate buys it.)
        within: between which runs it compares.
        role: what it means to charts and sentences.
        bias: in which way it is wrong where its importance weights have collapsed.
        note: the fact that holds a remark on this fact.
        meaning: what the number is, in a sentence; without it, the first sentence of the class that describes it. A
            record has it only for a number that is not of this package; for all others pages look it up by the name of
            the number (`meaning`).
    """

    heading: str = ""
    panel: Panel = Panel.OBJECTIVE
    place: int = LAST
    unit: str = ""
    better: Direction = Direction.NEITHER
    ranked: bool = True
    within: Within = Within.SPLIT
    role: Role | None = None
    bias: Bias = Bias.TOO_LOW
    note: str | None = None
    meaning: str = ""

    @property
    def sign(self) -> int:
        """1 if the table ranks the highest number first, −1 if the lowest, 0 if it does not rank."""
        if not self.ranked:
            return 0
        return {Direction.HIGHER: 1, Direction.LOWER: -1, Direction.NEITHER: 0}[self.better]

    def recorded(self, name: str) -> "Description":
        """What a record keeps of it as the description of a number: all, but no meaning that the package knows."""
        return self._replace(meaning="") if meaning(name) else self

    @property
    def entries(self) -> dict[str, Any]:
        """The fields that a record's file holds: those that differ from their defaults."""
        return {k: v for k, v in self._asdict().items() if v != self._field_defaults[k]}

    def explained(self, name: str, by: type) -> "Description":
        """With a meaning: its own, or the first paragraph of the class; as it is, if the package knows the number."""
        summary = " ".join(cleandoc(by.__doc__ or "").partition("\n\n")[0].split())
        return self if self.meaning or meaning(name) else self._replace(meaning=summary)


FILE, IDENTITIES = "meanings.json", "identities.json"  # beside this file, written by `vaebench.sweeps.meanings`


def meaning(name: str) -> str:
    """What a number means; empty for a number that the package does not know.

    >>> meaning("iwae_50") == meaning("iwae_5000") != ""
    True
    >>> meaning("my_metric")
    ''
    """
    return str(_read(FILE).get(general(name), ""))


def general(name: str) -> str:
    """A name with `#` for each number inside it.

    >>> general("pareto_k_above_0.7")
    'pareto_k_above_#'
    """
    return re.sub(r"\d+(?:\.\d+)?", "#", name)


def identities() -> dict[str, list[dict[str, float]]]:
    """The sums of numbers that a number equals in every record: their names, each with its factor."""
    return _read(IDENTITIES)


@cache
def _read(file: str) -> Any:
    return json.loads(resources.files("vaebench.records").joinpath(file).read_text(encoding="utf-8"))


HEAVY_TAIL = 0.7
"""The Pareto k̂ above which no practical number of draws makes a mean weight reliable (Vehtari et al. 2024)."""


class Weights(NamedTuple):
    """How reliable the importance weights behind an estimate are.

    Attributes:
        pareto_k: k̂, the shape of the weights' tail; the median over observations. None if no tail can be fitted:
            below 25 draws, or if the largest weights are equal.
        effective: effective sample size, between 1 and `draws`; the median over observations.
        draws: K, for each observation.
    """

    pareto_k: Annotated[float, Field(allow_inf_nan=False)] | None
    effective: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    draws: Annotated[int, Field(ge=1)]

    @property
    def unreliable(self) -> bool:
        """Whether a few draws dominate the estimate. Then it may be far from log p(x), and other draws may change it.

        Two conditions must hold: k̂ is above 0.7, and fewer than half of the draws are effective. One condition is not
        enough. If the latent has collapsed, the weights are nearly equal: then nearly all draws are effective, and k̂
        is noise. Without a k̂ (a few annealed chains) the condition is that fewer than two draws are effective.
        """
        few = self.effective < self.draws / 2
        return few and (self.effective < 2 if self.pareto_k is None else self.pareto_k > HEAVY_TAIL)


# -- what records before format 3 do not say themselves; a new metric describes itself and never stands here -----------

EARLIER = "descriptions_before_format_3.json"  # frozen: the numbers of that time, by a regular expression for the name
TYPES = {"panel": Panel, "better": Direction, "within": Within, "role": Role, "bias": Bias}
WHOLE = ("elbo", "squared_error")  # estimates in which every observation of the split takes part
SAMPLERS = {"naive_monte_carlo": ("NaiveMonteCarlo", "draws"), "ais": ("AnnealedImportanceSampling", "chains")}
"""Estimates with an effective sample size of their own: the estimator, and its argument for the number of draws."""


@cache
def earlier_description(name: str) -> Description | None:
    """How a number was shown; None for a number of that time that the table did not know.

    >>> earlier_description("iwae_50").heading
    'IWAE-50'
    >>> earlier_description("my_metric")
    """
    for pattern, entries in _read(EARLIER).items():
        if found := re.fullmatch(pattern, name):
            typed: dict[str, Any] = {key: TYPES.get(key, lambda value: value)(value) for key, value in entries.items()}
            return Description(**typed | {"heading": found.expand(entries["heading"])})
    return None


def earlier_reason(record: "Record", fact: str) -> str | None:
    """Why a record has no number for a fact, where it is too old to say so; None if nothing in it tells."""
    has_beta, has_variance = "beta" in record.facts, "variance" in record.facts
    if fact == "variance" or (fact == "beta_effective" and has_beta):
        return "σ² is learned, so βσ² has no fixed value" if has_variance else "its likelihood has no σ²"
    if fact in ("forecast_active_units", "beta", "beta_normalised", "beta_effective"):
        return record.not_applicable.get("collapsed_by_objective")  # the cause is the same: no rate, or no optimum
    return None


def earlier_weights(record: "Record", estimate: "Estimate") -> Weights | None:
    """The importance weights behind an estimate, from separate estimates of effective sample size and Pareto k̂."""
    evaluated: dict[str, Any] = record.config.get("evaluate") or {}
    draws, effective, shape = evaluated.get("draws"), "effective_sample_size_median", "pareto_k_median"
    if estimate.name in SAMPLERS:
        estimator, argument = SAMPLERS[estimate.name]
        asked: dict[str, Any] = next((e for e in evaluated.get("estimators") or () if e.get("name") == estimator), {})
        draws, effective, shape = asked.get(argument), f"{estimate.name}_effective_sample_size", ""
    elif estimate.name != f"iwae_{draws}":  # the two concern the draws of the bound that takes all of them
        return None
    size = record.number(effective)
    return None if size is None or draws is None else Weights(record.number(shape), size, draws)


def earlier_observations(record: "Record", estimate: "Estimate") -> str | None:
    """The observations of an estimate, where their number says that they are not the whole split."""
    if record.description(estimate.name).within is not Within.OBSERVATIONS:
        return None
    whole = max((e.n for e in record.estimates if e.name in WHOLE), default=0)
    return f"{estimate.n} observations" if 0 < estimate.n < whole else None
