"""The mean of a data set, and the eigenvalues and eigenvectors of its covariance, with a bound on their rounding."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

EPS = torch.finfo(torch.float64).eps


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Mean and principal directions of a data set, in float64; the covariance U Λ Uᵀ is divided by N.

    It is always on the CPU, and so is everything that the oracle computes from it.
    """

    mean: Float[Tensor, " D"]  # `[D]`
    eigenvalues: Float[Tensor, " D"]  # λ_1 ≥ … ≥ λ_D ≥ 0
    directions: Float[Tensor, "D D"]  # U, the principal directions as columns `[D, D]`
    # a bound on the rounding error of an eigenvalue; 0 if they were given. Eigenvalues that are closer than this count
    # as equal.
    resolution: float = 0.0

    @classmethod
    def of(cls, x: Shaped[Tensor, "N *event"], scale: float = 1.0) -> "Spectrum":
        """Compute the spectrum of the flattened observations x / scale.

        The data is converted to float64 piece by piece, so that a uint8 data set needs little memory.

        Raises:
            ValueError: on no observations, or on any that is not finite.
        """
        if x.ndim < 2 or not len(x):
            raise ValueError(f"expected observations [N, ...] with N ≥ 1, got a tensor of shape {tuple(x.shape)}")
        centre = torch.stack([part.sum(0) for part in _pieces(x, scale)]).sum(0) / len(x)
        if not bool(centre.isfinite().all()):
            raise ValueError("expected finite observations, got NaN or inf; clean the data first")
        products = torch.stack([(part - centre).mT @ (part - centre) for part in _pieces(x, scale)])
        mean, covariance = centre.cpu(), products.sum(0).cpu() / len(x)
        values, vectors = torch.linalg.eigh(covariance)
        # Backward error of the sums over N and of the eigensolver over D, and the loss by centring around a large mean.
        rounding, size = 4 * EPS * max(len(mean), len(x) ** 0.5), float(values[-1].clamp(min=0).sqrt())
        offset = float(mean.norm())
        resolution = rounding * (size + rounding * offset) * (size + offset)
        return cls(mean, torch.where(values > resolution, values, 0.0).flip(0), vectors.flip(1), resolution)

    @classmethod
    def given(
        cls,
        eigenvalues: Sequence[float] | Float[Tensor, " D"],
        directions: Float[Tensor, "D D"] | None = None,
        mean: Float[Tensor, " D"] | None = None,
    ) -> "Spectrum":
        """Make a spectrum from exact eigenvalues; the directions are the coordinate axes unless they are given.

        Raises:
            ValueError: if there is no eigenvalue, or if one is negative or not finite.
        """
        values = torch.as_tensor(eigenvalues, dtype=torch.float64)
        if values.ndim != 1 or not len(values) or not bool(((values >= 0) & values.isfinite()).all()):
            raise ValueError(f"expected eigenvalues of a covariance, finite and ≥ 0, got {values.tolist()}")
        order = torch.argsort(values, descending=True, stable=True)
        axes = torch.eye(len(values), dtype=torch.float64) if directions is None else directions.double()
        return cls(torch.zeros_like(values) if mean is None else mean.double(), values[order], axes[:, order])

    @property
    def dim(self) -> int:
        """D."""
        return len(self.mean)

    @property
    def rank(self) -> int:
        """The number of directions with positive variance."""
        return int((self.eigenvalues > 0).sum())

    @property
    def covariance(self) -> Float[Tensor, "D D"]:
        """U Λ Uᵀ."""
        return (self.directions * self.eigenvalues) @ self.directions.mT

    @property
    def points(self) -> Float[Tensor, "P D"]:
        """2D points μ ± √(D λ_i) u_i with exactly this mean and covariance.

        A quadratic function of x, such as the ELBO of a linear-Gaussian model, has the same mean over these points as
        over the data.
        """
        steps = (self.directions * (self.dim * self.eigenvalues).sqrt()).mT
        return self.mean + torch.cat([steps, -steps])

    def count_above(self, level: float) -> int:
        """Count the eigenvalues above a level ≥ 0. An eigenvalue that equals the level up to rounding is not counted.

        >>> Spectrum.given([3.0, 2.0, 1.0]).count_above(2.0)
        1
        """
        return int((self.eigenvalues - self.resolution > level * (1 + 4 * EPS)).sum())

    @cached_property
    def _tails(self) -> list[float]:
        """Σ_{i>q} λ_i for q = 0 … D, summed from the small end."""
        sums = self.eigenvalues.flip(0).cumsum(0).flip(0)
        return [*sums.tolist(), 0.0]

    def tail(self, q: int) -> float:
        """Σ_{i>q} λ_i, the variance outside the first q directions.

        >>> Spectrum.given([3.0, 2.0, 1.0]).tail(1)
        3.0
        """
        return self._tails[q]

    def total_without(self, kept: Sequence[int]) -> float:
        """The variance outside a set of directions."""
        left = torch.ones(self.dim, dtype=torch.bool)
        left[list(kept)] = False
        return float(self.eigenvalues[left].flip(0).sum())


def _pieces(x: Shaped[Tensor, "N *event"], scale: float) -> Iterator[Float[Tensor, "M D"]]:
    return (part.flatten(1).double() / scale for part in x.split(4096))
