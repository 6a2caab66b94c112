"""Why latent units collapsed: what the data's spectrum forecasts, what training left, and where it came to rest."""

from functools import lru_cache
from typing import Any, NamedTuple

from vaebench import oracle
from vaebench.data.datamodule import DataModule
from vaebench.evaluation.measure import Measurement, diagnostics, measure
from vaebench.evaluation.stationarity import off_diagonal_share, stationarity
from vaebench.models.base import Autoencoder
from vaebench.models.linear_vae import LinearVAE
from vaebench.models.parts.likelihoods import Gaussian
from vaebench.oracle import Forecast, StationaryPoint
from vaebench.oracle.spectrum import Spectrum
from vaebench.records.record import Estimate

EXACT = "exact at a linear VAE's optimum"
REFERENCE = "only a reference: the closed form is a linear VAE's"
PER_PIXEL = "only a reference: the closed form is for one σ² of all pixels"

DEATHS = ("collapsed_by_objective", "collapsed_by_optimisation")
PROBE = (
    "gradient_norm",
    "gradient_gain",
    "smallest_curvature",
    "curvature_gain",
    "off_diagonal_share",
    "below_optimum",
)


class Verdict(NamedTuple):
    """What is said of a trained model beside what was measured of it: entries for a record."""

    facts: dict[str, Any]
    measurement: Measurement


def explain(model: Autoencoder, data: DataModule) -> Verdict:
    """The forecast, the units that died by the objective and by optimisation, and the probe of a linear VAE's end.

    All of it concerns the training split: the spectrum is its, and the active units are counted on it.

    Args:
        model: trained, on the device of the data.
        data: set up.
    """
    if "beta" not in model.facts():
        reason = f"{type(model).__name__} has no rate, so no β"
        return Verdict({}, Measurement([], dict.fromkeys((*DEATHS, *PROBE), reason)))
    spectrum, n = _spectrum(data), data.sizes["train"]
    deaths, probe = _deaths(model, data, spectrum), _probe(model, spectrum, n)
    estimates = [*deaths.measurement.estimates, *probe.measurement.estimates]
    absent = deaths.measurement.absent | probe.measurement.absent
    return Verdict(deaths.facts | probe.facts, Measurement(estimates, absent))


def optimum(model: Autoencoder, spectrum: Spectrum) -> StationaryPoint:
    """The optimum of a linear VAE of this model's β, noise and number of units.

    Raises:
        ValueError: if there is none: σ² is learned and the units carry all of the variance.
    """
    facts = model.facts()
    if model.likelihood.fixed_variance is None:
        return oracle.learned_variance_optimum(spectrum, model.latent_dim, facts["beta"])
    return oracle.beta_optimum(spectrum, model.latent_dim, facts["beta"], model.likelihood.fixed_variance)


def _deaths(model: Autoencoder, data: DataModule, spectrum: Spectrum) -> Verdict:
    """The forecast beside the count on the training split."""
    try:
        expected = oracle.forecast(spectrum, model.latent_dim, optimum(model, spectrum).tau)
    except ValueError as error:
        reason = f"no forecast: {error}"
        return Verdict({"forecast_note": reason}, Measurement([], dict.fromkeys(DEATHS, reason)))
    n, active = _active_on_training(model, data)
    note = _standing(model)
    facts = {
        "forecast_active_units": expected.active_units,
        "forecast_tau": expected.tau,
        "forecast_note": note,
        "collapse": expected.explain(active),
    }
    remark = None if note == EXACT else note
    return Verdict(facts, Measurement(_counts(expected, active, n, remark), {}))


def _counts(expected: Forecast, active: int, n: int, remark: str | None) -> list[Estimate]:
    counts = (expected.collapsed_by_objective(active), expected.collapsed_by_optimisation(active))
    return [Estimate(name, float(c), n=n, note=remark) for name, c in zip(DEATHS, counts, strict=True)]


def _active_on_training(model: Autoencoder, data: DataModule) -> tuple[int, int]:
    """Observations, and active units over them; one draw each, which the count does not look at."""
    seen = measure(model, data.batches("train"), diagnostics(("ActiveUnits",)), 1, 0)
    count = seen.estimates[0]
    assert isinstance(count.value, float)
    return count.n, int(count.value)


def _probe(model: Autoencoder, spectrum: Spectrum, n: int) -> Verdict:
    """Gradient and curvature of a linear VAE's objective, and how far below the optimum it is."""
    if not isinstance(model, LinearVAE):
        reason = f"{type(model).__name__} is not linear: its objective has no closed form to probe"
        return Verdict({}, Measurement([], dict.fromkeys(PROBE, reason)))
    found, absent = stationarity(model, spectrum), dict[str, str]()
    estimates = [
        Estimate("gradient_norm", found.gradient_norm, n=n),
        Estimate("gradient_gain", found.gradient_gain, n=n),
        Estimate("smallest_curvature", found.smallest_curvature, n=n, note=found.explanation),
        Estimate("curvature_gain", found.curvature_gain, n=n),
        Estimate("off_diagonal_share", off_diagonal_share(model), n=n),
    ]
    if (note := _standing(model)) != EXACT:
        absent["below_optimum"] = note
    else:
        try:
            estimates.append(Estimate("below_optimum", optimum(model, spectrum).objective - found.objective, n=n))
        except ValueError as error:
            absent["below_optimum"] = str(error)
    facts = {"stationary_verdict": found.verdict, "smallest_curvature_uncertainty": found.uncertainty}
    return Verdict(facts, Measurement(estimates, absent))


def _standing(model: Autoencoder) -> str:
    """What the closed form is to this model."""
    if not (model.linear and isinstance(model.likelihood, Gaussian)):
        return REFERENCE
    return EXACT if model.likelihood.sigma2().numel() == 1 else PER_PIXEL


@lru_cache(maxsize=1)
def _spectrum(data: DataModule) -> Spectrum:
    return Spectrum.of(data.train.x)
