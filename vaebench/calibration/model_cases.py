"""Models with an objective of their own, and the model with two layers, where they are linear and their answers exact.

Data and models are linear-Gaussian, in float64. At the maximum likelihood with exact posteriors, the objective of each
model of one layer is the mean log p(x), and its gradient by the encoder is 0.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from vaebench import oracle
from vaebench.calibration.grade import ERRORS, Answer, Grade, graded
from vaebench.config.registry import MODELS
from vaebench.data.datamodule import DataModule
from vaebench.data.loaders import Batch
from vaebench.evaluation.measure import diagnostics, measure
from vaebench.models.hierarchical_vae import HierarchicalVAE
from vaebench.models.vae import VAE
from vaebench.oracle.hierarchical_gaussian import HierarchicalGaussian
from vaebench.oracle.probabilistic_pca import LinearPosterior
from vaebench.oracle.spectrum import Spectrum
from vaebench.records.record import Estimate

OBJECTIVES: tuple[dict[str, Any], ...] = (
    {"name": "IWAE", "k": 5, "gradient": "plain"},
    {"name": "IWAE", "k": 5, "gradient": "DReG"},
    {"name": "FreeBitsVAE", "free_bits": 0.1},
    {"name": "MinimumRateVAE", "rate": 0.3},
)
"""Models of one layer. Free bits and minimum rate are below the rates at the optimum."""

ROUNDING = 1e-9
"""Of float64, relative to the answer."""

DRAWS = 500
"""K, for metrics of the model with two layers."""

HIERARCHY = "two linear layers at their exact posterior"


def model_grades(data: DataModule) -> Iterator[Grade]:
    """Grade the objective and the encoder's gradient of each model, and every metric on two layers."""
    for spec in OBJECTIVES:
        yield from _objective_grades(spec, Spectrum.of(data.train.x))
    yield from _hierarchy_grades()


def _objective_grades(spec: dict[str, Any], spectrum: Spectrum) -> Iterator[Grade]:
    """The spectrum's points have the data's mean and covariance, and noises ±√L·e_i the moments of N(0, I). So means of
    functions that are quadratic in x and z are exact. The IWAE takes random noises: it needs no mean over them."""
    point = oracle.maximum_likelihood(spectrum, 4)
    likelihood = {"name": "Gaussian", "variance": point.variance}
    model = MODELS.build({"latent_dim": 4, "network": "Affine", "likelihood": likelihood} | spec, (spectrum.dim,), 0)
    assert isinstance(model, VAE)
    encoder = {f"encoder.1.{key}": value for key, value in _affine(point.posterior).items()}
    decoder = {"decoder.0.weight": point.model.weight, "decoder.0.bias": point.model.mean}
    model = model.double()
    model.load_state_dict(model.state_dict() | encoder | decoder)
    noise = 2 * torch.cat([torch.eye(4), -torch.eye(4)]).double()
    x, noise = spectrum.points.repeat(len(noise), 1), noise.repeat_interleave(len(spectrum.points), 0)
    if spec["name"] == "IWAE":
        noise = model.noise(len(x), torch.Generator().manual_seed(0)).double()
    objective = model.objective(x, noise).mean()
    name = f"maximum likelihood, exact posterior: {', '.join(f'{k}={v}' for k, v in spec.items() if k != 'name')}"
    estimates = [Estimate("objective", objective.item(), n=len(x))]
    answers = [Answer("objective", point.elbo)]
    if spec.get("gradient") != "plain":  # the plain one is 0 only in the mean over draws
        gradient = torch.autograd.grad(objective, list(model.encoder.parameters()))
        largest = max(float(part.abs().max()) for part in gradient)
        estimates.append(Estimate("largest_encoder_gradient", largest, n=len(x)))
        answers.append(Answer("largest_encoder_gradient", 0.0))
    yield from graded(name, str(spec["name"]), answers, estimates, ROUNDING)


