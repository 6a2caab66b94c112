"""Diagnose why latent units collapsed.

The spectrum of the data forecasts how many units an optimum keeps. The count of active units says how many training
kept. For a linear VAE, gradient and curvature say whether training ended at a maximum, at a saddle, or too early.
"""

from enum import Enum
from functools import lru_cache
from math import isfinite
from typing import Any, NamedTuple

from vaebench import oracle
from vaebench.data.datamodule import DataModule
from vaebench.evaluation.ceiling import NO_CACHE, Cache, below_the_ceiling, collapse_is_optimal
from vaebench.evaluation.measure import Measurement, build_metrics, measure
from vaebench.evaluation.stationarity import MOVING, Ending, Stationarity, off_diagonal_share, stationarity
from vaebench.models.base import Autoencoder
from vaebench.models.linear_vae import LinearVAE
from vaebench.models.parts.likelihoods import Gaussian
from vaebench.models.parts.posteriors import Form
from vaebench.models.vae import VAE
from vaebench.oracle import StationaryPoint
from vaebench.oracle.spectrum import Spectrum
from vaebench.records.description import Description, Panel, Role
from vaebench.records.record import Estimate, NotApplicable

CODES = 512  # observations that are encoded at a time, where active units are counted

FORECAST = {
    "forecast_active_units": Description(
        "forecast active units",
        Panel.OBJECTIVE,
        80,
        role=Role.FORECAST,
        note="forecast_note",
        meaning="min(L, #{λ_i > βσ²/0.99}), λ the spectrum of the data: what a linear VAE's optimum keeps.",
    )
}
"""The fact that the data's spectrum forecasts."""

CAUSES = {
    "collapsed_by_objective": Description(
        "collapsed by objective", Panel.COLLAPSE, 10, meaning="Collapsed units whose direction is below the threshold."
    ),
    "collapsed_by_optimisation": Description(
        "collapsed by optimisation", Panel.COLLAPSE, 20, meaning="Units that the forecast keeps and training did not."
    ),
}
"""Columns with the number of collapsed units, one for each cause."""

ENDPOINT = {
    "gradient_norm": Description(
        "gradient norm",
        Panel.COLLAPSE,
        40,
        "nats per unit of parameter",
        meaning="Norm of the gradient of the exact objective where training ended.",
    ),
    "gradient_gain": Description(
        "gain along gradient",
        Panel.COLLAPSE,
        50,
        "nats",
        meaning="What the best step along the gradient gains of the exact objective.",
    ),
    "smallest_curvature": Description(
        "smallest curvature",
        Panel.COLLAPSE,
        60,
        "nats per squared unit of parameter",
        meaning="Smallest curvature of the exact objective where training ended; below zero it is a saddle.",
    ),
    "curvature_gain": Description(
        "gain along curvature",
        Panel.COLLAPSE,
        70,
        "nats",
        meaning="What the best step along the smallest curvature gains of the exact objective.",
    ),
    "off_diagonal_share": Description(
        "off-diagonal share of WᵀW",
        Panel.COLLAPSE,
        80,
        meaning="|WᵀW − diag| / |WᵀW|: 0 where the units are the principal directions and not a rotation of them.",
    ),
    "below_optimum": Description(
        "nats below optimum",
        Panel.COLLAPSE,
        30,
        "nats",
        meaning="From the run's exact objective to the best of any linear VAE on these observations.",
    ),
}
"""Columns that describe the point at which the training of a linear VAE ended."""


class Applicability(Enum):
    """How far the closed form of a linear VAE's optimum applies to a model. The values are notes for a record."""

    EXACT = "exact at a linear VAE's optimum"
    OTHER_MODEL = "only a reference: the closed form is a linear VAE's"
    OTHER_NOISE = "only a reference: the closed form is for one σ² of all pixels"
    ONSET = "all units collapsed: by the objective if βσ² is beyond the onset of total collapse, else by optimisation"

    @property
    def is_exact(self) -> bool:
        """Whether the optimum of this model is the closed form."""
        return self is Applicability.EXACT


WHOLLY = {
    True: "all collapsed by the objective: beyond the onset total collapse is the optimum at any depth",
    False: "all collapsed by optimisation: below the onset another VAE is better",
}
"""Why all units of a deep VAE collapsed, by whether that is the optimum."""

EXPLANATIONS = {
    Ending.MOVING: f"still moving: one step along the gradient gains more than {MOVING:g} nats",
    Ending.SADDLE: "a saddle: hardly any gradient, but a way up along the smallest curvature",
    Ending.UNDECIDED: "undecided: hardly any gradient, but too few products to rule out that it is a saddle",
    Ending.MAXIMUM: f"a maximum: no step along gradient or smallest curvature gains more than {MOVING:g} nats",
}
"""A note for each ending. It has no numbers of the run, so runs with the same ending share one footnote."""


class Diagnosis(NamedTuple):
    """Entries for a record: facts, estimates, and the reasons for missing estimates."""

    facts: dict[str, Any]
    measurement: Measurement


