"""Compare a trained model with what is known of its data: principal directions, score, and dictionary."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from vaebench.config.seeding import generator
from vaebench.data.datamodule import DataModule
from vaebench.data.datasets.synthetic import LinearGaussian, SparseDictionary
from vaebench.evaluation.collapse import training_spectrum
from vaebench.evaluation.estimators.base import mean_over_observations
from vaebench.evaluation.measure import Measurement
from vaebench.models.ae import DenoisingAE, StochasticContractiveAE
from vaebench.models.base import Autoencoder
from vaebench.models.parts.corruptions import GaussianNoise
from vaebench.models.parts.likelihoods import Gaussian
from vaebench.oracle.probabilistic_pca import ProbabilisticPCA
from vaebench.oracle.spectrum import Spectrum
from vaebench.records.description import Description, Direction, Panel
from vaebench.records.record import Estimate, NotApplicable

ANGLE = "principal_angle"
SCORE = "score_error"
DICTIONARY = ("dictionary_mcc", "dictionary_max_cosine", "dictionary_uniqueness")

DESCRIPTIONS: Mapping[str, Description] = {
    ANGLE: Description(
        "angle to the principal subspace",
        Panel.OBJECTIVE,
        98,
        "°",
        Direction.LOWER,
        meaning=(
            "Largest angle between the decoder's subspace and the principal one of the data. It says nothing where a "
            "unit is not active: the direction of such a unit is noise, and the angle is then often near 90°."
        ),
    ),
    SCORE: Description(
        "score error",
        Panel.OBJECTIVE,
        99,
        "x²",
        Direction.LOWER,
        meaning="E‖r(x̃) − x̃ − s²∇log p_s(x̃)‖² of a denoiser r, with x̃ = x + sε and p_s the density of x̃.",
    ),
    DICTIONARY[0]: Description(
        "dictionary recovery (MCC)",
        Panel.REPRESENTATION,
        60,
        better=Direction.HIGHER,
        meaning="Mean correlation coefficient: the mean cosine of known directions and units, matched one to one.",
    ),
    DICTIONARY[1]: Description(
        "mean largest cosine",
        Panel.REPRESENTATION,
        70,
        better=Direction.HIGHER,
        meaning="Mean over the known directions of the largest cosine with any unit.",
    ),
    DICTIONARY[2]: Description(
        "uniqueness",
        Panel.REPRESENTATION,
        80,
        better=Direction.HIGHER,
        meaning="Known directions that are nearest to at least one unit, divided by min(directions, units).",
    ),
}


@torch.no_grad()
def compare_with_truth(model: Autoencoder, data: DataModule, split: str, seed: int) -> Measurement:
    """Every comparison that the model and the data allow; the reasons for the others.

    Args:
        split: where the score is compared.
    """
    found = [*_angle(model, data), *_score(model, data, split, seed), *_dictionary(model, data)]
    return Measurement.from_outcomes(found, DESCRIPTIONS)


@torch.no_grad()
def affine_decoder(model: Autoencoder) -> Float64[Tensor, "D L"] | None:
    """W of a decoder z ↦ Wz + b of the mean of a Gaussian; None if the decoder is another one."""
    if not isinstance(model.likelihood, Gaussian):
        return None
    units = torch.eye(model.latent_dim, device=model.device, dtype=next(model.parameters()).dtype)
    z = 3 * torch.randn(8, model.latent_dim, generator=generator(0, "affine", model.device), device=model.device)
    base, columns, there = (model.parameters_at(at).flatten(1) for at in (0 * units[:1], units, z.to(units.dtype)))
    columns, moved = columns - base, there - base
    # In float32 the difference of two outputs has the rounding of the outputs.
    rounding = 16 * torch.finfo(base.dtype).eps * there.abs().max() * moved.numel() ** 0.5
    if not bool((moved - z.to(units.dtype) @ columns).norm() <= 1e-4 * moved.norm() + rounding):
        return None
    return columns.mT.double().cpu()


def angle_between(a: Float64[Tensor, "D K"], b: Float64[Tensor, "D L"]) -> float:
    """The largest principal angle between the spans of the columns, in degrees; 90 if their dimensions differ."""
    first, second = (_basis(columns) for columns in (a, b))
    if first.shape[1] != second.shape[1]:
        return 90.0
    inside = second.mT @ first
    # The sine is exact for small angles, the cosine for large ones.
    sine, cosine = torch.linalg.matrix_norm(first - second @ inside, 2), torch.linalg.svdvals(inside).min()
    return math.degrees(math.atan2(float(sine), float(cosine)))


def _basis(columns: Float64[Tensor, "D K"]) -> Float64[Tensor, "D R"]:
    left, values, _ = torch.linalg.svd(columns, full_matrices=False)
    return left[:, values > 1e-6 * values.max().clamp(min=1e-30)]


def _angle(model: Autoencoder, data: DataModule) -> Iterator[Estimate | NotApplicable]:
    matrix = affine_decoder(model)
    if matrix is None:
        yield NotApplicable(
            ANGLE, f"the decoder of this {type(model).__name__} is not affine, or its likelihood is not Gaussian"
        )
        return
    reason = without_subspace(spectrum := training_spectrum(data), units := model.latent_dim)
    if reason is not None:
        yield NotApplicable(ANGLE, reason)
    else:
        yield Estimate(ANGLE, angle_between(matrix, spectrum.directions[:, :units]), n=data.sizes["train"])


def without_subspace(spectrum: Spectrum, units: int) -> str | None:
    """Why the data does not determine its first principal directions, or None."""
    values = [*spectrum.eigenvalues.tolist(), 0.0]
    if units > spectrum.dim:
        return f"{units} units are more than the {spectrum.dim} dimensions of the data"
    if units == spectrum.dim or values[units - 1] - values[units] > 4 * spectrum.resolution:
        return None
    return f"eigenvalues {units} and {units + 1} of the data are equal, so no {units} directions come first"


def score_error(
    model: Autoencoder, x: Float[Tensor, "N D"], population: ProbabilisticPCA, std: float, seed: int
) -> Estimate:
    """E‖r(x̃) − x̃ − s²∇log p_s(x̃)‖² of a denoiser r, with x̃ = x + sε and p_s the density of x̃.

    It is 0 for the best denoiser (Miyasawa 1961; Vincent 2011), r(x̃) = E[x|x̃].

    Args:
        x: clean observations.
        std: s > 0.
    """
    noise = torch.randn(x.shape, generator=generator(seed, "score", x.device), device=x.device, dtype=x.dtype)
    corrupted = x + std * noise
    moved = (model(corrupted) - corrupted).double().cpu().flatten(1)
    covariance = population.covariance + std**2 * torch.eye(moved.shape[1], dtype=torch.float64)
    centred = corrupted.double().cpu().flatten(1) - population.mean
    score = -torch.linalg.solve(covariance, centred.mT).mT
    return mean_over_observations(SCORE, (moved - std**2 * score).square().sum(1))


def _score(model: Autoencoder, data: DataModule, split: str, seed: int) -> Iterator[Estimate | NotApplicable]:
    corruption: Any = getattr(model, "corruption", None)
    if not isinstance(data.dataset, LinearGaussian):
        yield NotApplicable(SCORE, f"the density of {data.dataset.name} is not known")
    elif not isinstance(model, DenoisingAE) or isinstance(model, StochasticContractiveAE):
        yield NotApplicable(SCORE, f"{type(model).__name__} is no denoiser")
    elif not isinstance(corruption, GaussianNoise) or not corruption.std:
        yield NotApplicable(SCORE, "the score is that of Gaussian noise, and this corruption is another")
    else:
        yield score_error(model, data.on_device(split)[:].x, data.dataset.model, corruption.std, seed)


def recovery(learned: Float64[Tensor, "D L"], true: Float64[Tensor, "D F"]) -> tuple[Estimate, ...]:
    """How well the columns of a dictionary are those of the true one, by the cosine, whatever the sign.

    - `dictionary_mcc`: each feature has one unit of its own, by the matching with the largest sum of cosines. The mean
      over all features; a feature without a unit counts 0.
    - `dictionary_max_cosine`: the mean over features of the largest cosine with any unit. Two features may share it.
    - `dictionary_uniqueness`: the number of features that are the nearest one of some unit, divided by the smaller of
      the number of units and of features. (Counted after a matching it would always be 1.)
    """
    from scipy.optimize import linear_sum_assignment

    lengths = learned.norm(dim=0)
    cosines = ((learned / lengths.clamp(min=1e-30)).mT @ (true / true.norm(dim=0))).abs()  # [L, F]
    units, features = cosines.shape
    matched = cosines.numpy()[linear_sum_assignment(cosines.numpy(), maximize=True)]
    nearest = cosines.argmax(1)[lengths > 0]
    values = (
        float(matched.sum()) / features,
        float(cosines.amax(0).mean()),
        len(nearest.unique()) / min(units, features),
    )
    return tuple(Estimate(name, value, n=features) for name, value in zip(DICTIONARY, values, strict=True))


def _dictionary(model: Autoencoder, data: DataModule) -> Iterator[Estimate | NotApplicable]:
    matrix, reason = None, f"the dictionary of {data.dataset.name} is not known"
    if isinstance(data.dataset, SparseDictionary):
        matrix, reason = affine_decoder(model), f"the decoder of this {type(model).__name__} is no dictionary"
        if matrix is not None:
            yield from recovery(matrix, data.dataset.dictionary)
            return
    yield from (NotApplicable(name, reason) for name in DICTIONARY)
