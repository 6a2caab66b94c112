"""Every posterior is normalised and has the density of its draws; identity flows; what a diagonal one cannot reach."""

import math
from typing import Any

import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence

from vaebench.config.registry import METRICS, MODELS, POSTERIORS
from vaebench.data.loaders import Batch
from vaebench.evaluation.measure import build_metrics, measure
from vaebench.models.parts.posteriors import log_density, rate_above_standard_normal, reparameterise
from vaebench.oracle.probabilistic_pca import ProbabilisticPCA, beta_elbo

FLOWS = [
    {"name": "Flow"},
    {"name": "Flow", "kind": "NSF", "context": 0, "transforms": 1},
    {"name": "Flow", "kind": "NSF", "coupling": True, "transforms": 3, "hidden": [5, 9]},
    {"name": "Flow", "kind": "IAF", "coupling": True, "hidden": []},
]
EVERY = [*({"name": name} for name in POSTERIORS if name != "Flow"), *FLOWS]
SHAPE = (5,)
GAUSSIAN = {"name": "Gaussian", "variance": 0.05}

every_posterior = pytest.mark.parametrize("posterior", EVERY, ids=str)


def build(name: str = "VAE", shape: tuple[int, ...] = SHAPE, **keywords: Any):
    network = {"network": {"name": "MLP", "hidden": [8]}}
    return MODELS.build({"name": name, "likelihood": GAUSSIAN, **network, **keywords}, shape, 0)


def bent(posterior: dict[str, Any], latent_dim: int = 2):
    """A model whose q(z|x) depends on x and is far from its initialisation."""
    model = build(latent_dim=latent_dim, posterior=posterior).double()
    stream = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.encoder.parameters():
            p.add_(0.15 * torch.randn(p.shape, generator=stream, dtype=p.dtype))
        for p in model.posterior.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=stream, dtype=p.dtype))
    return model


def observations(n: int, shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)


