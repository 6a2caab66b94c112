"""Binarisation: rules that turn grey levels into 0 and 1, or say that they stand for the expected 0 and 1.

A grey level p in [0, 1] is the probability that a pixel is 1. The randomness is an argument: u is uniform on [0, 1),
one number for each pixel. For evaluation, `binarized` samples each split once, from a constant seed, so that runs of
every seed are measured on the same pixels.
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
"""The number of examples that are binarised at a time, so that a large data set is never in memory as float64."""


class Binarization(ABC):
    """A rule that turns a grey level and a uniform random number into 0 or 1.

    Attributes:
        every_time: whether training samples the pixels again each time it sees an example. Evaluation never does.
        is_expected: whether the grey levels stay, as the expectation of the pixels.
    """

    support = "binary"
    every_time: ClassVar[bool] = False
    is_expected: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, p: Float[Tensor, "*shape"], u: Float[Tensor, "*shape"]) -> Bool[Tensor, "*shape"]:
        """Whether each pixel is 1."""

    @property
    def name(self) -> str:
        """The name in YAML and in tables."""
        return type(self).__name__


@BINARIZATIONS.register
class Threshold(Binarization):
    """x = 1 where p ≥ ½. Nothing is random.

    >>> Threshold()(torch.tensor([0.2, 0.5]), torch.zeros(2)).tolist()
    [False, True]
    """

    def __call__(self, p: Float[Tensor, "*shape"], u: Float[Tensor, "*shape"]) -> Bool[Tensor, "*shape"]:
        return p >= 0.5


@BINARIZATIONS.register
class Fixed(Binarization):
    """x ~ Bernoulli(p), one seeded sample for each example, the same in every epoch and run.

    >>> Fixed()(torch.tensor([0.2, 0.5]), torch.tensor([0.3, 0.3])).tolist()
    [False, True]
    """

    def __call__(self, p: Float[Tensor, "*shape"], u: Float[Tensor, "*shape"]) -> Bool[Tensor, "*shape"]:
        return u < p


@BINARIZATIONS.register
class Dynamic(Fixed):
    """x ~ Bernoulli(p), sampled again each time that training sees an example; evaluation uses the sample of `Fixed`.

    As in Burda et al. 2016, "Importance weighted autoencoders": https://arxiv.org/abs/1509.00519
    """

    every_time: ClassVar[bool] = True


@BINARIZATIONS.register
class Expected(Fixed):
    """Nothing is sampled: the model sees the grey image x, and its likelihood is E[log p(b|z)] over b ~ Bernoulli(x).

    This is the cross-entropy of x in many implementations. The bounds are bounds on E[log p(b)], which is no
    log-probability of x, so they compare with no other binarisation. Only a likelihood that is linear in x takes it.
    """

    support = "expected"
    is_expected: ClassVar[bool] = True


def binarized(
    binarization: Binarization, x: Shaped[Tensor, "N *shape"], scale: float, split: str
) -> UInt8[Tensor, "N *shape"]:
    """Binarise a whole split for evaluation: 0 or 1, on the CPU.

    The random numbers come from NumPy's RandomState. NumPy promises never to change its streams, so a published bound
    can always be measured again on the same pixels.

    Args:
        x: raw observations. Grey levels are `x / scale`.
        scale: the raw value of white.
        split: the name of the split. Each split has its own random numbers.
    """
    random = np.random.RandomState(zlib.crc32(f"binarization of {split}".encode()))
    binary = torch.empty(x.shape, dtype=torch.uint8)
    for rows, out in zip(x.cpu().split(CHUNK), binary.split(CHUNK), strict=True):
        out.copy_(binarization(rows.double() / scale, torch.from_numpy(random.random_sample(rows.shape))))
    return binary
