"""The curvature of a log-likelihood in z: what tells an annealing path how wide its distributions are, and which way.

Where the prior is near N(0, I), f_t(z) = p(z) p(x|z)^t has a precision near I + t·H, with H = −∂²log p(x|z)/∂z². In
the eigenbasis of H the units are independent to second order at every t, and 1/√(1 + tλ_i) is the scale of each. This
is exact for a linear decoder and a guide elsewhere: nothing that rests on it is biased where it is wrong, only slower.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from vaebench.evaluation.estimators.hmc import LogDensity

GRID = 1000
"""Points at which the path's speed is integrated, close where the sharpest unit makes it fast."""

SLOWEST = 1e-3
"""Added to the speed, so that temperatures rise where nothing depends on them."""


class Curvature(NamedTuple):
    """The eigenvalues and the eigenvectors of H, an observation each.

    Attributes:
        values: λ ≥ 0, `[B, L]`.
        basis: eigenvectors in columns, `[B, L, L]`.
    """

    values: Float[Tensor, "B L"]
    basis: Float[Tensor, "B L L"]

    @classmethod
    def of(cls, log_likelihood: LogDensity, z: Float[Tensor, "P B L"]) -> "Curvature":
        """The mean curvature over P points of each observation; where it is negative, zero."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(log_likelihood(z).sum(), z, create_graph=True)
            rows = [_derivative(gradient[..., i].sum(), z) for i in range(z.shape[-1])]
        hessian = -torch.stack([row.mean(0) for row in rows], -1)
        values, basis = torch.linalg.eigh(0.5 * (hessian + hessian.mT))
        return cls(values.clamp(min=0), basis)

    def scale(self, t: float) -> Float[Tensor, "B L"]:
        """1/√(1 + tλ), the standard deviations along the basis at a temperature."""
        return (1 + t * self.values).rsqrt()

    def to_basis(self, z: Float[Tensor, "C B L"]) -> Float[Tensor, "C B L"]:
        """The coordinates of z along the basis."""
        return torch.einsum("cbl,blm->cbm", z, self.basis)

    def from_basis(self, y: Float[Tensor, "C B L"]) -> Float[Tensor, "C B L"]:
        """The z of some coordinates along the basis."""
        return torch.einsum("cbm,blm->cbl", y, self.basis)

    def temperatures(self, count: int) -> Float64[Tensor, " T"]:
        """0 = t_0 < … < t_count = 1, every rise as hard as the others.

        They divide ∫ √Var_t[log p(x|z)] dt equally (thermodynamic length: Gelman & Meng 1998; Grosse et al. 2013).
        Where f_t is Gaussian and its means are of the prior's scale, the variance is Σ_i λ_i²s_i⁴(½ + s_i²), s_i the
        scale at t; it enters as the mean over observations.

        Raises:
            ValueError: if there is no rise.
        """
        if count < 1:
            raise ValueError(f"expected at least 1 rise of the temperature, got {count}")
        values = self.values.double().cpu()
        fastest = values.max().clamp(min=1e-6)
        grid = torch.expm1(torch.linspace(0, 1, GRID).double() * fastest.log1p()) / fastest
        squared_scale = (1 + grid[:, None, None] * values).reciprocal()
        variance = (values * squared_scale).square() * (0.5 + squared_scale)
        speed = variance.sum(-1).mean(-1).sqrt() + SLOWEST
        length = torch.cat([torch.zeros(1).double(), torch.cumulative_trapezoid(speed, grid)])
        wanted = torch.linspace(0, 1, count + 1).double() * length[-1]
        return torch.from_numpy(np.interp(wanted, length, grid)).clamp(0, 1)


def _derivative(value: Tensor, z: Tensor) -> Float[Tensor, "P B L"]:
    """∂value/∂z; zero where the value does not depend on z at all, as where the gradient is constant."""
    if not value.requires_grad:
        return torch.zeros_like(z)
    (derivative,) = torch.autograd.grad(value, z, retain_graph=True, allow_unused=True, materialize_grads=True)
    return derivative