def normal(*size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@every_posterior
@torch.no_grad()
def test_total_mass_is_one(posterior: dict[str, Any]) -> None:
    """∫ q(z|x) dz over a grid of 401² points, for an x that is not the one of the initialisation."""
    axis = torch.linspace(-6, 6, 401, dtype=torch.float64)
    x, grid = observations(2), torch.cartesian_prod(axis, axis)[:, None]
    density = log_density(bent(posterior).encode(x[:1]), grid).exp()
    assert float(density.sum() * 0.03**2) == pytest.approx(1.0, abs=1e-3)
    other = log_density(bent(posterior).encode(x[1:]), grid[::1000]).exp()
    assert float((density[::1000] - other).abs().max()) > 1e-4, "q depends on x"


@every_posterior
@pytest.mark.parametrize("latent_dim", [1, 2, 5])
@torch.no_grad()
def test_a_draw_has_the_density_of_its_place(posterior: dict[str, Any], latent_dim: int) -> None:
    """log q from the noise of a draw, against log q of the same z without its noise (a flow: the slow direction)."""
    model, x, noise = bent(posterior, latent_dim), observations(4), normal(7, 4, latent_dim)
    q = model.encode(x)
    z = reparameterise(q, noise)
    torch.testing.assert_close(log_density(q, z), log_density(model.encode(x), z.clone()), rtol=1e-8, atol=1e-8)
    assert z.shape == (7, 4, latent_dim)
    assert q.mean.shape == q.variance.shape == (4, latent_dim)


@every_posterior
@torch.no_grad()
def test_moments_are_those_of_the_draws(posterior: dict[str, Any]) -> None:
    """The mean within 5 standard errors of 256 fixed draws, the variance within half, against 40 000 draws."""
    q = bent(posterior, 3).encode(observations(4))
    z = reparameterise(q, normal(40_000, 4, 3))
    assert bool(((q.mean - z.mean(0)).abs() < 5 * z.std(0) / 256**0.5).all())
    assert bool(((q.variance / z.var(0)).log().abs() < math.log(2)).all())


@every_posterior
@torch.no_grad()
def test_the_rate_is_the_divergence_from_the_prior(posterior: dict[str, Any]) -> None:
    """Against the mean of log q − log p over 20 000 draws, within 5 standard errors (24 tests: a false alarm 1e-5)."""
    model, noise = bent(posterior, 3), normal(20_000, 4, 3)
    q = model.encode(observations(4))
    z = reparameterise(q, noise)
    plain = log_density(q, z) - model.prior(model.encode).log_prob(z)
    difference = rate_above_standard_normal(q, z) - plain
    assert bool((difference.mean(0).abs() < 5 * difference.std(0) / 20_000**0.5 + 1e-12).all())


def test_the_kl_of_a_full_covariance_is_torchs() -> None:
    q = bent({"name": "FullCovariance"}, 4).encode(observations(6))
    prior = MultivariateNormal(torch.zeros(4).double(), torch.eye(4).double())
    reference = kl_divergence(MultivariateNormal(q.mean, scale_tril=q.scale_tril), prior)
    torch.testing.assert_close(rate_above_standard_normal(q, q.mean), reference)


# -- the identity -----------------------------------------------------------------------------------------------------


def test_a_flow_without_transforms_is_the_vae_bit_for_bit() -> None:
    x = observations(6).float()
    plain, flow = build(), build(posterior={"name": "Flow", "transforms": 0})
    noise = plain.noise(6, torch.Generator().manual_seed(0))
    assert torch.equal(plain.objective(x, noise), flow.objective(x, noise))


@pytest.mark.parametrize("posterior", FLOWS, ids=str)
@torch.no_grad()
def test_an_identity_flow_has_the_numbers_of_the_vae(posterior: dict[str, Any]) -> None:
    """Objective and log-weights to rounding, once the networks of the transforms give zero."""
    x = observations(6).float()
    plain, flow = build(latent_dim=3), build(latent_dim=3, posterior={**posterior, "context": 0})
    for p in flow.posterior.parameters():
        p.zero_()
    noise = plain.noise(6, torch.Generator().manual_seed(0))
    torch.testing.assert_close(flow.objective(x, noise), plain.objective(x, noise), rtol=2e-6, atol=2e-6)
    first, second = (m.draws(Batch(x), 20, torch.Generator().manual_seed(0)) for m in (plain, flow))
    torch.testing.assert_close(first.log_weight, second.log_weight, rtol=2e-6, atol=2e-5)
    assert torch.equal(flow.encode(x).base.mean, plain.encode(x).mean)
    torch.testing.assert_close(flow.encode(x).mean, plain.encode(x).mean, rtol=0, atol=1e-6)


# -- the gap of a diagonal posterior ----------------------------------------------------------------------------------


def rotated(dim: int, latent_dim: int, variance: float, seed: int) -> ProbabilisticPCA:
    """A linear-Gaussian model whose exact posterior has dependent units."""
    return ProbabilisticPCA(normal(dim, seed=seed), normal(dim, latent_dim, seed=seed + 1), variance)


def with_exact_posterior(density: ProbabilisticPCA, posterior: str) -> Any:
    """A VAE of affine maps with this density and, if its family has it, the exact posterior; else the nearest one."""
    exact = density.posterior if posterior == "FullCovariance" else density.posterior.independent()
    latent_dim, likelihood = density.latent_dim, {"name": "Gaussian", "variance": density.variance}
    keywords = {"latent_dim": latent_dim, "network": "Affine", "likelihood": likelihood, "posterior": posterior}
    model = MODELS.build({"name": "VAE", **keywords}, (len(density.mean),), 0).double()
    lower = torch.linalg.cholesky(exact.covariance)
    rows, columns = torch.tril_indices(latent_dim, latent_dim, -1)
    below = lower[rows, columns] if posterior == "FullCovariance" else lower.new_empty(0)
    with torch.no_grad():
        model.decoder[0].weight.copy_(density.weight)
        model.decoder[0].bias.copy_(density.mean)
        affine = model.encoder[1]
        affine.weight.zero_()[:latent_dim] = exact.weight
        affine.bias.copy_(torch.cat([exact.bias, 2 * lower.diagonal().log(), below]))
    return model


@pytest.mark.parametrize(("dim", "latent_dim", "variance"), [(6, 2, 0.3), (9, 4, 0.05), (4, 4, 2.0), (3, 5, 1.0)])
@torch.no_grad()
def test_a_full_covariance_reaches_the_evidence_where_a_diagonal_one_cannot(
    dim: int, latent_dim: int, variance: float
) -> None:
    """Every log-weight of the exact posterior is log p(x), to 1e-9. The nearest diagonal one has the ELBO of the closed
    form, within 5 Monte-Carlo errors, and no diagonal one has a higher ELBO (its gradient is 0 there)."""
    density = rotated(dim, latent_dim, variance, dim)
    x, _ = density.sample(8, torch.Generator().manual_seed(2))
    evidence = density.log_prob(x)
    drawn = with_exact_posterior(density, "FullCovariance").draws(Batch(x), 50, torch.Generator().manual_seed(0))
    assert float((drawn.log_weight - evidence).abs().max()) < 1e-9
    nearest = density.posterior.independent()
    gap = float((evidence - beta_elbo(x, density, nearest)).mean())
    covariance = density.posterior.covariance
    precision = torch.linalg.inv(covariance).diagonal().log().sum()
    assert gap == pytest.approx(0.5 * float(precision + torch.logdet(covariance)), rel=1e-9)
    assert gap > 0.01
    diagonal = with_exact_posterior(density, "Diagonal")
    weights = diagonal.draws(Batch(x), 5000, torch.Generator().manual_seed(0)).log_weight
    error = float((weights.var(0) / 5000).sum().sqrt()) / len(x)
    assert abs(float(weights.mean()) - float(evidence.mean()) + gap) < 5 * error
    for scale in (0.9, 1.1):
        other = nearest.diagonal(nearest.weight, nearest.bias, scale * nearest.covariance.diagonal())
        assert float((evidence - beta_elbo(x, density, other)).mean()) > gap


# -- everywhere -------------------------------------------------------------------------------------------------------

VAES = [m for m in MODELS if "posterior" in MODELS.keywords(m)]


@pytest.mark.parametrize("name", VAES)
@every_posterior
def test_every_vae_takes_every_posterior_with_as_many_units_as_dimensions(name: str, posterior: dict[str, Any]) -> None:
    together = {"group": 5} if name == "FreeBitsVAE" else {}
    model, x = build(name, latent_dim=5, posterior=posterior, **together), observations(6).float()
    objective = model.objective(x, model.noise(6, torch.Generator().manual_seed(0)))
    objective.sum().backward()
    assert bool(objective.isfinite().all())
    assert all(p.grad is not None for p in model.posterior.parameters())


@every_posterior
def test_what_cannot_be_known_of_a_posterior_is_left_blank_with_its_reason(posterior: dict[str, Any]) -> None:
    """Every metric gives numbers or reasons; which, the form of the posterior decides."""
    model, x = build(latent_dim=3, posterior=posterior), observations(30).float()
    found = measure(model, [Batch(x, torch.arange(30) % 2)], build_metrics(METRICS), 10, 0)
    names = {e.name for e in found.estimates}
    assert {"elbo", "rate", "distortion", "active_units", "squared_error"} <= names
    is_flow, is_diagonal = posterior["name"] == "Flow", posterior["name"] == "Diagonal"
    assert ("kl_per_unit" in names) == ("collapsed_units" in names) == (not is_flow)
    assert ("mutual_information" in names) == ("total_correlation" in names) == is_diagonal
    reasons = {found.not_applicable.get(k) for k in ("collapsed_units", "mutual_information", "total_correlation")}
    kind = "a flow, whose single units" if is_flow else "a normal distribution whose units depend"
    assert is_diagonal or all(kind in reason for reason in reasons - {None})
    count = next(e for e in found.estimates if e.name == "active_units")
    assert (count.note == "E_q[z|x] over 256 fixed noises") == is_flow


def test_a_unit_that_ignores_x_is_not_active_under_a_flow() -> None:
    model, x = build(latent_dim=3, posterior="Flow"), observations(50).float()
    with torch.no_grad():
        model.encoder[-1].weight.zero_()
    spectrum = next(
        e.value for e in measure(model, [Batch(x)], build_metrics(["ActiveUnits"]), 1, 0).estimates
        if e.name == "variance_spectrum"
    )  # fmt: skip
    assert max(spectrum) < 1e-10


def test_a_draw_by_hand_is_refused_where_it_would_be_wrong() -> None:
    q = build(posterior="Flow").encode(observations(3).float())
    with pytest.raises(AttributeError, match="use `reparameterise"):
        q.mean + q.stddev * torch.randn(3, 8)


def test_a_vamp_prior_is_a_mixture_of_flows() -> None:
    """Its total mass on a grid is 1, and its samples have its mean."""
    keywords = {"latent_dim": 2, "prior": {"name": "VampPrior", "pseudo_inputs": 3}}
    model = build(posterior={"name": "Flow", "kind": "NSF"}, **keywords).double()
    axis = torch.linspace(-8, 8, 161, dtype=torch.float64)
    with torch.no_grad():
        prior = model.prior(model.encode)
        mass = prior.log_prob(torch.cartesian_prod(axis, axis)).exp().sum() * 0.1**2
        assert float(mass) == pytest.approx(1.0, abs=2e-3)
        assert prior.sample((7,)).shape == (7, 2)
        assert prior.stddev.shape == (2,)


@every_posterior
def test_the_bound_of_several_draws_takes_every_posterior(posterior: dict[str, Any]) -> None:
    """IWAE's objective is the IWAE bound of the draws at its noise; DReG has the same value, and refuses a flow."""
    model, x = build("IWAE", latent_dim=3, k=4, posterior=posterior).double(), observations(6)
    noise = normal(6, 4, 3)
    weights = model.draws_at(Batch(x), [noise.transpose(0, 1)]).log_weight
    torch.testing.assert_close(model.objective(x, noise), weights.logsumexp(0) - math.log(4))
    if posterior["name"] == "Flow":
        with pytest.raises(ValueError, match="DReG expects a posterior with a density in closed form, got a Flow"):
            build("IWAE", gradient="DReG", posterior=posterior)
    else:
        twice = build("IWAE", latent_dim=3, k=4, posterior=posterior, gradient="DReG").double()
        torch.testing.assert_close(twice.objective(x, noise), model.objective(x, noise))
