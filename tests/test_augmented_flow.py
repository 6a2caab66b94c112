"""The augmented flow: one step is the VAE, several are an invertible map, and its bounds lie below the evidence."""

import math
from typing import Any

import pytest
import torch

from vaebench import oracle
from vaebench.config.registry import METRICS, MODELS
from vaebench.data.loaders import Batch
from vaebench.evaluation import bounds
from vaebench.evaluation.measure import build_metrics, measure
from vaebench.oracle.spectrum import Spectrum

SHAPE = (1, 4, 4)


def build(name: str = "AugmentedFlow", shape: tuple[int, ...] = SHAPE, **keywords: Any) -> Any:
    standard = {"latent_dim": 3, "network": {"name": "MLP", "hidden": [8]}, "likelihood": {"name": "Gaussian"}}
    return MODELS.build({"name": name, **standard, **keywords}, shape, 0).double()


def normal(*size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("likelihood", [{"name": "Gaussian", "variance": 0.05}, "LearnedGaussian"], ids=str)
@pytest.mark.parametrize("latent_dim", [1, 3, 16])
@torch.no_grad()
def test_one_step_is_the_vae(likelihood: Any, latent_dim: int) -> None:
    """Each term of each log-weight, by the change of variables and by p(x|z) p(z) / q(z|x); so the ELBO too."""
    keywords = {"latent_dim": latent_dim, "likelihood": likelihood}
    flow, vae, x = build(steps=1, **keywords), build("VAE", **keywords), normal(7, *SHAPE)
    one, other = (m.draws(Batch(x), 50, torch.Generator().manual_seed(1), keep=4) for m in (flow, vae))
    for first, second in zip(one[4:], other[4:], strict=True):
        if first is not None:
            torch.testing.assert_close(first, second, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(flow(x), vae(x))
    noise = normal(7, latent_dim)
    torch.testing.assert_close(flow.objective(x, noise), flow.draws_at(Batch(x), [noise[None]]).log_weight[0])


@pytest.mark.parametrize("variance", [1e-2, 1e-4, 1e-6])
@torch.no_grad()
def test_without_noise_and_with_as_many_units_the_evidence_is_that_of_a_normal(variance: float) -> None:
    """Linear, L = D, one step at its optimum: every log-weight is log N(x; μ, Σ) as σ² → 0, the mean over the data
    −½(D ln 2π + ln det Σ + D). The optimum of a fixed σ² below all λ has exactly this density."""
    spectrum = Spectrum.given([3.0, 1.0, 0.5, 0.1], torch.linalg.qr(normal(4, 4))[0], normal(4, seed=1))
    point = oracle.beta_optimum(spectrum, 4, 1.0, variance)
    likelihood = {"name": "Gaussian", "variance": variance}
    model = build(shape=(4,), steps=1, latent_dim=4, network="Affine", likelihood=likelihood)
    model.decoder[0].weight.copy_(point.model.weight)
    model.decoder[0].bias.copy_(point.model.mean)
    model.encoder[1].weight.zero_()[:4] = point.posterior.weight
    model.encoder[1].bias.copy_(torch.cat([point.posterior.bias, point.posterior.covariance.diagonal().log()]))
    weights = model.draws(Batch(spectrum.points), 20, torch.Generator().manual_seed(0)).log_weight
    exact = -0.5 * (4 * math.log(2 * math.pi) + math.log(3 * 0.5 * 0.1) + 4)
    assert float((weights.mean() - exact).abs()) < 1e-9 / variance**0.5
    assert float(weights.std(0).max()) < 1e-9 / variance**0.5


@pytest.mark.parametrize("steps", [1, 2, 5])
@torch.no_grad()
def test_the_couplings_are_inverted_at_y_zero(steps: int) -> None:
    """The observation that the decoder gives for z has x = f(z) after its couplings, from the e that belongs to it."""
    model, z = build(steps=steps), normal(6, 3)
    x = model.parameters_at(z)
    encoders, state = [*model.encoders], model.decoder(z)
    for encoder, decoder in zip(reversed(encoders), reversed(model.decoders), strict=True):
        mean, log_variance = encoder(state).chunk(2, -1)
        z_before = (z - mean) / (0.5 * log_variance).exp()
        state, z = state + decoder(z_before), z_before
    first = model.posterior(model.encoder(x))
    last, end, _ = model.couple(x, first, (z - first.mean) / first.stddev)
    torch.testing.assert_close(end, normal(6, 3), rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(last, model.decoder(end), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_the_volume_is_the_determinant_of_the_map(steps: int) -> None:
    """log p(x, e) − log q(e) against the determinant of the whole Jacobian of (x, e) → (y, z), by autograd."""
    model = build(shape=(3,), steps=steps, latent_dim=2, likelihood={"name": "Gaussian", "variance": 0.3})
    x, e = normal(3), normal(2, seed=1)

    def couplings(both: torch.Tensor) -> torch.Tensor:
        at = both[None, :3]
        last, z, _ = model.couple(at, model.posterior(model.encoder(at)), both[None, 3:])
        y = (last - model.decoder(z)) / 0.3**0.5
        return torch.cat([y[0], z[0]])

    both = torch.cat([x, e])
    jacobian = torch.autograd.functional.jacobian(couplings, both)
    standard = torch.distributions.Normal(0.0, 1.0)
    log_joint = standard.log_prob(couplings(both)).sum() + torch.linalg.slogdet(jacobian)[1]
    expected = log_joint - standard.log_prob(e).sum()
    torch.testing.assert_close(model.objective(x[None], e[None])[0], expected, rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_the_density_of_x_has_mass_one_and_the_bound_lies_below_it() -> None:
    """D = L = 1, three steps: p(x) by a grid over e, its mass by a grid over x. ELBO < IWAE-50 ≤ log p(x), and the mean
    weight is p(x), both within 5 standard errors for five x (a false alarm once in 200 000)."""
    model = build(shape=(1,), steps=3, latent_dim=1, likelihood={"name": "Gaussian", "variance": 0.5})
    axis = torch.linspace(-9, 9, 1201, dtype=torch.float64)
    log_weight = model.draws_at(Batch(axis[:, None]), [axis[:, None, None].expand(-1, len(axis), 1)]).log_weight
    log_joint = log_weight + torch.distributions.Normal(0.0, 1.0).log_prob(axis)[:, None]
    step = float(axis[1] - axis[0])
    log_px = log_joint.logsumexp(0) + math.log(step)
    assert float(log_px.exp().sum() * step) == pytest.approx(1.0, abs=1e-6)
    x = axis[500:700:40, None]
    weights = model.draws(Batch(x), 20_000, torch.Generator().manual_seed(0)).log_weight
    groups = bounds.iwae_groups(weights, 50)
    assert bool((bounds.elbo(weights) < groups.mean(0)).all())
    assert bool((groups.mean(0) < log_px[500:700:40] + 5 * groups.std(0) / len(groups) ** 0.5).all())
    ratio = (weights - log_px[500:700:40]).exp()
    assert bool(((ratio.mean(0) - 1).abs() < 5 * ratio.std(0) / 20_000**0.5).all())


def test_bounds_are_measured_and_what_has_no_meaning_is_blank_with_its_reason() -> None:
    x = normal(30, *SHAPE)
    reasons = {}
    for steps in (1, 2):
        found = measure(build(steps=steps), [Batch(x)], build_metrics(METRICS), 10, 0)
        names, reasons[steps] = {e.name for e in found.estimates}, found.not_applicable
        assert {"elbo", "iwae_1", "squared_error"} <= names
        assert {"rate", "distortion", "active_units", "kl_per_unit"} & names == (
            {"rate", "distortion", "active_units", "kl_per_unit"} if steps == 1 else set()
        )
    assert {"rate", "distortion", "active_units", "collapsed_units", "mutual_information"} <= reasons[2].keys()
    assert "no latent z with a prior p(z)" in reasons[2]["rate"]


@torch.no_grad()
def test_samples_have_the_density_of_the_model() -> None:
    """D = L = 1, three steps: mean and variance of 20 000 samples against those of p(x) on a grid, within 5 standard
    errors; and each sample of one step is that of the VAE."""
    model = build(shape=(1,), steps=3, latent_dim=1, likelihood={"name": "Gaussian", "variance": 0.5})
    axis = torch.linspace(-9, 9, 601, dtype=torch.float64)
    log_weight = model.draws_at(Batch(axis[:, None]), [axis[:, None, None].expand(-1, len(axis), 1)]).log_weight
    density = (log_weight + torch.distributions.Normal(0.0, 1.0).log_prob(axis)[:, None]).exp().sum(0) * 0.03**2
    mean = float((density * axis).sum())
    variance = float((density * (axis - mean).square()).sum())
    x = model.sample(20_000).flatten()
    assert abs(float(x.mean()) - mean) < 5 * variance**0.5 / 20_000**0.5
    assert abs(float(x.var()) - variance) < 5 * float((x - x.mean()).square().std()) / 20_000**0.5
    torch.testing.assert_close(build(steps=1).sample(9), build("VAE").sample(9))


def test_it_refuses_other_likelihoods() -> None:
    with pytest.raises(ValueError, match="AugmentedFlow expects a Gaussian likelihood, got Bernoulli"):
        build(likelihood="Bernoulli")
