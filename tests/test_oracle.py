"""The predictions against scikit-learn, direct optimisation from random starts, and the equations they must solve."""

import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.decomposition import PCA
from torch.distributions import Normal, kl_divergence

from vaebench.oracle import (
    StationaryPoint,
    beta_optimum,
    forecast,
    learned_variance_optimum,
    maximum_likelihood,
)
from vaebench.oracle.probabilistic_pca import LinearPosterior, ProbabilisticPCA, beta_elbo
from vaebench.oracle.spectrum import Spectrum

FIXED = [  # eigenvalues, L, β, σ²
    ([5.0, 2.0, 1.0, 0.3, 0.1], 3, 1.0, 0.2),
    ([5.0, 2.0, 1.0, 0.3, 0.1], 5, 4.0, 0.2),  # some collapse
    ([5.0, 2.0, 1.0, 0.3, 0.1], 2, 0.25, 1.0),
    ([5.0, 2.0, 1.0, 0.3], 7, 1.0, 0.5),  # more units than dimensions
    ([2.0, 2.0, 2.0, 0.5], 2, 1.0, 1.0),  # degenerate across L
    ([2.0, 1.0, 1.0, 0.5], 4, 2.0, 0.5),  # λ exactly at τ
    ([3.0, 1.0, 0.0, 0.0], 3, 1.0, 0.1),  # rank 2
    ([1.0, 0.5, 0.2], 2, 3.0, 0.5),  # all collapse
    ([1.0], 1, 1.0, 0.5),
]
LEARNED = [  # eigenvalues, L, β
    ([5.0, 2.0, 1.0, 0.3, 0.1], 2, 1.0),
    ([5.0, 2.0, 1.0, 0.3, 0.1], 3, 0.3),
    ([5.0, 2.0, 1.0, 0.3, 0.1], 3, 1.5),
    ([5.0, 2.0, 1.0, 0.3, 0.1], 4, 3.0),  # D < βL
    ([2.0, 2.0, 2.0, 0.5], 2, 1.0),  # degenerate across L
    ([3.0, 1.0, 0.5, 0.0], 2, 1.0),  # rank 3
    ([3.0, 1.0, 0.5, 0.2], 4, 2.0),  # nothing discarded, yet a maximum since βL > D
    ([1.0, 1.0, 1.0], 2, 1.2),  # isotropic: nothing pays
]


def data_with(eigenvalues: list[float], seed: int = 0) -> torch.Tensor:
    """2D observations in general position whose covariance has exactly these eigenvalues."""
    stream = torch.Generator().manual_seed(seed)
    size = len(eigenvalues)
    turn = torch.linalg.qr(torch.randn(size, size, generator=stream, dtype=torch.float64))[0]
    return Spectrum.given(eigenvalues, turn, torch.randn(size, generator=stream)).points


def optima() -> list[StationaryPoint]:
    fixed = [beta_optimum(Spectrum.of(data_with(values)), *rest) for values, *rest in FIXED]
    return fixed + [learned_variance_optimum(Spectrum.of(data_with(values)), *rest) for values, *rest in LEARNED]


every_optimum = pytest.mark.parametrize("point", optima(), ids=lambda p: f"D{p.spectrum.dim}L{p.latent_dim}b{p.beta:g}")


def trained(
    x: torch.Tensor, latent_dim: int, beta: float, variance: float | None, seed: int
) -> tuple[float, np.ndarray]:
    """The mean objective that L-BFGS reaches from a random start, and the variances of the posterior's mean, sorted."""
    dim = x.shape[1]
    sizes = [dim * latent_dim, dim * latent_dim, latent_dim, latent_dim, dim, 1]

    def models(vector: torch.Tensor) -> tuple[ProbabilisticPCA, LinearPosterior]:
        weight, gain, bias, log_d, mean, log_noise = vector.split(sizes)
        noise = log_noise.exp() if variance is None else variance
        model = ProbabilisticPCA(mean, weight.view(dim, latent_dim), noise)
        return model, LinearPosterior.diagonal(gain.view(latent_dim, dim), bias, log_d.exp())

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        vector = torch.tensor(values, requires_grad=True)
        value = -beta_elbo(x, *models(vector), beta).mean()
        return value.item(), torch.autograd.grad(value, vector)[0].numpy()

    start = 0.5 * np.random.default_rng(seed).standard_normal(sum(sizes))
    limits = {"maxiter": 2000, "maxfun": 4000, "ftol": 1e-14, "gtol": 1e-8, "maxcor": 40}
    end = minimize(loss, start, jac=True, method="L-BFGS-B", options=limits)
    means = models(torch.from_numpy(end.x))[1].mean(x)
    return -float(end.fun), np.sort(means.var(0, correction=0).numpy())


