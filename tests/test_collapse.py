"""Why units collapsed, on models set to saddles and to the optimum of real data, and on models without an answer."""

import pytest
import torch
from stationary_points import stationary_point

from vaebench.config.registry import DATASETS, MODELS
from vaebench.data.datamodule import DataModule
from vaebench.evaluation.collapse import CAUSES, ENDPOINT, FORECAST, Diagnosis, diagnose
from vaebench.evaluation.measure import Measurement
from vaebench.evaluation.stationarity import linear_vae_at, off_diagonal_share
from vaebench.models.base import Autoencoder
from vaebench.models.parts.posteriors import Form
from vaebench.oracle import beta_optimum, forecast, learned_variance_optimum
from vaebench.oracle.spectrum import Spectrum
from vaebench.records.record import Record, decode, encode, identity
from vaebench.reporting.tables.quantities import Fact, Quantity, quantities


@pytest.fixture(scope="module")
def data() -> DataModule:
    made = DataModule(DATASETS.build({"name": "LinearGaussian", "dim": 8, "latent_dim": 4, "n": 400}), batch_size=64)
    made.setup()
    return made


@pytest.fixture(scope="module")
def spectrum(data: DataModule) -> Spectrum:
    return Spectrum.of(data.train.x)


def as_trained(model: Autoencoder) -> Autoencoder:
    """In float32, as training leaves it."""
    return model.float()


def value(measured: Measurement, name: str) -> float:
    return next(e.value for e in measured.estimates if e.name == name)


def recorded(diagnosis: Diagnosis) -> Record:
    made = Record(
        id=identity({}),
        study="study",
        status="done",
        config={},
        facts=diagnosis.facts,
        estimates=diagnosis.measurement.estimates,
        not_applicable=diagnosis.measurement.not_applicable,
    )
    return decode(encode(made), "test")


def test_at_the_optimum_every_collapsed_unit_collapsed_by_the_objective(data: DataModule, spectrum: Spectrum) -> None:
    tau = float(spectrum.eigenvalues[2:4].mean())
    point = beta_optimum(spectrum, 6, 2.0, tau / 2)
    facts, measured = diagnose(as_trained(linear_vae_at(point)), data)
    assert facts["stationary_verdict"] == "maximum"
    assert (facts["forecast_active_units"], facts["forecast_tau"]) == (3, pytest.approx(tau))
    assert [value(measured, name) for name in CAUSES] == [3, 0]
    assert abs(value(measured, "below_optimum")) < 1e-6
    assert value(measured, "smallest_curvature") > -1e-5
    assert value(measured, "off_diagonal_share") < 1e-6
    assert all(e.n == data.sizes["train"] for e in measured.estimates)


@pytest.mark.parametrize("kept", [(0,), (0, 2), (1, 2), ()], ids=str)
def test_a_saddles_missing_units_collapsed_by_optimisation(data: DataModule, spectrum: Spectrum, kept: tuple) -> None:
    """Three directions pay; a point that keeps fewer lacks the rest though the objective would have them."""
    tau = float(spectrum.eigenvalues[2:4].mean())
    point = stationary_point(spectrum, kept, 6, 1.0, tau)
    facts, measured = diagnose(as_trained(linear_vae_at(point)), data)
    assert facts["stationary_verdict"] == "saddle"
    assert [value(measured, name) for name in CAUSES] == [3, 3 - len(kept)]
    assert value(measured, "smallest_curvature") < 0 < value(measured, "curvature_gain")
    lost = beta_optimum(spectrum, 6, 1.0, tau).objective - point.objective
    assert value(measured, "below_optimum") == pytest.approx(lost, abs=1e-5)
    assert f"{len(kept)} of 6 units active, 3 forecast" in facts["collapse"]
    assert f"{3 - len(kept)} by optimisation" in facts["collapse"]


def test_codes_that_are_not_finite_are_no_collapse(data: DataModule) -> None:
    keywords = {"name": "BetaVAE", "latent_dim": 3, "likelihood": "Gaussian"}
    model = MODELS.build(keywords, data.shape, 0)
    forecast = diagnose(model, data).facts["forecast_active_units"]
    with torch.no_grad():
        next(model.parameters())[0, 0] = torch.nan
    facts, measured = diagnose(model, data)
    assert facts["forecast_active_units"] == forecast
    assert "collapse" not in facts
    reasons = {measured.not_applicable[name] for name in CAUSES}
    assert reasons == {"some codes of the training split are not finite numbers"}


def test_two_saddles_that_no_count_can_tell(data: DataModule, spectrum: Spectrum) -> None:
    """The wrong two of the directions: as many units as forecast are active, and the curvature knows better."""
    tau = float(spectrum.eigenvalues[2:4].mean())
    facts, measured = diagnose(as_trained(linear_vae_at(stationary_point(spectrum, (1, 2), 2, 1.0, tau))), data)
    assert [value(measured, name) for name in CAUSES] == [0, 0]
    assert facts["stationary_verdict"] == "saddle"


