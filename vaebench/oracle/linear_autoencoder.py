"""The optimum of a linear autoencoder: plain, denoising, or with weight decay."""

from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from vaebench.oracle.spectrum import Spectrum


@dataclass(frozen=True, eq=False)
class LinearAutoencoder:
    """The map x ↦ μ + W(x − μ) that an optimal linear autoencoder with L units computes: W = Σ_{i≤L} g_i u_i u_iᵀ.

    The u_i are the first principal directions. Their axes in the code are not determined, only W is.

    - Plain: g_i = 1 (Baldi & Hornik 1989). The mean squared error is Σ_{i>L} λ_i.
    - Denoising, x corrupted by s·ε: g_i = λ_i/(λ_i + s²).
    - Mean squared error + c(‖W₁‖² + ‖W₂‖²), c the weight decay: g_i = max(0, 1 − c/λ_i) (Kunin et al. 2019). A unit
      dies at c ≥ λ_i.

    Attributes:
        spectrum: of the data.
        latent_dim: L.
        noise: s², the variance of the corruption.
        decay: c. It is not combined with a corruption.

    Raises:
        ValueError: if there are both noise and decay.

    >>> plain = LinearAutoencoder(Spectrum.given([3.0, 1.0]), 1)
    >>> plain.gains.tolist(), plain.squared_error
    ([1.0, 0.0], 1.0)
    """

    spectrum: Spectrum
    latent_dim: int
    noise: float = 0.0
    decay: float = 0.0

    def __post_init__(self) -> None:
        if self.noise and self.decay:
            raise ValueError("expected noise or decay; no closed form is known for both together")

    @property
    def gains(self) -> Float64[Tensor, " D"]:
        """g_i of every principal direction; 0 beyond the first L, and where the data has no variance."""
        values = self.spectrum.eigenvalues
        gains = torch.where(values > 0, values / (values + self.noise), 0.0)
        if self.decay:
            gains = (1 - self.decay / values).clamp(min=0)
        return torch.where(torch.arange(len(values)) < self.latent_dim, gains, 0.0)

    @property
    def matrix(self) -> Float64[Tensor, "D D"]:
        """W."""
        return (self.spectrum.directions * self.gains) @ self.spectrum.directions.mT

    @property
    def squared_error(self) -> float:
        """E‖x − μ − W(x̃ − μ)‖², where x̃ has the corruption."""
        values, gains = self.spectrum.eigenvalues, self.gains
        return float((values * (1 - gains).square() + self.noise * gains.square()).sum())
