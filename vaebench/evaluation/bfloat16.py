"""The decoder in bfloat16: a quicker evaluation for a preview, with a measured error.

bfloat16 has 8 bits of mantissa. The products are computed in it; the likelihood, the prior and all sums are not.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

from vaebench.config.seeding import generator
from vaebench.data.loaders import Batch
from vaebench.evaluation.bounds import iwae
from vaebench.evaluation.estimators.base import evenly_spaced
from vaebench.models.base import Autoencoder

OBSERVATIONS = 16  # over how many observations the error is measured


class Bfloat16Error(NamedTuple):
    """How far bfloat16 is from float32."""

    # for each observation the largest difference of a log-weight over all draws; the mean over observations. No bound
    # of these draws, of any k, differs by more.
    nats: float
    iwae: float  # the difference of IWAE-K, its magnitude; the mean over observations
    observations: int  # over how many


@contextmanager
def bfloat16_decoder(model: Autoencoder) -> Iterator[None]:
    """A block in which the decoder computes in bfloat16. Its output is float32."""
    decoder, forward = model.decoder, model.decoder.forward

    def rounded(z: Tensor) -> Tensor:
        with torch.autocast(z.device.type, torch.bfloat16):
            output: Tensor = forward(z)
        return output.to(z.dtype)

    decoder.forward = rounded  # type: ignore[method-assign]
    try:
        yield
    finally:
        del decoder.forward


@torch.no_grad()
def bfloat16_error(model: Autoencoder, batches: Iterable[Batch], draws: int, seed: int) -> Bfloat16Error:
    """Measure the error of `bfloat16_decoder` on evenly spaced observations, with the same draws in both.

    Args:
        batches: a split, which can be iterated more than once.
    """
    batch = evenly_spaced(batches, OBSERVATIONS)
    draws = draws if model.stochastic else 1
    exact = _log_weights(model, batch, draws, seed)
    with bfloat16_decoder(model):
        rounded = _log_weights(model, batch, draws, seed)
    worst, bounds = (rounded - exact).abs().amax(0), [iwae(log_weight, draws) for log_weight in (rounded, exact)]
    return Bfloat16Error(float(worst.mean()), float((bounds[0] - bounds[1]).abs().mean()), len(worst))


def _log_weights(model: Autoencoder, batch: Batch, draws: int, seed: int) -> Tensor:
    drawn = model.draws(batch, draws, generator(seed, "bfloat16", model.device))
    return drawn.log_weight if model.stochastic else drawn.log_px
