"""Models whose answers are exact because they are linear: objectives of their own, two layers, dependent units.

Data and models are linear-Gaussian, in float64. At the maximum likelihood with exact posteriors, the objective of each
model of one layer is the mean log p(x), and its gradient by the encoder is 0.

The decoder of the cases with dependent units has random columns, so that WᵀW is not diagonal. With the exact posterior
every log-weight is log p(x). The nearest diagonal posterior has an ELBO in closed form below it.

The parameters of linear and sparse autoencoders also give the angle, the score, the dictionary and the Jacobian.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor, nn

from vaebench import oracle
from vaebench.calibration.grade import ERRORS, Answer, Answers, Grade, all_graded, graded
from vaebench.config.registry import MODELS, Spec
from vaebench.config.seeding import generator
from vaebench.data.datamodule import DataModule
from vaebench.data.datasets.synthetic import LinearGaussian, SparseDictionary
from vaebench.data.loaders import Batch
from vaebench.evaluation.estimators.inference_gap import AMORTISATION, EVIDENCE, FAMILY, InferenceGap
from vaebench.evaluation.known_truth import angle_between, recovery, score_error
from vaebench.evaluation.measure import build_estimators, build_metrics, estimate, measure
from vaebench.models.base import Autoencoder
from vaebench.models.hierarchical_vae import HierarchicalVAE
from vaebench.models.vae import VAE
from vaebench.oracle import LinearAutoencoder
from vaebench.oracle.probabilistic_pca import (
    HierarchicalGaussian,
    LinearPosterior,
    ProbabilisticPCA,
    beta_elbo,
    distortion,
    expectation_maximisation,
)
from vaebench.oracle.spectrum import Spectrum
from vaebench.records.record import Estimate

OBJECTIVES: tuple[dict[str, Any], ...] = (
    {"name": "IWAE", "k": 5, "gradient": "plain"},
    {"name": "IWAE", "k": 5, "gradient": "DReG"},
    {"name": "FreeBitsVAE", "free_bits": 0.1},
    {"name": "MinimumRateVAE", "rate": 0.3},
)
"""Models of one layer. Free bits and minimum rate are below the rates at the optimum."""

ROUNDING = 1e-9  # of float64, relative to the answer
DRAWS = 500  # K, for metrics

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
    yield from _measured_grades(HIERARCHY, model, x, answers)


def _measured_grades(name: str, model: VAE, x: Tensor, answers: Answers) -> Iterator[Grade]:
    estimates = measure(model, [Batch(x)], build_metrics(tuple(answers)), DRAWS, 0).estimates
    yield from all_graded(name, answers, estimates, ROUNDING)


@torch.no_grad()
def _scatter(model: HierarchicalVAE, x: Tensor) -> list[float]:
    """The standard deviations of the measured rates of both layers, from other draws."""
    posterior, prior = model.encode(x), model.prior(model.encode)
    noise = torch.randn(200, len(x), model.latent_dim, generator=torch.Generator().manual_seed(9), dtype=x.dtype)
    z = posterior.draw(noise)
    layers = (posterior.unit_log_prob(z) - prior.unit_log_prob(z)).split(model.layers, -1)
    return [float((units.sum(-1).var(0).sum() / DRAWS).sqrt()) / len(x) for units in layers]


# -- posteriors where the exact one has dependent units ----------------------------------------------------------------

CASES: dict[str, dict[str, Any]] = {
    "a decoder with dependent units, full covariance": {"name": "VAE", "posterior": "FullCovariance"},
    "a decoder with dependent units, nearest diagonal": {"name": "VAE"},
    "a decoder with dependent units, one step of couplings": {"name": "AugmentedFlow", "steps": 1},
    "a decoder with dependent units, PPCA": {"name": "PPCA"},
}

EXACT = ("FullCovariance", "PPCA")  # the posterior and the model that have the exact posterior


GAP_OBSERVATIONS, WRONG = 60, 0.5
"""Observations on which the gaps are measured, and by how much the first mean of a wrong encoder is wrong."""

SEARCH = 0.005  # the best posterior may be missed by so many nats
ITERATIONS = 300  # of EM. Each multiplies the distance to the maximum by 0.9 or less here


def posterior_grades() -> Iterator[Grade]:
    """Grade bounds, rate and distortion of four models of one density, and the fixed point of EM."""
    stream = torch.Generator().manual_seed(3)
    weight = torch.randn(8, 3, generator=stream, dtype=torch.float64)
    density = ProbabilisticPCA(torch.randn(8, generator=stream, dtype=torch.float64), weight, 0.5)
    x, _ = density.sample(400, stream)
    for name, spec in CASES.items():
        is_exact = spec.get("posterior", spec["name"]) in EXACT
        q = density.posterior if is_exact else density.posterior.independent()
        model, answers = _with_posterior(spec, density, q), _exact_for(x, density, q, is_exact)
        yield from _measured_grades(name, model, x, answers)
    yield from _gap_grades(x[:GAP_OBSERVATIONS], density)
    yield from _em_grades(stream)


def _gap_grades(x: Tensor, density: ProbabilisticPCA) -> Iterator[Grade]:
    """The gaps of an encoder that is right, and of one whose first mean is wrong by `WRONG`."""
    evidence = float(density.log_prob(x).mean())
    for name, spec in list(CASES.items())[:2]:
        is_exact = "posterior" in spec
        q = density.posterior if is_exact else density.posterior.independent()
        family = 0.0 if is_exact else evidence - float(beta_elbo(x, density, q).mean())
        for wrong, suffix in ((0.0, ""), (WRONG, ", first mean wrong")):
            moved = replace(q, bias=q.bias + wrong * torch.eye(len(q.bias), dtype=q.bias.dtype)[0])
            amortisation = float((beta_elbo(x, density, q) - beta_elbo(x, density, moved)).mean())
            exact = {EVIDENCE: evidence, FAMILY: family, AMORTISATION: amortisation}
            answers = [Answer(quantity, value, monte_carlo=ERRORS) for quantity, value in exact.items()]
            found = InferenceGap(observations=len(x)).estimate(_with_posterior(spec, density, moved), Batch(x), 0)
            yield from graded(name + suffix, "InferenceGap", answers, found, SEARCH)


def _exact_for(x: Tensor, density: ProbabilisticPCA, q: LinearPosterior, is_exact: bool) -> Answers:
    evidence, elbo = float(density.log_prob(x).mean()), float(beta_elbo(x, density, q).mean())
    full = {"EffectiveSampleSize": [Answer("effective_sample_size_median", float(DRAWS))]} if is_exact else {}
    return full | {
        "ELBO": [Answer("elbo", elbo, monte_carlo=0 if is_exact else ERRORS)],
        "IWAE": [Answer("iwae_500", elbo, evidence, monte_carlo=0 if is_exact else ERRORS)],
        "Rate": [Answer("rate", float(q.rate(x).mean()), monte_carlo=ERRORS)],
        "Distortion": [Answer("distortion", float(distortion(x, density, q).mean()), monte_carlo=ERRORS)],
        "KLPerUnit": [Answer("kl_per_unit", q.rate_per_unit(x).mean(0))],
    }


def _with_posterior(spec: dict[str, Any], density: ProbabilisticPCA, q: LinearPosterior) -> VAE:
    """A model with this density and, unless it has none to set, this posterior."""
    affine = {} if spec["name"] == "PPCA" else {"network": "Affine"}
    likelihood = {"name": "Gaussian", "variance": density.variance}
    keywords = {"latent_dim": density.latent_dim, "likelihood": likelihood, **affine}
    model = MODELS.build(keywords | spec, (len(density.mean),), 0).double()
    assert isinstance(model, VAE)
    state = {"decoder.0.weight": density.weight, "decoder.0.bias": density.mean}
    if affine:
        lower = torch.linalg.cholesky(q.covariance)
        rows, columns = torch.tril_indices(density.latent_dim, density.latent_dim, -1)
        below = lower[rows, columns] if "posterior" in spec else lower.new_empty(0)
        bias = torch.cat([q.bias, 2 * lower.diagonal().log(), below])
        gain = torch.cat([q.weight, q.weight.new_zeros(len(bias) - len(q.bias), q.weight.shape[1])])
        state |= {"encoder.1.weight": gain, "encoder.1.bias": bias}
    model.load_state_dict(model.state_dict() | state)
    return model.eval()


def _em_grades(stream: torch.Generator) -> Iterator[Grade]:
    """EM from a random W against the closed form: the largest difference of WWᵀ + σ²I."""
    spectrum = Spectrum.given([4.0, 3.0, 2.5, 1.0, 0.8])
    model = ProbabilisticPCA(spectrum.mean, torch.randn(5, 3, generator=stream, dtype=torch.float64), 1.0)
    for _ in range(ITERATIONS):
        model = expectation_maximisation(model, spectrum.covariance)
    best = oracle.maximum_likelihood(spectrum, 3).model
    largest = float((model.covariance - best.covariance).abs().max())
    estimates = [Estimate("largest_difference", largest, n=ITERATIONS)]
    yield from graded("EM from a random W", "PPCA", [Answer("largest_difference", 0.0)], estimates, ROUNDING)


TRUTH_ROUNDING = 1e-10  # allowed relative rounding error of a number that is computed in float64
STD, OBSERVATIONS = 0.7, 2000  # standard deviation of the corruption, and the number of observations


def truth_grades() -> Iterator[Grade]:
    """Grade every comparison with a known truth, and the Jacobian of an encoder."""
    data = LinearGaussian(dim=12, latent_dim=5, noise=0.2)
    values, directions = torch.linalg.eigh(data.model.covariance)
    population = Spectrum.given(values, directions, data.model.mean)
    for units in (3, 12):
        yield from _denoiser_grades(data, population, units)
    yield from _autoencoder_grades(population, 3)
    yield from _angle_grades()
    yield from _dictionary_grades()
    yield from _jacobian_grades()


def linear_model(spec: Spec, optimum: LinearAutoencoder) -> Autoencoder:
    """An affine model of this specification that computes the map of the optimum, in float64."""
    model = MODELS.build(spec, (optimum.spectrum.dim,), 0).double()
    encoder, decoder = (layer for layer in model.modules() if isinstance(layer, nn.Linear))
    directions = optimum.spectrum.directions[:, : optimum.latent_dim]
    weight = (directions * optimum.gains[: optimum.latent_dim]).mT
    with torch.no_grad():
        encoder.weight.copy_(weight)
        encoder.bias.copy_(-weight @ optimum.spectrum.mean)
        decoder.weight.copy_(directions)
        decoder.bias.copy_(optimum.spectrum.mean)
    return model


def _denoiser_grades(data: LinearGaussian, population: Spectrum, units: int) -> Iterator[Grade]:
    """The best linear denoiser with L units on other noise: what it lacks is the score in the other D − L directions.

    Its error is Σ_{i>L} λ_i²/(λ_i + s²), and 0 with as many units as dimensions.
    """
    optimum = LinearAutoencoder(population, units, STD**2)
    spec = {"name": "DenoisingAE", "network": "Affine", "likelihood": "Gaussian", "latent_dim": units}
    model = linear_model({**spec, "corruption": {"name": "GaussianNoise", "std": STD}}, optimum)
    x, _ = data.model.sample(OBSERVATIONS, generator(0, "denoised"))
    left = population.eigenvalues[units:]
    answer = Answer("score_error", float((left.square() / (left + STD**2)).sum()), standard=ERRORS)
    with torch.no_grad():
        found = score_error(model, x, data.model, STD, 0)
    name = f"the best linear denoiser, {units} of 12 units"
    yield from graded(name, "known truth", [answer], [found], TRUTH_ROUNDING)


def _autoencoder_grades(population: Spectrum, units: int) -> Iterator[Grade]:
    """The best linear autoencoder: its squared error is Σ_{i>L} λ_i. The observations have exactly these moments."""
    spec = {"name": "AE", "network": "Affine", "likelihood": "Gaussian", "latent_dim": units}
    model = linear_model(spec, LinearAutoencoder(population, units))
    seen = measure(model, [Batch(population.points)], build_metrics(("SquaredError",)), 1, 0).estimates
    answer = Answer("squared_error", population.tail(units))
    yield from graded("the best linear autoencoder", "SquaredError", [answer], seen, TRUTH_ROUNDING)


def _angle_grades() -> Iterator[Grade]:
    """Two planes in four dimensions that share a line, turned by an angle about it."""
    plane = torch.eye(4, dtype=torch.float64)[:, :2]
    for degrees in (0.0, 1e-4, 30.0, 90.0):
        turned, angle = plane.clone(), math.radians(degrees)
        turned[:, 1] = torch.tensor([0.0, math.cos(angle), math.sin(angle), 0.0], dtype=torch.float64)
        mixed = turned @ torch.tensor([[2.0, 1.0], [0.5, -3.0]], dtype=torch.float64)  # other axes, the same plane
        found = [Estimate("principal_angle", angle_between(mixed, plane), n=2)]
        answer = Answer("principal_angle", degrees)
        yield from graded(f"planes at {degrees:g}°", "known truth", [answer], found, TRUTH_ROUNDING)


def _dictionary_grades() -> Iterator[Grade]:
    """The dictionary itself, in another order and with other signs; and one whose second half repeats the first."""
    true = SparseDictionary(dim=10, features=10, orthonormal=True).dictionary
    order = torch.randperm(10, generator=generator(0, "order"))
    signs = torch.where(torch.arange(10) % 3 == 0, -2.0, 1.0).double()
    cases: Sequence[tuple[str, Float64[Tensor, "D L"], float]] = (
        ("the planted dictionary", true[:, order] * signs, 1.0),
        ("half of the dictionary, twice", true[:, [0, 1, 2, 3, 4] * 2], 0.5),
    )
    for name, learned, share in cases:
        found = recovery(learned, true)
        yield from graded(name, "known truth", [Answer(e.name, share) for e in found], found, TRUTH_ROUNDING)


def _jacobian_grades() -> Iterator[Grade]:
    """An affine code has ‖W‖²_F; a layer of sigmoids Σ_j (h_j(1 − h_j))² Σ_i W_ji² (Rifai et al. 2011)."""
    x = torch.randn(20, 6, generator=generator(0, "jacobian"), dtype=torch.float64)
    sigmoid = {"name": "ActivatedMLP", "hidden": (), "activation": "Sigmoid"}
    for name, network in (("an affine encoder", "Affine"), ("a layer of sigmoids", sigmoid)):
        model = MODELS.build({"name": "ContractiveAE", "network": network, "latent_dim": 4}, (6,), 0).double()
        weight = next(model.encoder.parameters()).detach().square().sum(1)
        with torch.no_grad():
            code = model.encode(x).mean
        slope = torch.ones_like(code) if network == "Affine" else (code * (1 - code)).square()
        answer = Answer("encoder_jacobian", float((slope @ weight).mean()))
        found = estimate(model, [Batch(x)], build_estimators(("EncoderJacobian",)), 0).estimates
        yield from graded(name, "EncoderJacobian", [answer], found, TRUTH_ROUNDING)