@pytest.mark.parametrize(("values", "latent_dim", "beta", "variance"), FIXED)
def test_training_comes_to_the_optimum(values: list[float], latent_dim: int, beta: float, variance: float) -> None:
    """From random W, V, b, d and μ, and never above it; the active units are those predicted, where they are unique."""
    x = data_with(values)
    point = beta_optimum(Spectrum.of(x), latent_dim, beta, variance)
    objective, variances = trained(x, latent_dim, beta, variance, seed=1)
    assert point.objective - 2e-6 < objective < point.objective + 1e-9
    # At λ = τ the objective is flat to fourth order, so variances are reached less closely than the objective.
    np.testing.assert_allclose(variances, point.variance_of_mean().sort().values, atol=5e-3)


@pytest.mark.parametrize(("values", "latent_dim", "beta"), LEARNED)
def test_training_comes_to_the_optimum_in_variance_too(values: list[float], latent_dim: int, beta: float) -> None:
    x = data_with(values)
    point = learned_variance_optimum(Spectrum.of(x), latent_dim, beta)
    objective, variances = trained(x, latent_dim, beta, None, seed=2)
    assert point.objective - 2e-6 < objective < point.objective + 1e-9
    np.testing.assert_allclose(variances, point.variance_of_mean().sort().values, atol=5e-3)


@every_optimum
def test_figures_are_means_over_the_data(point: StationaryPoint) -> None:
    """Rate, distortion, ELBO, objective and evidence from the eigenvalues are the models' means over observations."""
    x, model, posterior = point.spectrum.points, point.model, point.posterior
    np.testing.assert_allclose(point.rate, posterior.rate(x).mean(), atol=1e-12, rtol=1e-9)
    units = Normal(posterior.mean(x), posterior.covariance.diagonal().sqrt())
    kl = kl_divergence(units, Normal(torch.zeros(()).double(), 1.0)).mean(0)
    np.testing.assert_allclose(point.kl_per_unit, kl, atol=1e-12, rtol=1e-9)
    np.testing.assert_allclose(point.elbo, beta_elbo(x, model, posterior).mean(), rtol=1e-9)
    np.testing.assert_allclose(point.objective, beta_elbo(x, model, posterior, point.beta).mean(), rtol=1e-9)
    np.testing.assert_allclose(point.distortion, -beta_elbo(x, model, posterior, 0.0).mean(), rtol=1e-9)
    np.testing.assert_allclose(point.evidence, model.log_prob(x).mean(), rtol=1e-9)
    assert point.elbo <= point.evidence + 1e-9


@every_optimum
def test_what_definitions_say_of_the_optimum(point: StationaryPoint) -> None:
    kept = point.spectrum.eigenvalues[: len(point.kept)]
    gram = point.model.weight.mT @ point.model.weight
    expected = torch.zeros(point.latent_dim, dtype=torch.float64)
    expected[: len(kept)] = kept - point.tau
    np.testing.assert_allclose(gram, torch.diag(expected), atol=1e-12)  # WᵀW is diagonal: directions, not a rotation
    expected[: len(kept)] = 1 - point.tau / kept
    np.testing.assert_allclose(point.variance_of_mean(), expected, atol=1e-12)
    np.testing.assert_allclose(point.posterior.covariance.diagonal(), 1 - expected, atol=1e-12)


@every_optimum
def test_at_beta_one_every_log_weight_is_the_evidence(point: StationaryPoint) -> None:
    """With the noise τ in σ²'s place the posterior is exact, for any β; at β = 1 that is the optimum itself."""
    x, stream = point.spectrum.points, torch.Generator().manual_seed(0)
    model, posterior = ProbabilisticPCA(point.model.mean, point.model.weight, point.tau), point.posterior
    centre = posterior.mean(x)
    z = centre + torch.randn(8, *centre.shape, generator=stream) * posterior.covariance.diagonal().sqrt()
    log_px = Normal(z @ model.weight.mT + model.mean, model.noise.sqrt()).log_prob(x).sum(-1)
    log_pz = Normal(torch.zeros(()).double(), 1.0).log_prob(z).sum(-1)
    log_qz = posterior.at(x).log_prob(z)
    np.testing.assert_allclose(log_px + log_pz - log_qz, model.log_prob(x).expand(8, -1), atol=1e-9)


