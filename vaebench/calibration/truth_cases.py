"""Linear and sparse autoencoders with known parameters, where the angle, the score, the dictionary and the Jacobian of
the code follow from the parameters.
"""

import math
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float64
from torch import Tensor, nn

from vaebench.calibration.grade import ERRORS, Answer, Grade, graded
from vaebench.config.registry import MODELS, Spec
from vaebench.config.seeding import generator
from vaebench.data.datasets.synthetic import LinearGaussian, SparseDictionary
from vaebench.data.loaders import Batch
from vaebench.evaluation.known_truth import angle_between, recovery, score_error
from vaebench.evaluation.measure import build_estimators, build_metrics, estimate, measure
from vaebench.models.base import Autoencoder
from vaebench.oracle import LinearAutoencoder, Spectrum
from vaebench.records.record import Estimate

ROUNDING = 1e-10
"""Allowed relative rounding error of a number that is computed in float64."""

STD, OBSERVATIONS = 0.7, 2000
"""Standard deviation of the corruption, and the number of observations."""


def truth_grades() -> Iterator[Grade]:
    """Grade every comparison with a known truth, and the Jacobian of an encoder."""
    data = LinearGaussian(dim=12, latent_dim=5, noise=0.2)
    population = Spectrum.given(*_eigen(data.model.covariance), mean=data.model.mean)
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
    yield from graded(f"the best linear denoiser, {units} of 12 units", "known truth", [answer], [found], ROUNDING)


def _autoencoder_grades(population: Spectrum, units: int) -> Iterator[Grade]:
    """The best linear autoencoder: its squared error is Σ_{i>L} λ_i. The observations have exactly these moments."""
    model = linear_model(
        {"name": "AE", "network": "Affine", "likelihood": "Gaussian", "latent_dim": units},
        LinearAutoencoder(population, units),
    )
    seen = measure(model, [Batch(population.points)], build_metrics(("SquaredError",)), 1, 0).estimates
    answer = Answer("squared_error", population.tail(units))
    yield from graded("the best linear autoencoder", "SquaredError", [answer], seen, ROUNDING)


def _angle_grades() -> Iterator[Grade]:
    """Two planes in four dimensions that share a line, turned by an angle about it."""
    plane = torch.eye(4, dtype=torch.float64)[:, :2]
    for degrees in (0.0, 1e-4, 30.0, 90.0):
        turned, angle = plane.clone(), math.radians(degrees)
        turned[:, 1] = torch.tensor([0.0, math.cos(angle), math.sin(angle), 0.0], dtype=torch.float64)
        mixed = turned @ torch.tensor([[2.0, 1.0], [0.5, -3.0]], dtype=torch.float64)  # other axes, the same plane
        found = [Estimate("principal_angle", angle_between(mixed, plane), n=2)]
        answer = Answer("principal_angle", degrees)
        yield from graded(f"planes at {degrees:g}°", "known truth", [answer], found, ROUNDING)


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
        yield from graded(name, "known truth", [Answer(e.name, share) for e in found], found, ROUNDING)


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
        yield from graded(name, "EncoderJacobian", [answer], found, ROUNDING)


def _eigen(covariance: Float64[Tensor, "D D"]) -> tuple[Float64[Tensor, " D"], Float64[Tensor, "D D"]]:
    values, directions = torch.linalg.eigh(covariance)
    return values, directions
