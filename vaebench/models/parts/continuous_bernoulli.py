"""The continuous Bernoulli as a distribution, exact in the precision it is used in.

torch's own takes a logit back to a probability and clamps that to [eps, 1 − eps]: beyond a logit of 16 in float32 its
density no longer integrates to one, and its gradient is cut. Here everything is a function of the logit.
"""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Size, Tensor
from torch.autograd import Function
from torch.distributions import Distribution, constraints

SMALLEST = 1e-30
"""Logits nearer to zero than this are those of the uniform distribution, to the last bit."""

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
"""B_2k/(2k)! of Bernoulli's numbers B: E[x] − ½ = Σ_k B_2k/(2k)! η^(2k−1). At |η| ≤ 1 a term is 1/39 of the last."""


class ContinuousBernoulli(Distribution):
    """p(x) = e^(ηx) · η/(e^η − 1) on [0, 1], η the logit (Loaiza-Ganem & Cunningham 2019); uniform at η = 0.

    Densities, means and their gradients have a relative error of some units in the last place at any finite logit.

    Args:
        logits: η, one an element.
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
        """P[X ≤ x], from the end that the mass is at."""
        if self._validate_args:
            self._validate_sample(value)
        size = self.logits.abs().clamp(min=SMALLEST)
        falling = torch.expm1(-size * value) / torch.expm1(-size)
        return torch.where(self.logits > 0, (size * (value - 1)).exp() * falling, falling)

    def icdf(self, value: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The x below which a share of the mass lies."""
        size = self.logits.abs().clamp(min=SMALLEST)
        rising = self.logits > 0
        share = torch.where(rising, 1 - value, value)
        distance = (-torch.log1p(share * torch.expm1(-size)) / size).clamp(0, 1)
        return torch.where(rising, 1 - distance, distance)

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        """By the inverse of the distribution function, from torch's global generator."""
        shape = self._extended_shape(Size(sample_shape))
        return self.icdf(torch.rand(shape, dtype=self.logits.dtype, device=self.logits.device))


class _LogDensity(Function):
    """log p(x) of a logit, with its gradient in closed form: that of the operations would cancel near zero."""

    generate_vmap_rule = True

    @staticmethod
    def forward(logit: Tensor, x: Tensor) -> Tensor:
        # As the distance to the end that the mass is at: there is no difference of two large numbers.
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
    """0, ½ or 1, the one that the mean is measured from: the mean of a logit of −∞, 0 or ∞."""
    return torch.where(logit.abs() < 1, 0.5, (logit > 0).to(logit.dtype))


def _beyond(logit: Tensor) -> Tensor:
    """The mean less that."""
    size = logit.abs()
    small, large = logit.clamp(-1, 1), size.clamp(min=1)
    decay = (-large).exp()
    return torch.where(
        size < 1, small * _polynomial(small.square(), SERIES), logit.sign() * (decay / (1 - decay) - large.reciprocal())
    )


def _polynomial(x: Tensor, coefficients: Any) -> Tensor:
    """Σ_k c_k x^k at 0 ≤ x ≤ 1, the terms that matter in the precision of x."""
    eps = torch.finfo(x.dtype).eps
    used = [c for c in coefficients if abs(c) > 0.01 * eps * abs(coefficients[0])]
    total = torch.full_like(x, used[-1])
    for c in reversed(used[:-1]):
        total = total * x + c
    return total
