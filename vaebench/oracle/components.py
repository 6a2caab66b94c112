"""Components of a mixture: exponential families with a temperature, and which of their parameters are almost equal."""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Float64
from torch import Tensor


class Component(ABC):
    """p(x|y)^{1/τ} = exp(x·a(y) + b(y) + c(x)).

    Args:
        temperature: τ.
    """

    def __init__(self, temperature: float) -> None:
        self.temperature = temperature

    @abstractmethod
    def natural(self, y: Float64[Tensor, "J D"]) -> tuple[Float64[Tensor, "J D"], Float64[Tensor, " J"]]:
        """a(y) and b(y)."""

    @abstractmethod
    def unit(self, y: Float64[Tensor, "J D"]) -> Float64[Tensor, "J D"]:
        """The variance of x under the component at τ = 1."""

    @abstractmethod
    def offset(self, x: Float64[Tensor, "N D"]) -> Float64[Tensor, " N"]:
        """c(x)."""

    def inside(self, y: Float64[Tensor, "J D"]) -> Float64[Tensor, "J D"]:
        """The nearest parameters whose natural parameters are finite."""
        return y


class Gaussian(Component):
    """exp(−|x − y|²/2τ)."""

    def natural(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return y / self.temperature, -y.square().sum(1) / (2 * self.temperature)

    def unit(self, y: Tensor) -> Tensor:
        return torch.ones_like(y)

    def offset(self, x: Tensor) -> Tensor:
        return -x.square().sum(1) / (2 * self.temperature)


class Bernoulli(Component):
    """Π_d (y_d^x_d (1 − y_d)^{1 − x_d})^{1/τ}."""

    def natural(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return torch.logit(y) / self.temperature, torch.log1p(-y).sum(1) / self.temperature

    def unit(self, y: Tensor) -> Tensor:
        return y * (1 - y)

    def offset(self, x: Tensor) -> Tensor:
        return x.new_zeros(len(x))

    def inside(self, y: Tensor) -> Tensor:
        return y.clamp(1e-12, 1 - 1e-12)


def divergence(component: Component, y: Float64[Tensor, "J D"], z: Float64[Tensor, "K D"]) -> Float64[Tensor, "J K"]:
    """(y − z)·(η(y) − η(z)), the symmetric divergence of two components; for a Gaussian |y − z|²/τ."""
    (a, _), (b, _) = component.natural(y), component.natural(z)
    return ((a * y).sum(1)[:, None] + (b * z).sum(1)) - a @ z.mT - y @ b.mT


def distinct_order(component: Component, y: Tensor, score: Tensor, least: float) -> tuple[Tensor, Tensor]:
    """Indices of the places that are not close to one with a higher score, the highest first; and for every place the
    index of the place that stands for it."""
    stands, chosen = torch.full((len(y),), -1), torch.empty(0, dtype=torch.long)  # on the CPU: read one by one
    for part in score.argsort(descending=True).cpu().split(256):
        if len(chosen):
            close = (divergence(component, y[part], y[chosen]) <= least).cpu()
            near = close.any(1)
            stands[part[near]] = chosen[close[near].to(torch.uint8).argmax(1)]
            part = part[~near]
        among, new = (divergence(component, y[part], y[part]) <= least).cpu(), list[int]()
        for i, row in enumerate(among):
            if stands[part[i]] < 0:
                new.append(i)
                stands[part[row & (stands[part] < 0)]] = part[i]
                stands[part[i]] = part[i]
        chosen = torch.cat([chosen, part[new]])
    return chosen.to(y.device), stands.to(y.device)
