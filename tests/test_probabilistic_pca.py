"""The linear-Gaussian model against scipy, Bayes' rule and Monte Carlo."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multivariate_normal, norm
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

from vaebench.oracle.probabilistic_pca import LinearPosterior, ProbabilisticPCA, beta_elbo, distortion


def normal(stream: torch.Generator, *size: int) -> torch.Tensor:
    return torch.randn(*size, generator=stream, dtype=torch.float64)


def random_model(
    dim: int, latent_dim: int, seed: int, variance: float | None = 0.3, columns: int = 99
) -> ProbabilisticPCA:
    """A model with so many columns that are not zero; with variance None, one σ² a coordinate (factor analysis)."""
    stream = torch.Generator().manual_seed(seed)
    weight = normal(stream, dim, latent_dim) * (torch.arange(latent_dim) < columns)
    return ProbabilisticPCA(normal(stream, dim), weight, variance or normal(stream, dim).exp())


def random_posterior(dim: int, latent_dim: int, seed: int) -> LinearPosterior:
    stream = torch.Generator().manual_seed(seed)
    return LinearPosterior.diagonal(
        0.3 * normal(stream, latent_dim, dim), normal(stream, latent_dim), normal(stream, latent_dim).exp()
    )


MODELS = [
    random_model(5, 2, 0),
    random_model(4, 4, 1, 1e-3),
    random_model(3, 6, 2, 5.0),  # more units than dimensions
    random_model(6, 4, 3, 0.1, columns=2),  # collapsed units
    random_model(5, 3, 4, None),
    random_model(1, 1, 5),
    ProbabilisticPCA(torch.zeros(4).double(), torch.diag(torch.ones(4)).double()[:, :3] * 2, 0.5),  # degenerate
]
every_model = pytest.mark.parametrize("model", MODELS, ids=lambda m: f"{tuple(m.weight.shape)}")


@given(st.integers(1, 9), st.integers(1, 12), st.floats(-4, 2), st.integers(0, 10**6))
def test_evidence_is_scipys(dim: int, latent_dim: int, log10_variance: float, seed: int) -> None:
    """Against a dense log-density that squares the condition number: it bounds the agreement, ours is the better."""
    model = random_model(dim, latent_dim, seed, 10**log10_variance)
    x, _ = model.sample(7, torch.Generator().manual_seed(seed))
    reference = multivariate_normal(model.mean.numpy(), model.covariance.numpy()).logpdf(x.numpy())
    np.testing.assert_allclose(model.log_prob(x), np.atleast_1d(reference), rtol=1e-8, atol=1e-8)


@every_model
def test_bayes_rule_holds_at_every_z(model: ProbabilisticPCA) -> None:
    """log p(x|z) + log p(z) − log p(z|x) is log p(x), whatever z: every log-weight of the exact posterior is equal."""
    stream = torch.Generator().manual_seed(0)
    (x, _), z = model.sample(6, stream), 2 * normal(stream, 4, 6, model.latent_dim)
    log_px = Independent(Normal(z @ model.weight.mT + model.mean, model.noise.sqrt()), 1).log_prob(x)
    log_weight = log_px + Normal(0.0, 1.0).log_prob(z).sum(-1) - model.posterior.at(x).log_prob(z)
    np.testing.assert_allclose(log_weight, model.log_prob(x).expand(4, 6), rtol=1e-9, atol=1e-9)


@every_model
def test_elbo_misses_the_evidence_by_the_posteriors_misfit(model: ProbabilisticPCA) -> None:
    """log p(x) − ELBO = KL(q(z|x)‖p(z|x)): zero for the exact posterior, torch's own KL for any other."""
    x, _ = model.sample(5, torch.Generator().manual_seed(1))
    np.testing.assert_allclose(beta_elbo(x, model, model.posterior), model.log_prob(x), rtol=1e-9)
    q = random_posterior(len(model.mean), model.latent_dim, 2)
    gap = kl_divergence(q.at(x), model.posterior.at(x))
    np.testing.assert_allclose(model.log_prob(x) - beta_elbo(x, model, q), gap, rtol=1e-8)


@every_model
def test_distortion_and_rate_are_means_over_draws(model: ProbabilisticPCA) -> None:
    """Monte Carlo over 20 000 draws within 4.5 standard errors; 7 models × 2 × 3 normal tests: false alarms 3e-4."""
    stream = torch.Generator().manual_seed(3)
    x, _ = model.sample(3, stream)
    q = random_posterior(len(model.mean), model.latent_dim, 4)
    z = q.mean(x) + normal(stream, 20_000, 3, model.latent_dim) * q.covariance.diagonal().sqrt()
    log_px = Independent(Normal(z @ model.weight.mT + model.mean, model.noise.sqrt()), 1).log_prob(x)
    ratio = q.at(x).log_prob(z) - Normal(0.0, 1.0).log_prob(z).sum(-1)
    for draws, exact in ((-log_px, distortion(x, model, q)), (ratio, q.rate(x))):
        assert bool(((draws.mean(0) - exact).abs() < 4.5 * draws.std(0) / 20_000**0.5).all())


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0, 7.0])
def test_beta_weighs_the_rate_alone(beta: float) -> None:
    model, q = MODELS[0], random_posterior(5, 2, 0)
    x, _ = model.sample(4, torch.Generator().manual_seed(0))
    torch.testing.assert_close(beta_elbo(x, model, q, beta), -distortion(x, model, q) - beta * q.rate(x))


