"""Images from a trained model: reconstructions, samples from the prior, and traversals of single latent units."""

from collections.abc import Sequence
from math import prod
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.distributions import Normal

from vaebench.config.seeding import seeded
from vaebench.data.datamodule import DataModule
from vaebench.evaluation.estimators.base import Estimator, evenly_spaced
from vaebench.evaluation.measure import build_estimators, evaluating
from vaebench.models.base import Autoencoder
from vaebench.models.vae import VAE
from vaebench.records.arrays import Pictures, Pixels, in_rows, sheet, write_pictures
from vaebench.records.files import ARRAYS
from vaebench.records.record import UNIT_RATES, Record

PAIRS, SAMPLES, UNITS, STEPS = 10, 20, 8, 7
"""The numbers of reconstructions, samples, traversed units, and images in each traversal."""

SIDE = 8  # the number of images along each side of the grid that shows a two-dimensional latent space
POINTS = 200  # the number of observations whose codes are stored
MOST_PIXELS = 90_000  # the largest number of pixels of one run, before compression
ROWS = 6  # the number of rows of edited images that fit into `MOST_PIXELS`
REACH = 3.0  # a traversal goes this many standard deviations to either side of the prior's mean


def write_images(model: Autoencoder, data: DataModule, record: Record, folder: Path) -> list[Path]:
    """Write the images of an evaluated model beside its record. Return the files: none if the data are no images."""
    kl = record.estimate(UNIT_RATES)
    ranked = kl.value if kl is not None and isinstance(kl.value, list) else []
    how = record.config["evaluate"]
    pictures = make_images(
        model, data, how["split"], record.config["seed"], ranked, build_estimators(how.get("estimators", ()))
    )
    if pictures is None:
        return []
    write_pictures(pictures, folder / ARRAYS)
    return [folder / ARRAYS]


@torch.no_grad()
def make_images(
    model: Autoencoder, data: DataModule, split: str, seed: int, kl: Sequence[float], asked: Sequence[Estimator] = ()
) -> Pictures | None:
    """Make the images of a model; None if an observation is not an image with one or three channels.

    Args:
        split: the source of the observations to reconstruct.
        kl: the KL of every unit; the units with the largest are traversed. Empty for a model without a rate.
        asked: estimators that may have images to show.
    """
    if len(model.shape) != 3 or model.shape[0] not in (1, 3):
        return None
    pairs, samples, units, side = _counts(prod(model.shape), model.latent_dim)
    with evaluating(model), seeded(seed, "pictures"):
        x = evenly_spaced(data.batches(split), pairs).x
        codes = model.encode(x).mean
        middle, spread, drawn = _latent_range(model, codes, samples)
        order = sorted(range(model.latent_dim), key=lambda i: -kl[i]) if kl else list(range(model.latent_dim))
        moved = torch.stack([_traversal(codes[0], middle, spread, unit) for unit in order[:units]])
        many = data.on_device(split)[_evenly(data.sizes[split], POINTS)]
        return Pictures(
            originals=_pixels(x),
            reconstructions=_pixels(model.decode(codes).mean),
            samples=_pixels(x[:0]) if drawn is None else _pixels(model.decode(drawn).mean),
            traversals=_pixels(model.decode(moved.flatten(0, 1)).mean).reshape(len(moved), STEPS, *model.shape),
            units=np.array([unit + 1 for unit in order]),
            plane=_pixels(model.decode(_plane(middle, spread, side)).mean) if side else _pixels(x[:0, None]),
            codes=model.encode(many.x).mean[:, order[:2]].float().cpu().numpy(),
            labels=np.empty(0, np.int64) if many.label is None else many.label.cpu().numpy(),
            **_altered(model, x, asked),
        )


@torch.no_grad()
def sheets(model: Autoencoder, data: DataModule, split: str) -> dict[str, Pixels] | None:
    """Reconstructions below their observations, and samples, as grids; None as for `make_images`.

    The observations and the noise are the same at every call, so that grids of two epochs can be compared.
    """
    if len(model.shape) != 3 or model.shape[0] not in (1, 3):
        return None
    pairs, samples, _, _ = _counts(prod(model.shape), model.latent_dim)
    with evaluating(model), seeded(model.seed, "pictures"):
        x = evenly_spaced(data.batches(split), pairs).x
        codes = model.encode(x).mean
        _, _, drawn = _latent_range(model, codes, samples)
        grids = {"reconstructions": _pixels(torch.stack([x, model.decode(codes).mean]))}
        if drawn is not None:
            grids["samples"] = in_rows(_pixels(model.decode(drawn).mean))
    return {name: sheet(grid) for name, grid in grids.items()}


def _altered(model: Autoencoder, x: Float[Tensor, "N C H W"], asked: Sequence[Estimator]) -> dict[str, Pixels]:
    """The images of the first estimator that has any, for as many observations as fit into `MOST_PIXELS`."""
    few = x[: max(1, MOST_PIXELS // (ROWS * x[0].numel()))]
    shown = (e.example_images(model, few) for e in asked if e.why_not_applicable(model) is None)
    return next(({"altered": _pixels(rows)} for rows in shown if rows is not None), {})


def _counts(dimensions: int, latent_dim: int) -> tuple[int, int, int, int]:
    """The numbers of reconstructions, samples, units and images along the grid's side, for `MOST_PIXELS` at most."""
    units, side = min(UNITS, latent_dim), SIDE if latent_dim == 2 else 0
    share = min(1.0, MOST_PIXELS / (dimensions * (2 * PAIRS + SAMPLES + units * STEPS + side**2)))
    pairs, samples, units = (max(1, int(n * share)) for n in (PAIRS, SAMPLES, units))
    return pairs, samples, units, int(side * share**0.5)


def _evenly(total: int, count: int) -> Int64[Tensor, " count"]:
    """`count` indices below `total` at equal distances.

    >>> _evenly(10, 3).tolist()
    [0, 3, 6]
    """
    count = min(count, total)
    return torch.arange(count) * total // count


def _latent_range(model: Autoencoder, codes: Float[Tensor, "N L"], count: int) -> tuple[Tensor, Tensor, Tensor | None]:
    """Mean and standard deviation of the prior, `[L]` each, and samples; without a prior, of the codes, and None."""
    if not isinstance(model, VAE):
        return codes.mean(0), codes.std(0, correction=0), None
    prior = model.prior(model.encode)
    return prior.mean, prior.stddev, prior.sample(torch.Size([count]))


def _plane(middle: Float[Tensor, " 2"], spread: Float[Tensor, " 2"], side: int) -> Float[Tensor, "side side 2"]:
    """Latents at equal quantiles of a normal distribution: the first unit grows to the right, the second upwards."""
    shares = (torch.arange(side, device=middle.device) + 0.5) / side
    quantiles = Normal(middle, spread, validate_args=False).icdf(shares[:, None])  # codes without spread are one point
    first, second = quantiles.unbind(1)
    return torch.stack(torch.meshgrid(first, second.flip(0), indexing="xy"), -1)


def _traversal(
    code: Float[Tensor, " L"], middle: Float[Tensor, " L"], spread: Float[Tensor, " L"], unit: int
) -> Float[Tensor, "T L"]:
    """Copies of a code in which one unit goes through the range of the prior."""
    codes = code.repeat(STEPS, 1)
    codes[:, unit] = middle[unit] + spread[unit] * torch.linspace(-REACH, REACH, STEPS, device=code.device)
    return codes


def _pixels(x: Float[Tensor, "*batch C H W"]) -> Pixels:
    return (x.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