@given(
    st.lists(st.floats(0.01, 10), min_size=1, max_size=12),
    st.integers(1, 14),
    st.floats(0.01, 6),
    st.floats(0.01, 3),
)
def test_no_shorter_prefix_is_better(values: list[float], latent_dim: int, beta: float, variance: float) -> None:
    """Among all prefixes of the directions that exceed τ, the optimum has the highest objective."""
    spectrum = Spectrum.given(values)
    best = beta_optimum(spectrum, latent_dim, beta, variance)
    for q in range(len(best.kept) + 1):
        assert StationaryPoint(spectrum, tuple(range(q)), latent_dim, beta, variance).objective <= best.objective + 1e-9


@given(st.lists(st.floats(0.01, 10), min_size=2, max_size=12), st.integers(1, 14), st.floats(0.0, 6))
def test_learned_variance_solves_its_equation(values: list[float], latent_dim: int, beta: float) -> None:
    """σ² = Σ_{i>q} λ_i / (D − βq), λ_q > βσ² ≥ λ_{q+1} unless q = L, and no σ² on a grid has a better optimum."""
    spectrum = Spectrum.given(values)
    assume(latent_dim < len(values) or beta * min(latent_dim, len(values)) > len(values) * 1.001)
    point = learned_variance_optimum(spectrum, latent_dim, beta)
    q, ordered = len(point.kept), [*sorted(values, reverse=True), 0.0]
    np.testing.assert_allclose(point.variance, sum(ordered[q:]) / (len(values) - beta * q), rtol=1e-9)
    assert q == 0 or ordered[q - 1] > point.tau
    assert q == latent_dim or point.tau >= ordered[q] * (1 - 1e-9)
    for factor in np.geomspace(1e-3, 1e3, 13):
        other = beta_optimum(spectrum, latent_dim, beta, point.variance * factor)
        assert other.objective <= point.objective + 1e-9 * abs(point.objective)


@pytest.mark.parametrize(("n", "dim", "latent_dim"), [(60, 8, 3), (40, 5, 4), (300, 20, 1)])
def test_maximum_likelihood_is_scikit_learns(n: int, dim: int, latent_dim: int) -> None:
    """PCA.score with its N − 1 undone: all its variances are N/(N − 1) times ours, on the same directions.

    Rescaling the data to the N of both makes the two implementations agree; on the data as they are its covariance is
    too large by N/(N − 1), and its score falls short of the maximum by just what that costs.
    """
    x = torch.randn(n, dim, generator=torch.Generator().manual_seed(n), dtype=torch.float64) * torch.arange(1, dim + 1)
    point = maximum_likelihood(Spectrum.of(x), latent_dim)
    assert point.latent_dim == len(point.kept) == latent_dim
    np.testing.assert_allclose(point.elbo, point.evidence, rtol=1e-12)
    reference = PCA(latent_dim, svd_solver="full").fit(x.numpy())
    np.testing.assert_allclose(reference.get_covariance() * (n - 1) / n, point.model.covariance, atol=1e-9)
    shortfall = 0.5 * dim * (np.log(n / (n - 1)) - 1 / n)
    np.testing.assert_allclose(reference.score(x.numpy()), point.evidence - shortfall, rtol=1e-10)
    wider = n / (n - 1)
    widened = ProbabilisticPCA(point.model.mean, point.model.weight * wider**0.5, point.variance * wider)
    np.testing.assert_allclose(reference.score_samples(x.numpy()), widened.log_prob(x), rtol=1e-9)
    assert float(widened.log_prob(x).mean()) < point.evidence


def images_of_lucas() -> torch.Tensor:
    """The 1000 MNIST images `[1000, 784]` in [0, 1] of the notebook that came with Lucas et al. 2019.

    It takes the first 1000 in the order of TensorFlow Datasets' mnist 1.0.0: the training set dealt to ten shards like
    cards, every shard shuffled by one NumPy RandomState(42), and the shards read in turn, so that 100 come from each.
    """
    raw, name = Path(os.environ.get("VAEBENCH_DATA") or "data") / "MNIST" / "raw", "train-images-idx3-ubyte"
    if not (raw / name).exists():
        pytest.skip(f"needs MNIST: no {name} in {raw} (set VAEBENCH_DATA to the folder that holds MNIST/raw)")
    pixels = np.fromfile(raw / name, np.uint8, offset=16).reshape(60_000, 784)
    shuffle, chosen = np.random.RandomState(42).shuffle, []
    for shard in (list(range(first, 60_000, 10)) for first in range(10)):
        shuffle(shard)
        chosen += shard[:100]
    return torch.from_numpy(pixels[chosen] / 255.0)


