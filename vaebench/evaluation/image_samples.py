"""A trained model asked for images: observations rebuilt, draws from the prior, and what each unit does."""

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
from vaebench.evaluation.measure import estimators, evaluating
from vaebench.models.base import Autoencoder
from vaebench.models.vae import VAE
from vaebench.records.images import Pictures, Pixels, write
from vaebench.records.record import Record
from vaebench.records.run_folder import ARRAYS

PAIRS, SAMPLES, UNITS, STEPS = 10, 20, 8, 7
"""Observations, samples, units that are moved, and places that each is moved to."""

SIDE = 8
"""Images along each side of the plane of a latent space that is one."""

POINTS = 200
"""Observations whose codes are kept."""

BYTES = 90_000
"""Pixels of one run at most, before they are compressed."""

ROWS = 6
"""Rows of altered images that have room."""

REACH = 3.0
"""Standard deviations to either side that a unit is moved."""


def keep(model: Autoencoder, data: DataModule, record: Record, folder: Path) -> list[Path]:
    """Writes a measured model's pictures beside its record, where what it models are images; returns the files."""
    kl = record.estimate("kl_per_unit")
    ranked = kl.value if kl is not None and isinstance(kl.value, list) else []
    how = record.config["evaluate"]
    pictures = take(model, data, how["split"], record.config["seed"], ranked, estimators(how.get("estimators", ())))
    if pictures is None:
        return []
    write(pictures, folder / ARRAYS)
    return [folder / ARRAYS]


@torch.no_grad()
def take(
    model: Autoencoder,
    data: DataModule,
    split: str,
    seed: int,
    kl: Sequence[float],
    asked: Sequence[Estimator] = (),
) -> Pictures | None:
    """A model's pictures, None where an observation is no image.

    Args:
        model: trained, on the device of the data.
        data: set up.
        split: whose observations are rebuilt.
        seed: of the samples.
        kl: the rate of every unit, by which units are chosen; empty if there is none.
        asked: estimators that may have something to show.
    """
    if len(model.shape) != 3 or model.shape[0] not in (1, 3):
        return None
    pairs, samples, units, side = _counts(prod(model.shape), model.latent_dim)
    with evaluating(model), seeded(seed, "pictures"):
        x = evenly_spaced(data.batches(split), pairs).x
        codes = model.encode(x).mean
        middle, spread, drawn = _across(model, codes, samples)
        order = sorted(range(model.latent_dim), key=lambda i: -kl[i]) if kl else list(range(model.latent_dim))
        moved = torch.stack([_moved(codes[0], middle, spread, unit) for unit in order[:units]])
        many = data.resident(split)[_evenly(data.sizes[split], POINTS)]
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


def _altered(model: Autoencoder, x: Float[Tensor, "N C H W"], asked: Sequence[Estimator]) -> dict[str, Pixels]:
    """The images of the first estimator that has any, of as many observations as have room."""
    shown = (
        e.pictured(model, x[: max(1, BYTES // (ROWS * x[0].numel()))]) for e in asked if e.applies_to(model) is None
    )
    return next(({"altered": _pixels(rows)} for rows in shown if rows is not None), {})


def _counts(dimensions: int, latent_dim: int) -> tuple[int, int, int, int]:
    """Pairs, samples, units and the side of the plane, so many that the pixels have room."""
    units, side = min(UNITS, latent_dim), SIDE if latent_dim == 2 else 0
    share = min(1.0, BYTES / (dimensions * (2 * PAIRS + SAMPLES + units * STEPS + side**2)))
    pairs, samples, units = (max(1, int(n * share)) for n in (PAIRS, SAMPLES, units))
    return pairs, samples, units, int(side * share**0.5)


def _evenly(total: int, count: int) -> Int64[Tensor, " count"]:
    """So many numbers below a total, at equal distances."""
    count = min(count, total)
    return torch.arange(count) * total // count


def _across(model: Autoencoder, codes: Float[Tensor, "N L"], count: int) -> tuple[Tensor, Tensor, Tensor | None]:
    """Mean and standard deviation of the prior, `[L]` each, and draws; without a prior those of codes, and no draws."""
    if not isinstance(model, VAE):
        return codes.mean(0), codes.std(0, correction=0), None
    prior = model.prior(model.encode)
    return prior.mean, prior.stddev, prior.sample(torch.Size([count]))


def _plane(middle: Float[Tensor, " 2"], spread: Float[Tensor, " 2"], side: int) -> Float[Tensor, "side side 2"]:
    """Latents at equal shares of a normal distribution of the prior's mean and spread, the second unit upwards."""
    shares = (torch.arange(side, device=middle.device) + 0.5) / side
    quantiles = Normal(middle, spread).icdf(shares[:, None])
    first, second = quantiles.unbind(1)
    return torch.stack(torch.meshgrid(first, second.flip(0), indexing="xy"), -1)


def _moved(
    code: Float[Tensor, " L"], middle: Float[Tensor, " L"], spread: Float[Tensor, " L"], unit: int
) -> Float[Tensor, "T L"]:
    """A code with one unit moved across what lies there."""
    moved = code.repeat(STEPS, 1)
    moved[:, unit] = middle[unit] + spread[unit] * torch.linspace(-REACH, REACH, STEPS, device=code.device)
    return moved


def _pixels(x: Float[Tensor, "*batch C H W"]) -> Pixels:
    return (x.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