def test_a_direction_at_the_threshold_is_no_collapse_by_optimisation(data: DataModule, spectrum: Spectrum) -> None:
    tau = float(spectrum.eigenvalues[2])
    facts, measured = diagnose(as_trained(linear_vae_at(beta_optimum(spectrum, 4, 1.0, tau))), data)
    assert [value(measured, name) for name in CAUSES] == [2, 0]
    assert facts["stationary_verdict"] == "maximum"


def test_a_learned_variance(data: DataModule, spectrum: Spectrum) -> None:
    facts, measured = diagnose(as_trained(linear_vae_at(learned_variance_optimum(spectrum, 3), learned=True)), data)
    assert facts["stationary_verdict"] == "maximum"
    assert facts["forecast_active_units"] == 3
    assert abs(value(measured, "below_optimum")) < 1e-5


def test_a_rotation_of_the_principal_directions_is_seen_off_the_diagonal() -> None:
    """Columns (1, 1)/√2 and (−1, 1)/√2 times (2, 1): WᵀW has 2.5 on its diagonal and ∓1.5 beside it."""
    model = MODELS.build({"name": "LinearVAE", "latent_dim": 2}, (2,), 0)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[2.0, -2.0], [1.0, 1.0]]) / 2**0.5)
    assert off_diagonal_share(model) == pytest.approx((1.5**2 / (1.5**2 + 2.5**2)) ** 0.5)


def test_a_decoder_of_nothing_has_no_directions(data: DataModule) -> None:
    model = MODELS.build({"name": "LinearVAE", "latent_dim": 2, "likelihood": "Gaussian"}, (8,), 0)
    with torch.no_grad():
        model.weight.zero_()
    assert diagnose(model, data).measurement.not_applicable["off_diagonal_share"] == "W is 0"


def test_before_training_it_still_moves(data: DataModule) -> None:
    model = MODELS.build({"name": "LinearVAE", "latent_dim": 3, "likelihood": "Gaussian"}, (8,), 0)
    model.prepare(data.train.x)
    facts, measured = diagnose(model, data)
    assert facts["stationary_verdict"] == "still moving"
    assert value(measured, "below_optimum") > value(measured, "gradient_gain") > 0.01


def test_a_variance_a_pixel_has_a_forecast_for_reference_only(data: DataModule) -> None:
    likelihood = {"name": "LearnedGaussian", "per_pixel": True}
    facts, measured = diagnose(
        MODELS.build({"name": "LinearVAE", "likelihood": likelihood, "latent_dim": 2}, (8,), 0), data
    )
    assert facts["forecast_note"].startswith("only a reference")
    assert "one σ²" in measured.not_applicable["below_optimum"]
    assert value(measured, "gradient_norm") > 0


def test_without_a_forecast_the_counts_stay_blank_with_the_reason(data: DataModule) -> None:
    """As many units as dimensions and a learned σ²: no optimum, so no threshold; the probe needs neither."""
    facts, measured = diagnose(MODELS.build({"name": "LinearVAE", "latent_dim": 8}, (8,), 0), data)
    assert "forecast_active_units" not in facts
    for name in (*CAUSES, "below_optimum"):
        assert "σ² has no optimum" in measured.not_applicable[name]
    assert value(measured, "gradient_norm") > 0


@pytest.mark.parametrize("name", MODELS)
def test_every_model_has_the_same_columns_or_a_reason(name: str, data: DataModule) -> None:
    """A blank of a record says why; a forecast for a model that is not linear says that it is a reference."""
    model = MODELS.build({"name": name, "latent_dim": 3, "likelihood": "Gaussian"}, data.shape, 0)
    model.eval()
    made = recorded(diagnose(model, data))
    for column in (*CAUSES, *ENDPOINT):
        reading = Quantity(column).read(made)
        assert (reading.value is None) == (column in made.not_applicable)
        assert reading.value is not None or reading.remark == made.not_applicable[column]
    has_forecast = model.stochastic and model.form not in (Form.NONE, Form.LAYERED)
    if has_forecast and not model.linear:
        (forecast,) = (Fact(*item) for item in FORECAST.items())
        assert forecast.read(made).remark.startswith("only a reference")
        wholly = "all collapsed" in made.facts["collapse"]
        said = Quantity(next(iter(CAUSES))).read(made).remark
        assert said.startswith("all units collapsed" if wholly else "only a reference")
    shown = [q.name for q in quantities([made])]
    assert [c in shown for c in CAUSES] == [has_forecast] * 2
    assert ("smallest_curvature" in shown) == model.linear


def test_counts_of_a_forecast() -> None:
    """By the objective, by optimisation, active: together all units, unless more are active than forecast."""
    expected = forecast(Spectrum.given([5.0, 3.0, 0.1]), 4, 1.0)
    for measured, by_objective, by_optimisation in [(0, 2, 2), (1, 2, 1), (2, 2, 0), (3, 1, 0), (4, 0, 0)]:
        assert expected.collapsed_by_objective(measured) == by_objective
        assert expected.collapsed_by_optimisation(measured) == by_optimisation


def test_the_generators_of_the_process_are_left_alone(data: DataModule) -> None:
    before = torch.get_rng_state()
    diagnose(MODELS.build({"name": "LinearVAE", "latent_dim": 2}, (8,), 0), data)
    # Building a model is seeded apart; measuring and probing draw from generators of their own.
    assert torch.equal(before, torch.get_rng_state())