def test_the_known_answer_on_mnist() -> None:
    """L = 200: the maximum is 942.0466 nats; the notebook printed 941.6543, by a covariance divided by N − 1."""
    x = images_of_lucas()
    spectrum = Spectrum.of(x)
    point = maximum_likelihood(spectrum, 200)
    assert abs(point.evidence - 942.04657) < 1e-5
    assert abs(float(point.model.log_prob(x).mean()) - 942.04657) < 1e-5
    assert abs(float(beta_elbo(x, point.model, point.posterior).mean()) - 942.04657) < 1e-5
    by_n_minus_one = maximum_likelihood(Spectrum.given(spectrum.eigenvalues * 1000 / 999), 200)
    assert abs(by_n_minus_one.evidence - 941.6543285914813) < 1e-4  # its pixels are float32
    assert forecast(spectrum, 200, point.tau).active_units == int((point.variance_of_mean() > 0.01).sum())


@every_optimum
def test_forecast_counts_the_units_of_the_optimum(point: StationaryPoint) -> None:
    predicted = forecast(point.spectrum, point.latent_dim, point.tau)
    assert predicted.active_units == int((point.variance_of_mean() > 0.01).sum())
    assert predicted.active_units + predicted.collapsed_units == point.latent_dim
    assert predicted.reason


EDGES = [0.3 / 0.99, 0.3, 0.3000001 / 0.99]


@pytest.mark.parametrize(
    ("values", "latent_dim", "tau", "active", "reason"),
    [
        ([5.0, 3.0, 2.0], 2, 0.5, 2, "λ_2 = 3 > "),
        ([5.0, 3.0, 2.0], 3, 2.5, 2, "λ_3 = 2 ≤ "),
        ([5.0, 3.0, 2.0], 3, 5.0, 0, "λ_1 = 5 ≤ "),
        ([5.0, 3.0, 2.0], 3, 9.0, 0, "λ_1 = 5 ≤ "),
        ([5.0, 3.0, 2.0], 4, 0.5, 3, "3 directions only"),
        ([5.0, 3.0, 0.0], 3, 0.0, 2, "λ_3 = 0 ≤ "),
        ([5.0, 3.0, 2.0], 3, 0.0, 3, "λ_3 = 2 > "),
        ([5.0, EDGES[0], EDGES[1]], 3, 0.3, 1, "λ_2 = "),  # Var_x(E_q z) = 0.01 is not above 0.01
        ([5.0, EDGES[2], EDGES[1]], 3, 0.3, 2, "λ_3 = "),
        ([2.0] * 4, 3, 1.0, 3, "λ_3 = 2 > "),
        ([2.0] * 4, 3, 2.0, 0, "λ_1 = 2 ≤ "),
        ([0.7, 0.07], 2, 0.7 * 0.1, 1, "λ_2 = "),  # 0.7 × 0.1 rounds below 0.07
    ],
)
def test_forecast_and_its_reason(values: list[float], latent_dim: int, tau: float, active: int, reason: str) -> None:
    predicted = forecast(Spectrum.given(values), latent_dim, tau)
    assert predicted.active_units == active
    assert reason in predicted.reason


def test_forecast_falls_with_tau_and_ends_in_collapse() -> None:
    spectrum = Spectrum.of(data_with([4.0, 2.0, 1.0, 0.5, 0.25]))
    counts = [forecast(spectrum, 4, tau).active_units for tau in np.linspace(0, 5, 101)]
    assert all(a >= b for a, b in pairwise(counts))
    assert (counts[0], counts[-1]) == (4, 0)


def test_threshold_decides_what_counts_as_active() -> None:
    spectrum = Spectrum.given([4.0, 2.0, 1.1])
    assert [forecast(spectrum, 3, 1.0, threshold).active_units for threshold in (0.0, 0.2, 0.6, 0.8)] == [3, 2, 1, 0]


@pytest.mark.parametrize(
    ("measured", "said"),
    [(2, "1 collapsed by the objective"), (1, "1 by optimisation"), (3, "1 more than a linear optimum")],
)
def test_forecast_beside_a_measured_count(measured: int, said: str) -> None:
    assert said in forecast(Spectrum.given([5.0, 3.0, 0.1]), 3, 1.0).explain(measured)
    assert "optimisation" not in forecast(Spectrum.given([5.0, 3.0, 0.1]), 3, 1.0).explain(2)