def test_a_posterior_without_variance_has_infinite_rate_and_finite_distortion() -> None:
    model, x = MODELS[0], torch.zeros(2, 5)
    point = LinearPosterior.diagonal(torch.zeros(2, 5), torch.zeros(2), torch.zeros(2))
    assert bool(point.rate(x).isinf().all())
    assert bool(beta_elbo(x, model, point, 0.0).isfinite().all())


@every_model
def test_decomposition_adds_up(model: ProbabilisticPCA) -> None:
    """R = I + KL(q(z)‖p(z)) = I + TC + Σ_i KL_i, no part negative; R is the mean of the rates too."""
    q, covariance = random_posterior(len(model.mean), model.latent_dim, 6), model.covariance
    parts = q.decompose(model.mean, covariance)
    mean_rate = q.rate(model.mean[None])[0] + 0.5 * (q.weight @ covariance @ q.weight.mT).trace()
    aggregate = MultivariateNormal(q.mean(model.mean[None])[0], q.weight @ covariance @ q.weight.mT + q.covariance)
    prior = MultivariateNormal(torch.zeros(model.latent_dim).double(), torch.eye(model.latent_dim).double())
    np.testing.assert_allclose(parts.rate, mean_rate, rtol=1e-9)
    np.testing.assert_allclose(parts.aggregate_kl, kl_divergence(aggregate, prior), rtol=1e-9)
    np.testing.assert_allclose(parts.aggregate_kl, parts.total_correlation + parts.dimension_kl.sum(), rtol=1e-9)
    assert min(parts.mutual_information, parts.total_correlation, float(parts.dimension_kl.min())) > -1e-12


@every_model
def test_exact_posterior_leaves_the_prior_as_its_aggregate(model: ProbabilisticPCA) -> None:
    parts = model.posterior.decompose(model.mean, model.covariance)
    np.testing.assert_allclose(parts.mutual_information, model.mutual_information, rtol=1e-8)
    np.testing.assert_allclose([parts.aggregate_kl, parts.total_correlation], 0, atol=1e-9)


@every_model
def test_mutual_information_is_symmetric(model: ProbabilisticPCA) -> None:
    """H(x) − H(x|z) from the model's covariance, against H(z) − H(z|x) from the posterior."""
    about_x = 0.5 * (torch.logdet(model.covariance) - model.noise.log().sum())
    np.testing.assert_allclose(model.mutual_information, about_x, rtol=1e-8)


def test_mutual_information_measured_on_a_split_is_low_by_its_bias() -> None:
    """Over 400 splits of n = 100, the mean shortfall is the predicted one within 4 standard errors (false alarms 6e-5)
    and 10 % of the prediction, which is of first order.
    """
    q, n = LinearPosterior.diagonal(torch.eye(2), torch.zeros(2), torch.tensor([1.0, 2.0])), 100
    parts = q.decompose(torch.zeros(2), torch.eye(2))
    stream = torch.Generator().manual_seed(0)
    x = normal(stream, 400, n, 2)
    z = x + normal(stream, 400, n, 2) * q.covariance.diagonal().sqrt()
    log_q = Independent(Normal(x[:, None], q.covariance.diagonal().sqrt()), 1).log_prob(z[:, :, None])
    measured = (log_q.diagonal(dim1=1, dim2=2) - (log_q.logsumexp(-1) - np.log(n))).mean(-1)
    # The split's own luck with x and z is common to the measured and the exact log-ratio, and taken out.
    aggregate = Normal(0.0, (1 + q.covariance.diagonal()).sqrt())
    lucky = (log_q.diagonal(dim1=1, dim2=2) - aggregate.log_prob(z).sum(-1)).mean(-1) - parts.mutual_information
    shortfall = measured - lucky - parts.mutual_information
    allowed = 4 * float(shortfall.std()) / 20 + 0.1 * abs(parts.split_bias(n))
    assert abs(float(shortfall.mean()) - parts.split_bias(n)) < allowed


def test_samples_have_the_models_moments() -> None:
    """Mean and covariance of 50 000 draws, every entry within 5 standard errors (15 tests: false alarms 1e-5)."""
    model = random_model(4, 2, 9)
    x, z = model.sample(50_000, torch.Generator().manual_seed(0))
    scale = model.covariance.diagonal().sqrt()
    assert z.shape == (50_000, 2)
    assert bool(((x.mean(0) - model.mean).abs() < 5 * scale / 50_000**0.5).all())
    assert bool(((x.T.cov() - model.covariance).abs() < 5 * (2 / 50_000) ** 0.5 * scale * scale[:, None]).all())


def test_tiny_noise_loses_no_digits() -> None:
    """At σ² = 1e-12 beside ‖W‖² = 4 the evidence still agrees with its value by coordinates."""
    model = ProbabilisticPCA(torch.zeros(2), torch.tensor([[2.0], [0.0]]), 1e-12)
    x = torch.tensor([[3.0, 1e-6]], dtype=torch.float64)
    exact = norm(0, (4 + 1e-12) ** 0.5).logpdf(3.0) + norm(0, 1e-6).logpdf(1e-6)
    np.testing.assert_allclose(model.log_prob(x)[0], exact, rtol=1e-12)
