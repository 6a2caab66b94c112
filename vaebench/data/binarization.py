"""How grey levels become black and white.

A grey level p in [0, 1] is read as the probability that a pixel is on. The randomness is an argument: u is uniform on
[0, 1), one number a pixel. What evaluation sees is drawn once, by `evaluated`, from a constant seed: runs of every seed
are measured on the same pixels.
"""

import zlib
from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped, UInt8
from torch import Tensor

from vaebench.config.registry import BINARIZATIONS

CHUNK = 4096
"""Examples binarised at once, so that a large data set never stands in memory as float64."""


class Binarization(ABC):
    """A rule from a grey level and a uniform number to black or white.

    Attributes:
        every_time: whether training draws a pixel anew every time it sees it, rather than as evaluation does, once.
    """

    support = "binary"
    every_time: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, p: Float[Tensor, "*shape"], u: Float[Tensor, "*shape"]) -> Bool[Tensor, "*shape"]:
        """Which pixels are on."""

    @property
    def name(self) -> str:
        """The name in YAML and in tables."""
        return type(self).__name__


@BINARIZATIONS.register
class Threshold(Binarization):
    """x = 1 where p ≥ ½; nothing is random."""

    def __call__(self, p: Float[Tensor, "*shape"], u: Float[Tensor, "*shape"]) -> Bool[Tensor, "*shape"]:
        return p >= 0.5


@BINARIZATIONS.register
class Fixed(Binarization):
    """x ~ Bernoulli(p), one seeded sample an example, the same in every epoch and run."""

    def __call__(self, p: Float[Tensor, "*shape"], u: Float[Tensor, "*shape"]) -> Bool[Tensor, "*shape"]:
        return u < p


@BINARIZATIONS.register
class Dynamic(Fixed):
    """x ~ Bernoulli(p), anew every time an example is seen in training; evaluation sees the one sample of `Fixed`.

    The practice of Burda et al. 2016, "Importance weighted autoencoders".
    """

    every_time: ClassVar[bool] = True


def evaluated(
    binarization: Binarization, x: Shaped[Tensor, "N *shape"], scale: float, split: str
) -> UInt8[Tensor, "N *shape"]:
    """A whole split as evaluation sees it, 0 or 1, on the CPU.

    Args:
        binarization: the rule.
        x: raw observations; grey levels are `x / scale`.
        scale: the raw value that stands for white.
        split: the name of the split; each has random numbers of its own.

    The numbers come from NumPy's RandomState, whose streams are frozen by NumPy's promise, since a bound published
    today must be measured on the same pixels tomorrow.
    """
    random = np.random.RandomState(zlib.crc32(f"binarization of {split}".encode()))
    on = torch.empty(x.shape, dtype=torch.uint8)
    for rows, out in zip(x.cpu().split(CHUNK), on.split(CHUNK), strict=True):
        out.copy_(binarization(rows.double() / scale, torch.from_numpy(random.random_sample(rows.shape))))
    return on