def test_ties_in_a_learned_variance_are_left_out() -> None:
    """Isotropic data at β = 1: any number of columns of length zero is as good, none is kept, σ² is the eigenvalue."""
    for spectrum in (Spectrum.given([0.1] * 7), Spectrum.of(data_with([0.1] * 7))):
        point = learned_variance_optimum(spectrum, 3)
        assert point.kept == ()
        np.testing.assert_allclose(point.variance, 0.1, rtol=1e-12)


@pytest.mark.parametrize(("beta", "kept"), [(4 * (1 - 1e-9), 1), (4.0, 0), (4 * (1 + 1e-9), 0)])
def test_everything_collapses_once_beta_times_the_mean_reaches_the_first_eigenvalue(beta: float, kept: int) -> None:
    """With σ² learned, q = 0 has σ² = mean λ = 1, so the threshold is β = λ_1 = 4."""
    assert len(learned_variance_optimum(Spectrum.given([4.0, 0.5, 0.3, 0.1, 0.1]), 3, beta).kept) == kept


def test_beta_zero_is_the_limit_of_small_beta() -> None:
    """Reconstruction alone: σ² = discarded variance over D, an infinite rate, which the objective does not see."""
    spectrum = Spectrum.given([4.0, 2.0, 1.0, 0.0])
    none, small = learned_variance_optimum(spectrum, 2, 0.0), learned_variance_optimum(spectrum, 2, 1e-9)
    np.testing.assert_allclose([none.variance, none.objective], [small.variance, small.objective], rtol=1e-6)
    assert none.variance == 0.25
    assert (none.rate, none.elbo) == (float("inf"), -float("inf"))
    assert none.variance_of_mean().tolist() == pytest.approx([1.0, 1.0])
    assert beta_optimum(spectrum, 4, 0.0, 1.0).kept == (0, 1, 2)
    x = spectrum.points
    np.testing.assert_allclose(beta_elbo(x, none.model, none.posterior, 0.0).mean(), none.objective, rtol=1e-12)


def test_variance_of_mean_on_another_split() -> None:
    x, other = data_with([4.0, 2.0, 1.0, 0.5], 0), data_with([3.0, 2.5, 1.0, 0.1], 1)
    point = beta_optimum(Spectrum.of(x), 3, 1.0, 0.3)
    direct = point.posterior.mean(other).var(0, correction=0)
    np.testing.assert_allclose(point.variance_of_mean(Spectrum.of(other)), direct, rtol=1e-9)


@pytest.mark.parametrize(
    ("values", "latent_dim", "beta"),
    [
        ([3.0, 1.0], 2, 1.0),
        ([3.0, 1.0], 5, 1.0),
        ([3.0, 0.0], 1, 1.0),
        ([3.0, 2.0, 0.0], 2, 1.5),  # βL = D: flat
        ([0.0], 1, 1.0),
        ([3.0], 1, 0.0),
    ],
)
def test_no_variance_left_has_no_optimum(values: list[float], latent_dim: int, beta: float) -> None:
    """What the refusal advises can be done, at every rank."""
    spectrum = Spectrum.given(values)
    with pytest.raises(ValueError, match=r"σ² has no optimum; .*fix σ²") as refused:
        learned_variance_optimum(spectrum, latent_dim, beta)
    assert ("take a latent dimension below the rank" in str(refused.value)) == (spectrum.rank > 1)
    assert beta_optimum(spectrum, latent_dim, beta, 1.0).variance == 1.0
    for fewer in range(1, spectrum.rank):
        assert learned_variance_optimum(spectrum, fewer, beta).variance > 0


def test_impossible_arguments_are_refused() -> None:
    spectrum = Spectrum.given([2.0, 1.0])
    for bad in ((0, 1.0, 1.0), (1, -1.0, 1.0), (1, 1.0, 0.0), (1, float("nan"), 1.0), (1, 1.0, float("inf"))):
        with pytest.raises(ValueError, match="expected"):
            beta_optimum(spectrum, *bad)
    for worse in ((0, 1.0, 0.01), (1, -1.0, 0.01), (1, 1.0, 1.0)):
        with pytest.raises(ValueError, match="expected"):
            forecast(spectrum, *worse)
