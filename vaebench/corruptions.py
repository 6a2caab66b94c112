"""What a denoising autoencoder does to its input (Vincent et al. 2010). Randomness is an argument: pure functions."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from vaebench.registry import CORRUPTIONS, Fraction, NonNegative


class Corruption(ABC):
    """A random map of observations to observations."""

    def draw(self, shape: tuple[int, ...], generator: torch.Generator) -> Float[Tensor, "*shape"]:
        """The randomness that `__call__` takes: uniform on [0, 1), one a pixel, unless a subclass needs another."""
        return torch.rand(shape, generator=generator, device=generator.device)

    @abstractmethod
    def __call__(self, x: Float[Tensor, "B *event"], noise: Float[Tensor, "B *event"]) -> Float[Tensor, "B *event"]:
        """The corrupted observations."""


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
    """Pixels set to zero.

    Args:
        fraction: the probability of each.
    """

    def __init__(self, *, fraction: Fraction = 0.25) -> None:
        self.fraction = fraction

    def __call__(self, x: Tensor, noise: Tensor) -> Tensor:
        return torch.where(noise < self.fraction, 0.0, x)


@CORRUPTIONS.register
class SaltAndPepper(Corruption):
    """Pixels set to zero or to one with equal probability.

    Args:
        fraction: the probability that a pixel is touched.
    """

    def __init__(self, *, fraction: Fraction = 0.25) -> None:
        self.fraction = fraction

    def __call__(self, x: Tensor, noise: Tensor) -> Tensor:
        salted = torch.where(noise < self.fraction, 1.0, x)
        return torch.where(noise < self.fraction / 2, 0.0, salted)
