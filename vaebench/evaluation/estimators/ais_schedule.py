"""The schedule of an annealing path: its temperatures, and the scale and directions of its distributions.

Both follow from the curvature H = −∂²log p(x|z)/∂z². If the prior is close to N(0, I), the precision of
f_t(z) = p(z) p(x|z)^t is close to I + t·H. In the eigenbasis of H the coordinates are independent to second order at
every t, and the scale of each is 1/√(1 + tλ_i). This is exact for a linear decoder. For other decoders it may be wrong,
which makes the sampling slower but not biased.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from vaebench.evaluation.estimators.hmc import LogDensity

GRID = 1000
"""The number of grid points for the integral of the speed. They are dense where the speed is high."""

SLOWEST = 1e-3
"""Added to the speed, so that temperatures increase even where f_t does not depend on t."""


class Curvature(NamedTuple):
    """The eigenvalues and eigenvectors of H, for each of B observations.

    Attributes:
        values: λ ≥ 0, `[B, L]`.
        basis: eigenvectors in columns, `[B, L, L]`.
    """

    values: Float[Tensor, "B L"]
    basis: Float[Tensor, "B L L"]

    @classmethod
    def of(cls, log_likelihood: LogDensity, z: Float[Tensor, "P B L"]) -> "Curvature":
        """The mean curvature over P points of each observation. Negative eigenvalues are set to zero."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(log_likelihood(z).sum(), z, create_graph=True)
            # One row of the Hessian per unit: the derivative of ∂log p(x|z)/∂z_i.
            rows = [_derivative(gradient[..., i].sum(), z) for i in range(z.shape[-1])]
        hessian = -torch.stack([row.mean(0) for row in rows], -1)
        values, basis = torch.linalg.eigh(0.5 * (hessian + hessian.mT))
        return cls(values.clamp(min=0), basis)

    def scale(self, t: float) -> Float[Tensor, "B L"]:
        """1/√(1 + tλ), the standard deviations along the basis at temperature t."""
        return (1 + t * self.values).rsqrt()

    def to_basis(self, z: Float[Tensor, "C B L"]) -> Float[Tensor, "C B L"]:
        """The coordinates y = Bᵀz of z in the basis B."""
        return torch.einsum("cbl,blm->cbm", z, self.basis)

    def from_basis(self, y: Float[Tensor, "C B L"]) -> Float[Tensor, "C B L"]:
        """The latents z = By that have these coordinates."""
        return torch.einsum("cbm,blm->cbl", y, self.basis)

    def temperatures(self, count: int) -> Float64[Tensor, " T"]:
        """Temperatures 0 = t_0 < … < t_count = 1 at equal thermodynamic distances.

        They divide the length ∫ √Var_t[log p(x|z)] dt into equal parts (Gelman & Meng 1998; Grosse et al. 2013). If f_t
        is Gaussian and its means have the scale of the prior, the variance is Σ_i λ_i²s_i⁴(½ + s_i²) with the scales
        s_i at t. The mean over observations is used.

        Raises:
            ValueError: if count < 1.
        """
        if count < 1:
            raise ValueError(f"expected at least 1 interval between temperatures, got {count}")
        values = self.values.double().cpu()
        fastest = values.max().clamp(min=1e-6)
        # t = (e^{u·log(1 + λ)} − 1)/λ for u in [0, 1]: at the largest λ, 1 + tλ grows by equal factors.
        grid = torch.expm1(torch.linspace(0, 1, GRID).double() * fastest.log1p()) / fastest
        squared_scale = (1 + grid[:, None, None] * values).reciprocal()
        variance = (values * squared_scale).square() * (0.5 + squared_scale)
        speed = variance.sum(-1).mean(-1).sqrt() + SLOWEST
        length = torch.cat([torch.zeros(1).double(), torch.cumulative_trapezoid(speed, grid)])
        # Invert length(t) at equal lengths.
        wanted = torch.linspace(0, 1, count + 1).double() * length[-1]
        return torch.from_numpy(np.interp(wanted, length, grid)).clamp(0, 1)


def _derivative(value: Tensor, z: Tensor) -> Float[Tensor, "P B L"]:
    """∂value/∂z; zero if the value does not depend on z, as for a decoder that ignores z."""
    if not value.requires_grad:
        return torch.zeros_like(z)
    (derivative,) = torch.autograd.grad(value, z, retain_graph=True, allow_unused=True, materialize_grads=True)
    return derivative
