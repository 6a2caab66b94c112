"""The joint distribution of two layers of latent units, one drawn after the other."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution, Normal

from vaebench.models.parts.networks import Network
from vaebench.models.parts.posteriors import ROWS


class Conditional(nn.Module):
    """N(m(z), diag s²(z)) of one layer given the other: a network from z to m and log s².

    Args:
        network: the architecture; its encoder is used.
        given: the number of units of the layer that is given.
        units: the number of units of the layer that is drawn.
    """

    def __init__(self, network: Network, given: int, units: int) -> None:
        super().__init__()
        self.network = network.encoder((given,), 2 * units)

    def forward(self, z: Float[Tensor, "*batch G"]) -> Normal:
        mean, log_variance = self.network(z.flatten(0, -2)).unflatten(0, z.shape[:-1]).chunk(2, -1)
        return Normal(mean, (0.5 * log_variance).exp(), validate_args=False)


class TwoLayers(Distribution):
    """The distribution of z = (z₁, z₂) in which one layer is drawn first, and the other one given it.

    Upwards z₁ is first, as in a posterior q(z₁|x) q(z₂|z₁); downwards z₂ is first, as in a prior p(z₂) p(z₁|z₂).
    `mean` and `variance` are moments over fixed noises of the first layer, which are the same for each x.

    Args:
        first: the distribution of the first layer, batch shape `[B, …]`.
        given: the distribution of the other layer, as a function of the first.
        points: the fixed noises `[P, …]` of the first layer.
        upwards: whether z₁ is the first layer.
    """

    arg_constraints = {}  # noqa: RUF012 (as torch declares it)

    def __init__(self, first: Normal, given: Callable[[Tensor], Normal], points: Tensor, *, upwards: bool) -> None:
        super().__init__(first.batch_shape[:-1], validate_args=False)
        self.first, self.given, self.points, self.upwards = first, given, points, upwards

    def draw(self, noise: Float[Tensor, "*S B L"]) -> Float[Tensor, "*S B L"]:
        """The z that belongs to noise ε ~ N(0, I)."""
        ahead, behind = self._split(noise)
        drawn = self.first.mean + self.first.stddev * ahead
        other = self.given(drawn)
        return self._join(drawn, other.mean + other.stddev * behind)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            drawn = self.first.sample(sample_shape)
            return self._join(drawn, self.given(drawn).sample())

    def log_prob(self, value: Float[Tensor, "*S B L"]) -> Float[Tensor, "*S B"]:
        return self.unit_log_prob(value).sum(-1)

    def unit_log_prob(self, value: Float[Tensor, "*S B L"]) -> Float[Tensor, "*S B L"]:
        """The log-density of each unit, given the layer before its own; their sum is `log_prob`."""
        ahead, behind = self._split(value)
        return self._join(self.first.log_prob(ahead), self.given(ahead).log_prob(behind))

    @property
    def mean(self) -> Tensor:
        """E[z]."""
        return self._moments[0]

    @property
    def variance(self) -> Tensor:
        """Var[z_i]."""
        return self._moments[1]

    @cached_property
    def _moments(self) -> tuple[Tensor, Tensor]:
        first, n = self.first, len(self.points)
        points = self.points.to(first.mean).view(n, *(1,) * (first.mean.ndim - 1), -1)
        parts: list[Tensor] = []  # E[m], E[m²] and E[s²] of the other layer, a limited number of noises at a time
        for some in points.split(max(1, ROWS // max(1, first.mean[..., 0].numel()))):
            other = self.given(first.mean + first.stddev * some)
            parts.append(torch.stack([v.sum(0) for v in (other.mean, other.mean.square(), other.variance)]) / n)
        mean, squares, inner = torch.stack(parts).sum(0)
        variance = inner + (squares - mean.square()).clamp(min=0)
        return self._join(first.mean, mean), self._join(first.variance, variance)

    def _join(self, ahead: Tensor, behind: Tensor) -> Tensor:
        return torch.cat([ahead, behind] if self.upwards else [behind, ahead], -1)

    def _split(self, z: Tensor) -> tuple[Tensor, Tensor]:
        units = self.first.mean.shape[-1]
        if self.upwards:
            return z[..., :units], z[..., units:]
        return z[..., -units:], z[..., :-units]
