"""Corruptions of the input of a denoising autoencoder (Vincent et al. 2010), pure functions of the input and noise."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from vaebench.config.registry import CORRUPTIONS, Fraction, NonNegative


class Corruption(ABC):
    """A random function from observations to observations."""

    def draw(self, shape: tuple[int, ...], generator: torch.Generator) -> Float[Tensor, "*shape"]:
        """Draw the noise for `__call__`: uniform on [0, 1), one number for each pixel, unless a subclass differs."""
        return torch.rand(shape, generator=generator, device=generator.device)

    @abstractmethod
    def __call__(self, x: Float[Tensor, "B *event"], noise: Float[Tensor, "B *event"]) -> Float[Tensor, "B *event"]:
        """Corrupt observations with the given noise."""


@CORRUPTIONS.register
class GaussianNoise(Corruption):
    """x + std·ε with ε ~ N(0, I).

    Args:
        std: standard deviation of the noise, in the units of x.
    """

    def __init__(self, *, std: NonNegative = 0.3) -> None:
        self.std = std

    def draw(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        return torch.randn(shape, generator=generator, device=generator.device)

    def __call__(self, x: Tensor, noise: Tensor) -> Tensor:
        return x + self.std * noise


@CORRUPTIONS.register
class Masking(Corruption):
    """Set random pixels to zero.

    Args:
        fraction: the probability that a pixel is set to zero.
    """

    def __init__(self, *, fraction: Fraction = 0.25) -> None:
        self.fraction = fraction

    def __call__(self, x: Tensor, noise: Tensor) -> Tensor:
        return torch.where(noise < self.fraction, 0.0, x)


@CORRUPTIONS.register
class SaltAndPepper(Corruption):
    """Set random pixels to zero or to one, with equal probability.

    Args:
        fraction: the probability that a pixel is set.
    """

    def __init__(self, *, fraction: Fraction = 0.25) -> None:
        self.fraction = fraction

    def __call__(self, x: Tensor, noise: Tensor) -> Tensor:
        salted = torch.where(noise < self.fraction, 1.0, x)
        return torch.where(noise < self.fraction / 2, 0.0, salted)
