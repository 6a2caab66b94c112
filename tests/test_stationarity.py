"""The probe of a trained linear VAE: set to every stationary point of small problems, and moved away from them."""

import pytest
import torch
from stationary_points import every_point, is_stable, loss_around, smallest_curvature, spectrum_of, stationary_point

from vaebench.evaluation.stationarity import Ending, Stationarity, linear_vae_at, stationarity
from vaebench.oracle import StationaryPoint, beta_optimum, learned_variance_optimum
from vaebench.oracle.spectrum import Spectrum

PROBLEMS = [  # eigenvalues, L, β, σ² (None: learned)
    ([5.0, 3.0, 2.0, 0.4], 2, 1.0, 1.0),
    ([5.0, 3.0, 2.0, 0.4], 3, 2.0, 0.7),
    ([5.0, 3.0, 2.0, 0.4], 2, 1.0, None),
    ([9.0, 3.0, 2.0, 1.0, 0.4], 2, 1.3, None),
    ([3.0, 3.0, 2.0, 0.5], 2, 1.0, 1.0),  # degenerate, both kept or one of them
    ([3.0, 2.0, 2.0, 0.5], 2, 1.0, 1.0),  # degenerate across L: either will do
    ([4.0, 2.0, 1.0, 0.5], 4, 1.0, 1.0),  # λ exactly at τ
]
every_problem = pytest.mark.parametrize("problem", PROBLEMS, ids=str)


def probed(point: StationaryPoint, problem: tuple) -> Stationarity:
    return stationarity(linear_vae_at(point, learned=problem[3] is None), point.spectrum)


@every_problem
def test_every_subset_of_directions_gets_its_ending(problem: tuple) -> None:
    """No gradient; a saddle just where the spectrum's rule says that it is not stable, and nothing still moves."""
    endings = []
    for point in every_point(*problem):
        found = probed(point, problem)
        assert found.gradient_norm < 1e-10
        assert found.objective == pytest.approx(point.objective, rel=1e-12)
        assert (found.smallest_curvature < -1e-7) == (not is_stable(point)), point.kept
        endings.append(found.ending)
        assert endings[-1] is (Ending.MAXIMUM if is_stable(point) else Ending.SADDLE), point.kept
    assert set(endings) == {Ending.MAXIMUM, Ending.SADDLE}


@every_problem
def test_the_models_curvature_is_the_closed_forms(problem: tuple) -> None:
    """Of centred data, where the means move none of the other parameters, and at saddles: a maximum has flat ways."""
    spectrum = Spectrum.given(problem[0])
    unstable = [p.kept for p in every_point(*problem) if not is_stable(p)]
    for kept in unstable[:4]:
        point = stationary_point(spectrum, kept, *problem[1:])
        closed = smallest_curvature(*loss_around(point, learned_variance=problem[3] is None))
        assert probed(point, problem).smallest_curvature == pytest.approx(closed, rel=1e-6)


def test_a_way_up_is_worth_what_the_missing_unit_is_worth() -> None:
    """λ = 3, τ = 1, an empty column: its unit gains at most ½(λ/τ − 1 − log λ/τ) = 0.4507 nats, one step most of it."""
    point = stationary_point(spectrum_of([5.0, 3.0, 0.4]), (0,), 2, 1.0, 1.0)
    gain, most = (
        stationarity(linear_vae_at(point), point.spectrum).curvature_gain,
        0.5 * (3 - 1 - torch.tensor(3.0).log().item()),
    )
    assert 0.5 * most < gain < most


@pytest.mark.parametrize("analytic", [True, False])
def test_away_from_a_stationary_point_it_still_moves(analytic: bool) -> None:
    """Whether it was trained on draws or not, the objective that is probed is the exact one."""
    spectrum = spectrum_of([5.0, 3.0, 0.4])
    point = beta_optimum(spectrum, 2, 2.0, 0.5)
    model = linear_vae_at(point, analytic=analytic)
    assert stationarity(model, spectrum).ending is Ending.MAXIMUM
    with torch.no_grad():
        model.decoder[0].weight.mul_(1.3)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = stationarity(model, spectrum)
    assert found.ending is Ending.MOVING
    assert found.gradient_gain <= point.objective - found.objective + 1e-12
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.analytic is analytic


def test_a_schedule_is_probed_at_its_end() -> None:
    spectrum = spectrum_of([5.0, 3.0, 0.4])
    point = beta_optimum(spectrum, 2, 2.0, 0.5)
    found = stationarity(linear_vae_at(point, schedule="LinearWarmup"), spectrum)
    assert (found.ending, found.objective) == (Ending.MAXIMUM, pytest.approx(point.objective))


def test_a_variance_a_pixel_is_probed_too() -> None:
    """At equal variances the point is stationary in W but not in every pixel's variance."""
    spectrum = spectrum_of([5.0, 3.0, 0.4, 0.1])
    point = learned_variance_optimum(spectrum, 2)
    model = linear_vae_at(point, likelihood={"name": "LearnedGaussian", "per_pixel": True})
    found = stationarity(model, spectrum)
    assert found.objective == pytest.approx(point.objective, abs=1e-6)
    assert found.gradient_norm > 0.01


def test_few_products_may_find_a_way_up_and_never_rule_one_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A negative curvature is certain after any number of products, the absence of one only once they converge."""
    spectrum = spectrum_of([0.9**i * 9 for i in range(40)])
    saddle, best = (stationary_point(spectrum, kept, 6, 1.0, 1.0) for kept in (range(5), range(6)))
    assert stationarity(linear_vae_at(best), spectrum).ending is Ending.MAXIMUM
    monkeypatch.setattr("vaebench.evaluation.stationarity.WORK", 0)
    found = stationarity(linear_vae_at(saddle), spectrum)
    assert (found.ending, found.smallest_curvature < 0) == (Ending.SADDLE, True)
    monkeypatch.setattr("vaebench.evaluation.stationarity.FEWEST_PRODUCTS", 4)
    found = stationarity(linear_vae_at(best), spectrum)
    assert found.uncertainty > 1e-3 * found.largest_curvature
    assert found.ending is Ending.UNDECIDED
