"""The VAE of two stochastic layers against the closed form of a linear-Gaussian model, and against one layer."""

import pytest
import torch
from torch import Tensor

from vaebench.config.registry import MODELS
from vaebench.data.loaders import Batch
from vaebench.evaluation import bounds
from vaebench.evaluation.measure import build_metrics, measure
from vaebench.models.hierarchical_vae import HierarchicalVAE
from vaebench.models.vae import VAE
from vaebench.oracle.probabilistic_pca import HierarchicalGaussian

CASES = [  # D, the squared lengths of B's columns, the diagonal of A, Q, R
    (5, [4.0, 1.0], [1.5], [0.5, 1.0], 0.5),
    (9, [9.0, 2.0, 0.3], [0.7, -2.0], [1.0, 0.1, 3.0], 0.02),
    (3, [1.0], [3.0], [0.2], 2.0),
    (6, [1.0, 5.0, 2.0, 0.5], [1.0, 0.0, 0.3], [1.0, 2.0, 0.5, 1.0], 10.0),
]


def linear(dim: int, squares: list[float], upper: list[float], spread: list[float], variance: float, turned=False):
    """A linear model at its exact posterior, and the closed form. The posterior has independent units because B's
    columns are orthogonal and A is diagonal. If `turned`, A has full columns, and q only the variances of p(z|x)."""
    stream, low, high = torch.Generator().manual_seed(dim), len(squares), len(upper)

    def normal(*size: int) -> Tensor:
        return torch.randn(*size, generator=stream, dtype=torch.float64)

    lower = torch.linalg.qr(normal(dim, low))[0] * torch.tensor(squares).double().sqrt()
    between = torch.zeros(low, high, dtype=torch.float64)
    between[range(high), range(high)] = torch.tensor(upper).double()
    if turned:
        between = torch.linalg.qr(normal(low, low))[0] @ between
    exact = HierarchicalGaussian(normal(dim), lower, variance, between, torch.tensor(spread).double())
    likelihood = {"name": "Gaussian", "variance": variance}
    keywords = {"latent_dim": low + high, "upper_dim": high, "network": "Affine", "between": "Affine"}
    model = HierarchicalVAE((dim,), likelihood=likelihood, **keywords).double()
    first, second = exact.posterior, exact.upper_posterior

    def affine(weight: Tensor, bias: Tensor, variances: Tensor) -> tuple[Tensor, Tensor]:
        return torch.cat([weight, torch.zeros_like(weight)]), torch.cat([bias, variances.log()])

    state = {"decoder.0.weight": lower, "decoder.0.bias": exact.mean}
    parts = {
        "encoder.1": affine(first.weight, first.bias, first.covariance.diagonal()),
        "upwards.network.1": affine(second.weight, second.bias, second.covariance.diagonal()),
        "prior.downwards.network.1": affine(between, torch.zeros(low).double(), exact.spread),
    }
    for name, (weight, bias) in parts.items():
        state |= {f"{name}.weight": weight, f"{name}.bias": bias}
    model.load_state_dict(model.state_dict() | state)
    return model.eval(), exact


