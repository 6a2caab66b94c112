"""Every likelihood is normalised, knows its support, and starts where its mean is asked to be."""

import itertools

import pytest
import torch

from vaebench.config.registry import LIKELIHOODS

SHAPE = (2,)


def parameters(likelihood: str, seed: int = 0) -> torch.Tensor:
    return torch.randn(5, *SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def grid(likelihood) -> tuple[torch.Tensor, float]:
    """Points over the whole support and the volume of each (1 for a probability)."""
    if likelihood.discrete:
        return torch.tensor(list(itertools.product((0.0, 1.0), repeat=2)), dtype=torch.float64), 1.0
    try:
        likelihood.check(torch.full((1, *SHAPE), -1.0))
    except ValueError:  # the unit square, by midpoints
        low, high, n = 0.0, 1.0, 600
    else:
        low, high, n = -12.0, 12.0, 600
    axis = low + (torch.arange(n, dtype=torch.float64) + 0.5) * (high - low) / n
    return torch.cartesian_prod(axis, axis), ((high - low) / n) ** 2


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_total_mass_is_one(name):
    likelihood = LIKELIHOODS.build(name, SHAPE).double()
    points, volume = grid(likelihood)
    log_prob = likelihood(parameters(name)).log_prob(points[:, None])
    torch.testing.assert_close(log_prob.exp().sum(0) * volume, torch.ones(5, dtype=torch.float64), rtol=1e-4, atol=0)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_objective_and_distribution_agree_in_evaluation(name):
    likelihood = LIKELIHOODS.build(name, SHAPE).double().eval()
    x = torch.bernoulli(torch.full((5, *SHAPE), 0.5, dtype=torch.float64), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(likelihood.log_prob(parameters(name), x), likelihood(parameters(name)).log_prob(x))


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_output_bias_has_the_mean_asked_for(name):
    """Exactly, but for the continuous Bernoulli, whose mean is a nonlinear function of its logit."""
    likelihood = LIKELIHOODS.build(name, SHAPE).double()
    mean = torch.tensor([0.5, 0.5], dtype=torch.float64)
    torch.testing.assert_close(likelihood(likelihood.output_bias(mean)).mean, mean)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_the_shape_of_an_observation_is_the_event(name):
    likelihood = LIKELIHOODS.build(name, (1, 3, 2))
    p = likelihood(torch.zeros(7, 4, 1, 3, 2))
    assert p.batch_shape == (7, 4)
    assert p.event_shape == (1, 3, 2)


@pytest.mark.parametrize(
    ("name", "x", "remedy"),
    [("Bernoulli", 0.5, "binarize: Fixed | Dynamic | Threshold"), ("ContinuousBernoulli", 1.5, "Gaussian")],
)
def test_observations_outside_the_support_are_refused_with_the_remedy(name, x, remedy):
    with pytest.raises(ValueError, match="got values") as refusal:
        LIKELIHOODS.build(name, SHAPE).check(torch.full((3, *SHAPE), x))
    assert remedy in str(refusal.value)


def test_optimal_variance_maximises_the_likelihood_of_a_batch():
    """No other single variance gives the batch a higher mean log-likelihood."""
    optimal = LIKELIHOODS.build("OptimalGaussian", SHAPE).double().train()
    x, mean = parameters("", 1), parameters("", 2)
    best = optimal.log_prob(mean, x).mean()
    error = (x - mean).square().mean().item()
    for factor in (0.5, 0.9, 0.99, 1.01, 1.1, 2.0):
        other = LIKELIHOODS.build({"name": "Gaussian", "variance": factor * error}, SHAPE).double()
        assert other.log_prob(mean, x).mean() < best
    optimal.eval().refit(torch.tensor(error))
    torch.testing.assert_close(optimal.log_prob(mean, x).mean(), best, rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", ["Gaussian", "LearnedGaussian"])
def test_expectation_over_a_random_output_by_quadrature(name):
    """E log N(x; m + sε, σ²) by Gauss–Hermite quadrature, exact for a quadratic."""
    likelihood = LIKELIHOODS.build({"name": name, "variance": 0.7}, SHAPE).double()
    x, mean, spread = parameters("", 1), parameters("", 2), torch.tensor([0.3, 1.7], dtype=torch.float64)
    nodes, weights = (torch.tensor([-1.0, 1.0]), torch.tensor([0.5, 0.5]))  # two points: exact to degree 3
    draws = [likelihood.log_prob(mean + spread.sqrt() * n, x) * w for n, w in zip(nodes, weights, strict=True)]
    torch.testing.assert_close(likelihood.expected_log_prob(mean, spread, x), sum(draws))


def test_one_variance_a_pixel():
    likelihood = LIKELIHOODS.build({"name": "LearnedGaussian", "per_pixel": True, "variance": 0.5}, (1, 3, 2))
    assert likelihood.log_variance.shape == (1, 3, 2)
    assert likelihood.facts()["variance"] == pytest.approx(0.5)
