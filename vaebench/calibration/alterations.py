"""Pictures of which it can be counted what a part erased and a shift do, and a code that a shift leaves alone."""

import math
from collections.abc import Iterator

import torch
from torch import nn

from vaebench.calibration.answers import Answer
from vaebench.calibration.grade import Grade
from vaebench.calibration.grading import graded
from vaebench.data.batch import Batch
from vaebench.evaluation.estimators.erased_or_shifted import ErasedOrShifted
from vaebench.evaluation.measure import estimate
from vaebench.models.linear_vae import LinearVAE

SIDE, COUNT = 6, 40

ROUNDING = 1e-12
"""Relative, of sums of a few dozen numbers in float64."""


def alteration_grades(problem: str) -> Iterator[Grade]:
    """The grades of every column of `ErasedOrShifted`."""
    estimator = ErasedOrShifted(share=0.5)
    estimates = estimate(_row_sums(), [_pictures()], [estimator], 0).estimates
    yield from graded(problem, ErasedOrShifted.__name__, _answers(), estimates, ROUNDING)


def _pictures() -> Batch:
    """Two pixels side by side in one row, and in half of the pictures in a second row above it: the classes."""
    x, label = torch.zeros(COUNT, 1, SIDE, SIDE, dtype=torch.float64), torch.arange(COUNT) // 2 % 2
    x[..., 4, 1:3] = 1
    x[label == 1, :, 1, 1:3] = 1
    return Batch(x, label)


def _row_sums() -> LinearVAE:
    """The linear VAE whose code is the ink of every row, and whose decoder is the transpose of that."""
    model = LinearVAE((1, SIDE, SIDE), latent_dim=SIDE).double()
    sums = torch.eye(SIDE, dtype=torch.float64).repeat_interleave(SIDE, 1)
    encoder, decoder = (layer for layer in model.modules() if isinstance(layer, nn.Linear))
    with torch.no_grad():
        for layer, weight in ((encoder, sums), (decoder, sums.mT)):
            layer.weight.copy_(weight)
            layer.bias.zero_()
    return model


def _answers() -> Iterator[Answer]:
    """Erased is the upper row, two pixels; a shift changes one pixel at either end of a row.

    In pixels that is 2 against 4 where there are two rows, and a tie where there is one. The code takes no notice of a
    shift, and loses 2 with a row. The decoder spreads a row's ink over all of it, |2 − x|² = 18 where the row erased
    leaves 2, so that the reconstruction prefers what was erased. A picture of two rows becomes one of the other class;
    what is left of one row is nothing, and nearer to one row than to two. Variances are over COUNT − 1.
    """
    for by in ("squared_error", "cross_entropy"):
        yield Answer(f"wrong_by_{by}", 0.75)
    yield Answer("wrong_by_reconstruction", 1.0)
    yield Answer("wrong_by_code", 0.0)
    yield Answer("wrong_by_posterior", 0.0)
    spread = COUNT / (COUNT - 1) / 4  # the variance of a pixel of the second row, of which there are two
    yield Answer("shifted_in_pixels", math.sqrt((4 + 2) / 2 / (2 * 2 * spread)))
    yield Answer("erased_in_pixels", math.sqrt(2 / (2 * 2 * spread)))
    yield Answer("shifted_in_code", 0.0)
    yield Answer("erased_in_code", math.sqrt(4 / (2 * 4 * spread)))
    for name, share in (("unaltered", 1.0), ("shifted", 1.0), ("erased", 0.5)):
        yield Answer(f"{name}_as_class", share)