def observed(exact: HierarchicalGaussian, n: int) -> Tensor:
    return exact.density.sample(n, torch.Generator().manual_seed(1))[0]


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("turned", [False, True])
def test_the_evidence_is_that_of_the_marginal_covariance(case, turned):
    """N(x; μ, B(AAᵀ + Q)Bᵀ + R), against torch's own density; and p(z₁|x) against the joint covariance."""
    _, exact = linear(*case, turned)
    x, a, b = observed(exact, 20), exact.upper, exact.lower
    middle = a @ a.mT + torch.diag(exact.spread)
    covariance = b @ middle @ b.mT + exact.variance * torch.eye(len(b)).double()
    expected = torch.distributions.MultivariateNormal(exact.mean, covariance)
    torch.testing.assert_close(exact.density.log_prob(x), expected.log_prob(x), rtol=1e-9, atol=1e-9)
    gain = torch.linalg.solve(covariance, b @ middle).mT
    torch.testing.assert_close(exact.posterior.mean(x), (x - exact.mean) @ gain.mT, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(exact.posterior.covariance, middle - gain @ b @ middle, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("case", CASES)
def test_at_the_exact_posterior_every_weight_is_the_evidence(case):
    model, exact = linear(*case)
    x = observed(exact, 12)
    evidence = exact.density.log_prob(x)
    drawn = model.draws(Batch(x), 30, stream(), keep=3)
    torch.testing.assert_close(drawn.log_weight, evidence.expand(30, 12), rtol=1e-9, atol=1e-8)
    objective = model.objective(x, model.noise(12, stream(1)).double())
    torch.testing.assert_close(objective, evidence, rtol=1e-9, atol=1e-8)
    assert drawn.z.shape == (3, 12, sum(model.layers))


@pytest.mark.parametrize("case", CASES)
def test_rates_of_the_layers_are_the_closed_forms_and_add_up(case):
    """Each within 5 standard errors of 4000 draws (a false alarm once in 1.7 million each); the sum exactly."""
    model, exact = linear(*case)
    x = observed(exact, 10)
    drawn = model.draws(Batch(x), 4000, stream())
    posterior, prior = model.encode(x), model.prior(model.encode)
    z = posterior.draw(torch.randn(4000, 10, model.latent_dim, generator=stream(3)).double())
    units = (posterior.unit_log_prob(z) - prior.unit_log_prob(z)).detach()
    found = drawn.unit_rates.split(model.layers, -1)
    for rate, each, expected in zip(found, units.split(model.layers, -1), exact.rates(x), strict=True):
        error = float((each.sum(-1).var(0).mean() / 4000 / 10) ** 0.5)
        assert abs(float(rate.sum(-1).mean()) - expected) < 5 * error + 1e-9
    torch.testing.assert_close(drawn.unit_rates.sum(-1), (drawn.log_qz - drawn.log_pz).mean(0), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("case", [case for case in CASES if len(case[1]) > 1])
def test_where_the_units_are_not_independent_the_bounds_close_from_below(case):
    """A is turned, so that no factorised posterior is exact. ELBO ≤ IWAE-k ≤ log p(x) in the mean over 40 observations,
    with 5 standard errors; and of 2000 draws the bound is the evidence within 5 of its Monte-Carlo errors and 0.02."""
    model, exact = linear(*case, turned=True)
    x = observed(exact, 40)
    evidence = exact.density.log_prob(x)
    weights = model.draws(Batch(x), 2000, stream()).log_weight
    bound = [bounds.iwae(weights, k) for k in (1, 10, 2000)]
    assert (evidence - bound[0]).mean() > 1e-4, "with an exact posterior there would be nothing to close"
    assert bound[0].mean() < bound[1].mean() < bound[2].mean()
    error = float(bounds.iwae_variance(weights, 2000).sum().sqrt()) / 40
    assert -5 * error - 0.02 < float((bound[2] - evidence).mean()) < 5 * error


def test_with_the_second_layer_cut_off_it_is_the_vae_with_the_first_ones_prior():
    """p(z₁|z₂) = N(0, Q) and q(z₂|z₁) = N(0, I): log-weights of the VAE whose prior is one normal with variances Q."""
    spread, size = torch.tensor([0.3, 2.0, 1.0]).double(), {"network": {"name": "MLP", "hidden": [7]}}
    model = HierarchicalVAE((6,), latent_dim=5, upper_dim=2, likelihood="Gaussian", between="Affine", **size).double()
    vae = VAE((6,), latent_dim=3, likelihood="Gaussian", prior={"name": "GaussianMixture", "components": 1}, **size)
    vae = vae.double()
    with torch.no_grad():
        for network in (model.upwards.network, model.prior.downwards.network):
            network[1].weight.zero_()
            network[1].bias.zero_()
        model.prior.downwards.network[1].bias[3:] = spread.log()
        vae.prior.mean.zero_()
        vae.prior.log_std.copy_(0.5 * spread.log())
    for part in ("encoder", "decoder"):
        getattr(vae, part).load_state_dict(getattr(model, part).state_dict())
    x, noise = torch.randn(8, 6, generator=stream()).double(), torch.randn(20, 8, 5, generator=stream(1)).double()
    with torch.no_grad():
        mine, others = model.draws_at(Batch(x), [noise]), vae.draws_at(Batch(x), [noise[..., :3]])
    torch.testing.assert_close(mine.log_weight, others.log_weight, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(mine.log_px, others.log_px, rtol=1e-12, atol=1e-12)
    assert float(mine.unit_rates[:, 3:].abs().max()) < 1e-12
    found = {e.name: e.value for e in measure(model, [Batch(x)], build_metrics(("Layers",)), 50, 0).estimates}
    assert (found["rate_layer_2"], found["active_units_layer_2"]) == (pytest.approx(0, abs=1e-9), 0.0)


def test_metrics_are_right_or_blank():
    """The rate is the sum over layers and over units. What needs a posterior in closed form is blank, and says why."""
    model, exact = linear(*CASES[1])
    found = measure(model, [Batch(observed(exact, 50))], build_metrics(None), 100, 0)
    value = {e.name: e.value for e in found.estimates}
    assert value["rate_layer_1"] + value["rate_layer_2"] == pytest.approx(value["rate"], rel=1e-9)
    assert sum(value["kl_per_unit"]) == pytest.approx(value["rate"], rel=1e-9)
    assert value["active_units_layer_1"] + value["active_units_layer_2"] == value["active_units"]
    assert value["effective_sample_size_median"] == pytest.approx(100)
    for name in ("mutual_information", "aggregate_kl", "total_correlation", "collapsed_units"):
        assert (
            found.not_applicable[name]
            == "its q(z|x) is a normal distribution of each of two layers, the second given the first"
        )
    others = measure(VAE((4,)), [Batch(torch.rand(5, 4).round())], build_metrics(("Layers",)), 5, 0).not_applicable
    assert set(others.values()) == {"VAE has one layer of latent units"}


@pytest.mark.parametrize("case", CASES)
def test_active_units_of_both_layers_are_the_variances_of_linear_means(case):
    model, exact = linear(*case)
    x = observed(exact, 300)
    first = exact.posterior.mean(x)
    means = torch.cat([first, first @ exact.upper_posterior.weight.mT + exact.upper_posterior.bias], 1)
    expected = means.var(0, correction=0).sort(descending=True).values
    (_, spectrum) = measure(model, [Batch(x)], build_metrics(("ActiveUnits",)), 2, 0).estimates
    assert spectrum.value == pytest.approx(expected.tolist(), rel=1e-5, abs=1e-9)  # the fixed noises are float32


@pytest.mark.parametrize(("units", "upper"), [(1, None), (3, 3), (2, 7)])
def test_a_layer_without_units_is_refused(units, upper):
    with pytest.raises(ValueError, match=r"model\.latent_dim: expected more than the \d units of z₂"):
        MODELS.build({"name": "HierarchicalVAE", "latent_dim": units, "upper_dim": upper}, (4,), 0)