def diagnose(model: Autoencoder, data: DataModule, cache: Cache = NO_CACHE) -> Diagnosis:
    """Forecast active units, count the collapsed ones by cause, and measure how far below an optimum training ended.

    For a linear VAE the optimum is its own, and for any VAE it is the ceiling of all.

    Everything concerns the training split, because the forecast is computed from its spectrum.
    """
    ceiling = below_the_ceiling(model, data, cache)
    if not isinstance(model, VAE) or model.form in (Form.LAYERED, Form.NONE):
        name = type(model).__name__
        several = f"{name} has two layers of latent units; the forecast is of one"
        reason = several if model.form is Form.LAYERED else f"{name} has no rate, so no β"
        blank = dict.fromkeys((*FORECAST, *CAUSES, *ENDPOINT), reason)
        return Diagnosis({}, Measurement([], blank).joined_with(ceiling))
    spectrum = training_spectrum(data)
    causes, endpoint = _causes(model, data, spectrum, cache), _endpoint(model, spectrum, data.sizes["train"])
    measurement = causes.measurement.joined_with(endpoint.measurement)._replace(
        descriptions=FORECAST | CAUSES | ENDPOINT
    )
    return Diagnosis(causes.facts | endpoint.facts, measurement.joined_with(ceiling))


def optimum(model: VAE, spectrum: Spectrum) -> StationaryPoint:
    """The optimum of a linear VAE with this model's β, noise and number of units.

    Raises:
        ValueError: if there is none: σ² is learned and the units carry all of the variance.
    """
    beta, variance = float(model.beta), model.likelihood.fixed_variance
    if variance is None:
        return oracle.learned_variance_optimum(spectrum, model.latent_dim, beta)
    return oracle.beta_optimum(spectrum, model.latent_dim, beta, variance)


def applicability(model: VAE) -> Applicability:
    """How far the closed form of a linear VAE's optimum applies to this model."""
    if not (model.linear and isinstance(model.likelihood, Gaussian)):
        return Applicability.OTHER_MODEL
    return Applicability.EXACT if model.likelihood.sigma2().numel() == 1 else Applicability.OTHER_NOISE


def _causes(model: VAE, data: DataModule, spectrum: Spectrum, cache: Cache) -> Diagnosis:
    """Compare the forecast with the count on the training split: how many units collapsed, by cause."""
    try:
        forecast = oracle.forecast(spectrum, model.latent_dim, optimum(model, spectrum).tau)
    except ValueError as error:
        reason = f"no forecast: {error}"
        return Diagnosis({"forecast_note": reason}, Measurement([], dict.fromkeys((*FORECAST, *CAUSES), reason)))
    facts = {
        "forecast_active_units": forecast.active_units,
        "forecast_tau": forecast.tau,
        "forecast_note": applicability(model).value,
    }
    count = measure(model, data.batches("train", CODES), build_metrics(("ActiveUnits",)), draws=1).estimates[0]
    assert isinstance(count.value, float)
    if not isfinite(count.value):
        reason = "some codes of the training split are not finite numbers"
        return Diagnosis(facts, Measurement([], dict.fromkeys(CAUSES, reason)))
    active, applies = int(count.value), applicability(model)
    counts = forecast.collapsed_by_objective(active), forecast.collapsed_by_optimisation(active)
    optimal = None if active or model.linear else collapse_is_optimal(model, data, cache)
    said = forecast.explain(active)
    if optimal is not None:  # known at any depth, where the forecast is only a linear VAE's
        every = model.latent_dim
        applies, counts = Applicability.ONSET, (every, 0) if optimal else (0, every)
        said = f"{active} of {model.latent_dim} units active: {WHOLLY[optimal]}"
    note = None if applies.is_exact else applies.value
    estimates = [Estimate(name, float(c), n=count.n, note=note) for name, c in zip(CAUSES, counts, strict=True)]
    return Diagnosis(facts | {"collapse": said}, Measurement(estimates, {}))


def _endpoint(model: VAE, spectrum: Spectrum, n: int) -> Diagnosis:
    """Gradient and curvature of a linear VAE's objective, and how far below the optimum it is."""
    if not isinstance(model, LinearVAE):
        reason = f"{type(model).__name__} is not linear: its objective has no closed form to probe"
        return Diagnosis({}, Measurement([], dict.fromkeys(ENDPOINT, reason)))
    found, share = stationarity(model, spectrum), off_diagonal_share(model)
    outcomes: list[Estimate | NotApplicable] = [
        Estimate("gradient_norm", found.gradient_norm, n=n),
        Estimate("gradient_gain", found.gradient_gain, n=n),
        Estimate("smallest_curvature", found.smallest_curvature, n=n, note=EXPLANATIONS[found.ending]),
        Estimate("curvature_gain", found.curvature_gain, n=n),
        NotApplicable("off_diagonal_share", "W is 0") if share is None else Estimate("off_diagonal_share", share, n=n),
    ]
    facts = {"stationary_verdict": found.ending.value, "smallest_curvature_uncertainty": found.uncertainty}
    measured = Measurement.from_outcomes(outcomes)
    return Diagnosis(facts, measured.joined_with(_below_optimum(model, spectrum, found, n)))


def _below_optimum(model: LinearVAE, spectrum: Spectrum, found: Stationarity, n: int) -> Measurement:
    """How many nats the objective is below its maximum, or the reason why the maximum is unknown."""
    name, applies = "below_optimum", applicability(model)
    if not applies.is_exact:
        return Measurement([], {name: applies.value})
    try:
        return Measurement([Estimate(name, optimum(model, spectrum).objective - found.objective, n=n)], {})
    except ValueError as error:
        return Measurement([], {name: str(error)})


@lru_cache(maxsize=1)
def training_spectrum(data: DataModule) -> Spectrum:
    """The spectrum of the training split. Models of one pack share the data, so it is computed once for all of them."""
    return Spectrum.of(data.train.x)
