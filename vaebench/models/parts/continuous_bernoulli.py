"""The continuous Bernoulli distribution, accurate to rounding for every logit.

torch's own class converts the logit to a probability and clamps it to [eps, 1 − eps]. In float32, beyond a logit of 16,
its density no longer integrates to one, and its gradient is zero. Here everything is computed from the logit.

Loaiza-Ganem & Cunningham 2019: https://arxiv.org/abs/1907.06845
"""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Size, Tensor
from torch.autograd import Function
from torch.distributions import Distribution, constraints

SMALLEST = 1e-30  # at logits below this magnitude, the density equals that of the uniform distribution to the last bit

SERIES = tuple(
    numerator / denominator * 1 / math.factorial(2 * k)
    for k, (numerator, denominator) in enumerate(
        [
            *((1, 6), (-1, 30), (1, 42), (-1, 30), (5, 66), (-691, 2730), (7, 6), (-3617, 510), (43867, 798)),
            *((-174611, 330), (854513, 138)),
        ],
        1,
    )
)
"""B_2k/(2k)! with Bernoulli numbers B: E[x] − ½ = Σ_k B_2k/(2k)! η^(2k−1). At |η| ≤ 1 each term is 1/39 of the one
before."""


class ContinuousBernoulli(Distribution):
    """p(x) = e^(ηx) · η/(e^η − 1) on [0, 1] with logit η (Loaiza-Ganem & Cunningham 2019); uniform at η = 0.

    At every finite logit, densities, means and their gradients have a relative error of a few units in the last place.

    Args:
        logits: η, any shape.

    >>> ContinuousBernoulli(torch.zeros(1)).log_prob(torch.tensor([0.3])).tolist()
    [0.0]
    """

    arg_constraints = {"logits": constraints.real}  # noqa: RUF012 (as torch declares it)
    support = constraints.unit_interval
    has_rsample = False

    def __init__(self, logits: Float[Tensor, "..."], validate_args: bool | None = None) -> None:
        self.logits = logits
        super().__init__(logits.shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "ContinuousBernoulli":
        return ContinuousBernoulli(self.logits.expand(batch_shape), validate_args=False)

    @property
    def mean(self) -> Tensor:
        """E[x] = 1/(1 − e^−η) − 1/η."""
        return _nearest(self.logits) + _beyond(self.logits)

    @property
    def variance(self) -> Tensor:
        """Var[x] = dE[x]/dη = 1/η² − e^−|η|/(1 − e^−|η|)²."""
        size = self.logits.abs()
        small, large = size.clamp(max=1).square(), size.clamp(min=1)
        slopes = [(2 * k + 1) * c for k, c in enumerate(SERIES)]
        decay = (-large).exp()
        return torch.where(size < 1, _polynomial(small, slopes), large.square().reciprocal() - decay / (1 - decay) ** 2)

    def log_prob(self, value: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        if self._validate_args:
            self._validate_sample(value)
        density: Tensor = _LogDensity.apply(*torch.broadcast_tensors(self.logits, value))
        return density

    def entropy(self) -> Tensor:
        """−E[log p(x)] = −log p(E[x]): log p is linear in x."""
        return -self.log_prob(self.mean)

    def cdf(self, value: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """P[X ≤ x], computed from the end of [0, 1] that has most of the mass."""
        if self._validate_args:
            self._validate_sample(value)
        size = self.logits.abs().clamp(min=SMALLEST)
        falling = torch.expm1(-size * value) / torch.expm1(-size)
        return torch.where(self.logits > 0, (size * (value - 1)).exp() * falling, falling)

    def icdf(self, value: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The quantile: x with P[X ≤ x] = value."""
        size = self.logits.abs().clamp(min=SMALLEST)
        rising = self.logits > 0
        share = torch.where(rising, 1 - value, value)
        distance = (-torch.log1p(share * torch.expm1(-size)) / size).clamp(0, 1)
        return torch.where(rising, 1 - distance, distance)

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Sample by inversion, with torch's global generator."""
        shape = self._extended_shape(Size(sample_shape))
        return self.icdf(torch.rand(shape, dtype=self.logits.dtype, device=self.logits.device))


class _LogDensity(Function):
    """log p(x) with its gradient in closed form. Autograd would lose digits by cancellation near a logit of zero."""

    generate_vmap_rule = True

    @staticmethod
    def forward(logit: Tensor, x: Tensor) -> Tensor:
        # Relative to the end with most of the mass. This way no large numbers are subtracted.
        size = logit.abs().clamp(min=SMALLEST)
        return (size / torch.expm1(-size).neg()).log() + logit * (x - (logit > 0).to(x.dtype))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        logit, x = ctx.saved_tensors
        by_logit, by_x = ctx.needs_input_grad
        return (
            gradient * ((x - _nearest(logit)) - _beyond(logit)) if by_logit else None,
            gradient * logit if by_x else None,
        )


def _nearest(logit: Tensor) -> Tensor:
    """The reference point for the mean: 0, ½ or 1, the mean at a logit of −∞, 0 or ∞."""
    return torch.where(logit.abs() < 1, 0.5, (logit > 0).to(logit.dtype))


def _beyond(logit: Tensor) -> Tensor:
    """The mean minus `_nearest`."""
    size = logit.abs()
    small, large = logit.clamp(-1, 1), size.clamp(min=1)
    decay = (-large).exp()
    return torch.where(
        size < 1, small * _polynomial(small.square(), SERIES), logit.sign() * (decay / (1 - decay) - large.reciprocal())
    )


def _polynomial(x: Tensor, coefficients: Any) -> Tensor:
    """Σ_k c_k x^k for 0 ≤ x ≤ 1, without the terms that are below the precision of x."""
    eps = torch.finfo(x.dtype).eps
    used = [c for c in coefficients if abs(c) > 0.01 * eps * abs(coefficients[0])]
    total = torch.full_like(x, used[-1])
    for c in reversed(used[:-1]):
        total = total * x + c
    return total
