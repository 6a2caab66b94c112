"""How far a trained VAE is below the ceiling of all VAEs on its training split, and whether collapse is the optimum.

Every run is measured where the ceiling exists, on 500 training observations, evenly spaced; `evaluate.ceiling` in a
study sets another number. Ceiling and objective are both computed on these observations only. So the bound holds, but
it is looser, since fewer observations are easier to memorise. The default is small because the time grows with the cube
of the number. Each value is computed once for a study.

The onset is the τ = βσ² from which on total collapse is the optimum of every VAE on these observations.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from jaxtyping import Float
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from vaebench.data.datamodule import DataModule
from vaebench.data.loaders import Batch
from vaebench.evaluation.estimators.base import evenly_spaced, part_of
from vaebench.evaluation.estimators.inference_gap import EVIDENCE
from vaebench.evaluation.measure import Measurement, build_metrics, measure
from vaebench.models.base import Autoencoder
from vaebench.models.parts.likelihoods import Bernoulli, Gaussian
from vaebench.models.parts.posteriors import Form
from vaebench.models.vae import VAE
from vaebench.oracle.ceiling import Ceiling, CeilingProblem, linear_value, objective_ceiling
from vaebench.oracle.spectrum import Spectrum
from vaebench.records.description import Description, Direction, Panel, Within
from vaebench.records.files import WriteError, write_atomically
from vaebench.records.record import BELOW, DEPTH, ONSET, Estimate, NotApplicable

OBSERVATIONS = 500  # the default of `evaluate.ceiling`

MOST_FOR_ONSET = 5000
"""For larger training splits no verdict on total collapse is given: the onset is computed on a part of the split, and
the whole may have another."""

TOLERANCE, ROUNDS = 0.01, 8
"""Where the search for the best mixture ends: the bracket in nats, and rounds. The record has the bracket."""

VERSION = 2  # of the values on disk: change it when the same setting gives another value
DRAWS = 32  # draws of the posterior for each observation, from which the objective is estimated

CEILING, BRACKET, DECODER = "ceiling", "ceiling_bracket", "decoder_gap"

COLUMNS: Mapping[str, Description] = {
    CEILING: Description(
        "ceiling of the objective",
        Panel.COLLAPSE,
        90,
        "nats",
        within=Within.OBSERVATIONS,
        meaning="What no VAE with this noise can pass on these observations, however deep.",
    ),
    BRACKET: Description(
        "its bracket", Panel.COLLAPSE, 91, "nats", meaning="How exactly the ceiling is known: the width of its bracket."
    ),
    BELOW: Description(
        "nats below ceiling",
        Panel.COLLAPSE,
        92,
        "nats",
        Direction.LOWER,
        ranked=False,
        meaning="From the run's objective to the ceiling.",
    ),
    DEPTH: Description(
        "nats that depth can buy",
        Panel.COLLAPSE,
        93,
        "nats",
        meaning="From the objective of the best linear VAE to the ceiling.",
    ),
    ONSET: Description(
        "βσ² of total collapse",
        Panel.COLLAPSE,
        94,
        meaning="From this βσ² on, a model that ignores z is the optimum at any depth.",
    ),
}
"""Columns of a record. The ceiling holds for E_q[log p(x|z)] − β KL."""


DECODER_GAP = Description(
    "decoder gap",
    Panel.EVIDENCE,
    83,
    "nats",
    Direction.LOWER,
    ranked=False,
    meaning="From the evidence to the ceiling, of the same observations: what a better decoder could gain.",
)
"""Of a run that is measured by `InferenceGap` too."""


class Absent(Enum):
    """Why a run has no ceiling. The values are the words of a record."""

    NO_RATE = "the ceiling is for models with a rate and a β"
    NEW_PIXELS = "training draws new pixels every time, so its observations are not finite in number"
    EXPECTED_PIXELS = "training takes the expectation over pixels, which is no likelihood of an observation"
    OTHER_LIKELIHOOD = "the ceiling is computed for Gaussian and Bernoulli likelihoods"
    NOT_ASKED = "the study sets evaluate.ceiling: 0"
    NO_WEIGHT = "β = 0: a decoder that reconstructs every observation is the optimum"
    OTHER_OBSERVATIONS = "InferenceGap must measure the training observations of evaluate.ceiling, and as many of them"
    NO_LINEAR = "the optimum of a linear VAE is known for Gaussian likelihoods"


MEMORISED = "its rate is near log N: the best mixture has about one component an observation, so it only memorises"
PER_PIXEL = "in units of β: every pixel has its own σ²"


def why_no_ceiling(model: Autoencoder, data: DataModule) -> Absent | None:
    """Why this run has no ceiling; None if it has one."""
    if not isinstance(model, VAE) or model.form is Form.NONE:
        return Absent.NO_RATE
    binarization = data.dataset.binarization
    if binarization is not None and binarization.every_time:
        return Absent.NEW_PIXELS
    if binarization is not None and binarization.is_expected:
        return Absent.EXPECTED_PIXELS
    if not isinstance(model.likelihood, Gaussian | Bernoulli):
        return Absent.OTHER_LIKELIHOOD
    return None if float(model.beta) > 0 else Absent.NO_WEIGHT


@dataclass(frozen=True, eq=False)
class Setting:
    """What a ceiling depends on: observations, likelihood, noise and β."""

    x: Float[Tensor, "N *event"]  # the observations
    variance: Float[Tensor, "*pixels"] | None  # σ², one or one for each pixel; None for a Bernoulli
    beta: float  # β

    @classmethod
    def of(cls, model: VAE, x: Float[Tensor, "N *event"]) -> "Setting":
        """The setting of a trained model."""
        likelihood, beta = model.likelihood, float(model.beta)
        if not isinstance(likelihood, Gaussian):
            return cls(x.cpu(), None, beta)
        return cls(x.cpu(), likelihood.sigma2().detach().double().cpu(), beta)

    @property
    def per_pixel(self) -> bool:
        """Whether every pixel has its own σ². Then x is divided by its root, and τ = β."""
        return self.variance is not None and self.variance.numel() > 1

    @property
    def tau(self) -> float:
        """τ = βσ²; β for a Bernoulli, and where every pixel has its own σ²."""
        return self.beta if self.variance is None or self.per_pixel else self.beta * float(self.variance)

    @property
    def problem(self) -> CeilingProblem:
        """The optimisation problem, for every τ."""
        if self.variance is None:
            return CeilingProblem.bernoulli(self.x)
        return CeilingProblem.gaussian(self.x, self.variance if self.per_pixel else None)

    @property
    def spectrum(self) -> Spectrum:
        """Of the observations, in units of the noise where every pixel has its own."""
        assert self.variance is not None
        return Spectrum.of(self.x.double() / self.variance.sqrt() if self.per_pixel else self.x)

    def objective(self, value: float) -> float:
        """The objective at a value of F(τ).

        F is minus the mean log-likelihood of the best mixture, without the constant of the noise (`oracle.ceiling`).
        """
        return objective_ceiling(value, self.beta, self.variance, self.x[0].numel())

    def key(self, tau: float | None) -> str:
        """A name for what is computed at τ, or for all τ if it is None."""
        digest = hashlib.sha256(self.x.contiguous().numpy().tobytes())
        digest.update(b"" if not self.per_pixel else self.variance.numpy().tobytes())  # type: ignore[union-attr]
        digest.update(repr((VERSION, self.variance is None, tau, TOLERANCE, ROUNDS)).encode())
        return digest.hexdigest()[:20]


@dataclass(frozen=True)
class Onset:
    """The onset of total collapse, as a file of the cache holds it."""

    onset: float


@dataclass(frozen=True)
class Cache:
    """Values on disk. Several processes may share the folder: a file is written at once, with one content."""

    folder: Path | None  # None keeps nothing
    observations: int = OBSERVATIONS  # how many a ceiling is computed for, as `evaluate.ceiling`

    def ceiling(self, setting: Setting) -> Ceiling:
        """F(τ) of a setting."""
        found: Ceiling = self._kept(
            setting.key(setting.tau), Ceiling, lambda: setting.problem.path([setting.tau], TOLERANCE, ROUNDS)[0]
        )
        return found

    def onset(self, setting: Setting) -> float:
        """Where total collapse begins to be the optimum."""
        found: Onset = self._kept(setting.key(None), Onset, lambda: Onset(setting.problem.onset))
        return found.onset

    def _kept(self, name: str, kind: type, compute: Callable[[], Any]) -> Any:
        """A value of a dataclass from the file of this name, or computed and kept there."""
        if self.folder is None:
            return compute()
        path = self.folder / f"{name}.json"
        with suppress(OSError, ValidationError):  # not there yet, or damaged: it is computed again
            return TypeAdapter(kind).validate_json(path.read_bytes())
        made = compute()
        with suppress(WriteError):  # nothing is lost: the next run computes it too
            write_atomically(path, json.dumps(asdict(made)).encode())
        return made


NO_CACHE = Cache(None)


def below_the_ceiling(model: Autoencoder, data: DataModule, cache: Cache) -> Measurement:
    """Ceiling, distance from it, what depth can buy, and the onset of total collapse, on the training split."""
    reason = why_no_ceiling(model, data) if cache.observations else Absent.NOT_ASKED
    if reason is not None:
        return Measurement([], dict.fromkeys(COLUMNS, reason.value))
    assert isinstance(model, VAE)
    batch = evenly_spaced(data.batches("train"), cache.observations)
    over, n = part_of(data.sizes["train"], cache.observations), len(batch.x)
    setting = Setting.of(model, batch.x)
    found = cache.ceiling(setting)
    ceiling, (objective, error) = setting.objective(found.lower), _objective(model, batch)
    note = MEMORISED if found.memorises else None
    outcomes: list[Estimate | NotApplicable] = [
        Estimate(CEILING, ceiling, n=n, note=note, over=over),
        Estimate(BRACKET, setting.beta * (found.upper - found.lower), n=n, over=over),
        Estimate(BELOW, ceiling - objective, n=n, monte_carlo_error=error, note=note, over=over),
        Estimate(ONSET, cache.onset(setting), n=n, note=PER_PIXEL if setting.per_pixel else None, over=over),
    ]
    if setting.variance is None:
        outcomes.append(NotApplicable(DEPTH, Absent.NO_LINEAR.value))
    else:
        linear = linear_value(setting.spectrum.eigenvalues, setting.tau, model.latent_dim)
        bought = setting.beta * max(0.0, linear - found.lower)
        outcomes.append(Estimate(DEPTH, bought, n=n, note=note, over=over))
    return Measurement.from_outcomes(outcomes, COLUMNS)


def decoder_gap(measured: Measurement, split: str) -> Measurement:
    """What decoder and prior lack: the ceiling − what the exact posterior would reach with them.

    nats below ceiling = decoder gap + family gap + amortisation gap, on the same observations.

    Args:
        measured: with the columns of `below_the_ceiling`, and perhaps those of `InferenceGap`.
        split: that `InferenceGap` measured.
    """
    found = {e.name: e for e in measured.estimates}
    if EVIDENCE not in {**found, **measured.not_applicable}:  # InferenceGap was not asked for
        return Measurement([], {})
    if missing := [name for name in (EVIDENCE, CEILING) if name not in found]:
        return Measurement([], {DECODER: measured.not_applicable[missing[0]]})
    ceiling, exact = found[CEILING], found[EVIDENCE]
    if split != "train" or (exact.n, exact.over) != (ceiling.n, ceiling.over):
        return Measurement([], {DECODER: Absent.OTHER_OBSERVATIONS.value})
    assert isinstance(ceiling.value, float)
    assert isinstance(exact.value, float)
    gap = exact._replace(name=DECODER, value=ceiling.value - exact.value, standard_error=None, note=ceiling.note)
    return Measurement.from_outcomes([gap], {DECODER: DECODER_GAP})


def collapse_is_optimal(model: VAE, data: DataModule, cache: Cache) -> bool | None:
    """Whether total collapse is the optimum of every VAE at this τ; None where the onset of the split is not known.

    None too where σ² is learned: another VAE may have another σ², and so another τ.
    """
    if why_no_ceiling(model, data) is not None or data.sizes["train"] > MOST_FOR_ONSET or not cache.observations:
        return None
    if isinstance(model.likelihood, Gaussian) and model.likelihood.fixed_variance is None:
        return None
    setting = Setting.of(model, data.train.x)
    return setting.tau >= cache.onset(setting)


def _objective(model: VAE, batch: Batch) -> tuple[float, float]:
    """E_q[log p(x|z)] − β KL of some observations, and its Monte-Carlo error."""
    found = measure(model, [batch], build_metrics(("Rate", "Distortion")), DRAWS, seed=0).estimates
    rate, distortion = found
    assert isinstance(rate.value, float)
    assert isinstance(distortion.value, float)
    beta = float(model.beta)
    # The two come from the same draws, so their errors may add up.
    error = beta * (rate.monte_carlo_error or 0) + (distortion.monte_carlo_error or 0)
    return -(distortion.value + beta * rate.value), error