def linear_hierarchy(exact: HierarchicalGaussian, latent_dim: int) -> HierarchicalVAE:
    """A model with these two layers, at the posterior means and variances of each unit. Vectors, one σ² for x."""
    (dim, _), (_, upper) = exact.lower.shape, exact.upper.shape
    likelihood = {"name": "Gaussian", "variance": exact.variance}
    layers = {"latent_dim": latent_dim, "upper_dim": upper, "network": "Affine", "between": "Affine"}
    model = HierarchicalVAE((dim,), likelihood=likelihood, **layers).double()  # type: ignore[arg-type]
    downwards = LinearPosterior.diagonal(exact.upper, torch.zeros_like(exact.spread), exact.spread)
    parts = {
        "encoder.1": _affine(exact.posterior),
        "upwards.network.1": _affine(exact.upper_posterior),
        "prior.downwards.network.1": _affine(downwards),
        "decoder.0": {"weight": exact.lower, "bias": exact.mean},
    }
    state = {f"{part}.{key}": value for part, tensors in parts.items() for key, value in tensors.items()}
    model.load_state_dict(model.state_dict() | state)
    return model.eval()


def _affine(posterior: LinearPosterior) -> dict[str, Tensor]:
    """The affine map from x to the mean and log-variance of each unit."""
    weight, variance = posterior.weight, posterior.covariance.diagonal()
    return {
        "weight": torch.cat([weight, torch.zeros_like(weight)]),
        "bias": torch.cat([posterior.bias, variance.log()]),
    }


def _hierarchy_grades() -> Iterator[Grade]:
    stream = torch.Generator().manual_seed(0)
    lower = 2 * torch.linalg.qr(torch.randn(8, 3, generator=stream, dtype=torch.float64))[0]
    upper = torch.tensor([[1.5, 0.0], [0.0, 0.001], [0.0, 0.0]]).double()  # the second unit of z₂ is not active
    spread = torch.tensor([0.5, 1.0, 2.0]).double()
    exact = HierarchicalGaussian(torch.zeros(8).double(), lower, 0.5, upper, spread)
    model, (x, _) = linear_hierarchy(exact, 5), exact.density.sample(500, stream)
    evidence, rates = float(exact.density.log_prob(x).mean()), exact.rates(x)
    first = exact.posterior.mean(x)
    means = torch.cat([first, first @ exact.upper_posterior.weight.mT], 1)
    active = (means.var(0, correction=0) > 0.01).double()
    scatter = _scatter(model, x)
    answers = {
        "ELBO": [Answer("elbo", evidence)],
        "IWAE": [Answer(f"iwae_{k}", evidence) for k in (1, 5, 50, 500)],
        "EffectiveSampleSize": [Answer("effective_sample_size_median", float(DRAWS))],
        "Rate": [Answer("rate", sum(rates), monte_carlo=ERRORS)],
        "ActiveUnits": [Answer("active_units", float(active.sum()))],
        "Layers": [
            *(Answer(f"rate_layer_{i + 1}", rates[i], scatter=scatter[i]) for i in range(2)),
            Answer("active_units_layer_1", float(active[:3].sum())),
            Answer("active_units_layer_2", float(active[3:].sum())),
        ],
    }
    estimates = measure(model, [Batch(x)], diagnostics(tuple(answers)), DRAWS, 0).estimates
    for metric, exacts in answers.items():
        yield from graded(HIERARCHY, metric, exacts, estimates, ROUNDING)


@torch.no_grad()
def _scatter(model: HierarchicalVAE, x: Tensor) -> list[float]:
    """The standard deviations of the measured rates of both layers, from other draws."""
    posterior, prior = model.encode(x), model.prior(model.encode)
    noise = torch.randn(200, len(x), model.latent_dim, generator=torch.Generator().manual_seed(9), dtype=x.dtype)
    z = posterior.draw(noise)
    layers = (posterior.unit_log_prob(z) - prior.unit_log_prob(z)).split(model.layers, -1)
    return [float((units.sum(-1).var(0).sum() / DRAWS).sqrt()) / len(x) for units in layers]
