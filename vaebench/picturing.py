"""A trained model asked for images: observations rebuilt, draws from the prior, and what each unit does."""

from collections.abc import Sequence
from math import prod
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vaebench.datamodule import DataModule
from vaebench.estimators.base import evenly_spaced
from vaebench.evaluation import evaluating
from vaebench.models.base import Autoencoder
from vaebench.models.vae import VAE
from vaebench.pictures import NAME, Pictures, Pixels, write
from vaebench.record import Record
from vaebench.seeding import seeded

PAIRS, SAMPLES, UNITS, STEPS = 10, 20, 8, 7
"""Observations, samples, units that are moved, and places that each is moved to."""

BYTES = 90_000
"""Pixels of one run at most, before they are compressed."""

REACH = 3.0
"""Standard deviations to either side that a unit is moved."""


def keep(model: Autoencoder, data: DataModule, record: Record, folder: Path) -> None:
    """Writes a measured model's pictures beside its record, where what it models are images."""
    kl = record.estimate("kl_per_unit")
    ranked = kl.value if kl is not None and isinstance(kl.value, list) else []
    pictures = take(model, data, record.config["evaluate"]["split"], record.config["seed"], ranked)
    if pictures is not None:
        write(pictures, folder / NAME)


@torch.no_grad()
def take(model: Autoencoder, data: DataModule, split: str, seed: int, kl: Sequence[float]) -> Pictures | None:
    """A model's pictures, None where an observation is no image.

    Args:
        model: trained, on the device of the data.
        data: set up.
        split: whose observations are rebuilt.
        seed: of the samples.
        kl: the rate of every unit, by which units are chosen; empty if there is none.
    """
    if len(model.shape) != 3 or model.shape[0] not in (1, 3):
        return None
    pairs, samples, units = _counts(prod(model.shape))
    with evaluating(model), seeded(seed, "pictures"):
        x = evenly_spaced(data.batches(split), pairs)
        codes = model.encode(x).mean
        drawn = model.prior(model.encode).sample(torch.Size([1000])) if isinstance(model, VAE) else codes
        order = sorted(range(model.latent_dim), key=lambda i: -kl[i]) if kl else list(range(model.latent_dim))
        moved = torch.stack([_moved(codes[0], drawn, unit) for unit in order[:units]])
        return Pictures(
            originals=_pixels(x),
            reconstructions=_pixels(model.decode(codes).mean),
            samples=_pixels(model.decode(drawn[:samples]).mean)[: samples if isinstance(model, VAE) else 0],
            traversals=_pixels(model.decode(moved.flatten(0, 1)).mean).reshape(len(moved), STEPS, *model.shape),
            units=np.array([unit + 1 for unit in order[:units]]),
        )


def _counts(dimensions: int) -> tuple[int, int, int]:
    """Pairs, samples and units, so many that the pixels have room."""
    share = min(1.0, BYTES / (dimensions * (2 * PAIRS + SAMPLES + UNITS * STEPS)))
    pairs, samples, units = (max(1, int(n * share)) for n in (PAIRS, SAMPLES, UNITS))
    return pairs, samples, units


def _moved(code: Float[Tensor, " L"], drawn: Float[Tensor, "N L"], unit: int) -> Float[Tensor, "T L"]:
    """A code with one unit moved across what the prior (or, without one, the codes) has there."""
    mean, std = drawn[:, unit].mean(), drawn[:, unit].std(correction=0)
    moved = code.repeat(STEPS, 1)
    moved[:, unit] = mean + std * torch.linspace(-REACH, REACH, STEPS, device=code.device)
    return moved


def _pixels(x: Float[Tensor, "*batch C H W"]) -> Pixels:
    return (x.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
