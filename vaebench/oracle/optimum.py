"""The optimum of a linear VAE on given data, in closed form from the spectrum of the data (float64).

The data's covariance (divided by N, not N − 1) is U Λ Uᵀ with λ_1 ≥ λ_2 ≥ …. An objective with weight β and noise σ²
has the optimum of a linear VAE with noise τ = βσ² (Lucas et al. 2019; Wang & Ziyin 2022). A direction with λ_i > τ gets
a latent unit. For a direction with λ_i ≤ τ the unit would cost more than it gains, so it collapses.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from vaebench.oracle.probabilistic_pca import LinearPosterior, ProbabilisticPCA
from vaebench.oracle.spectrum import Spectrum


@dataclass(frozen=True, eq=False)
class StationaryPoint:
    """A point where the gradient of the β-weighted objective is zero: column j of W is the scaled direction kept[j].

    A kept direction has squared column norm λ − τ, posterior variance τ/λ and Var_x(E_q z) = 1 − τ/λ. The remaining
    columns have 0, 1 and 0. All values are means over the data of the spectrum, in nats per observation.
    """

    spectrum: Spectrum  # of the data
    kept: tuple[int, ...]  # indices of the principal directions (0 is the first) that have a latent unit
    latent_dim: int  # L
    beta: float  # β. At 0 this is the limit β → 0, and the rate is infinite.
    variance: float  # σ²

    @property
    def tau(self) -> float:
        """The threshold τ = βσ² that an eigenvalue must exceed."""
        return self.beta * self.variance

    @cached_property
    def _kept_eigenvalues(self) -> Float[Tensor, " Q"]:
        return self.spectrum.eigenvalues[list(self.kept)]

    @cached_property
    def model(self) -> ProbabilisticPCA:
        """The decoder: W = U_kept (Λ_kept − τI)^½, and columns of zeros."""
        weight = torch.zeros(self.spectrum.dim, self.latent_dim, dtype=torch.float64)
        scale = (self._kept_eigenvalues - self.tau).clamp(min=0).sqrt()
        weight[:, : len(self.kept)] = self.spectrum.directions[:, list(self.kept)] * scale
        return ProbabilisticPCA(self.spectrum.mean, weight, self.variance)

    @cached_property
    def posterior(self) -> LinearPosterior:
        """The optimal encoder for this decoder and β; at β = 1 it is the exact posterior of the model."""
        weight, variance = torch.zeros_like(self.model.weight.mT), torch.ones(self.latent_dim, dtype=torch.float64)
        kept = len(self.kept)
        weight[:kept] = self.model.weight[:, :kept].mT / self._kept_eigenvalues[:, None]
        variance[:kept] = self.tau / self._kept_eigenvalues
        return LinearPosterior.diagonal(weight, -weight @ self.spectrum.mean, variance)

    @property
    def kl_per_unit(self) -> Float[Tensor, " L"]:
        """½ log(λ/τ) for kept directions, 0 for the remaining columns."""
        kl = torch.zeros(self.latent_dim, dtype=torch.float64)
        kl[: len(self.kept)] = 0.5 * (self._kept_eigenvalues / self.tau).log()
        return kl

    @property
    def rate(self) -> float:
        """½ Σ_kept log(λ/τ)."""
        return float(self.kl_per_unit.sum())

    @property
    def distortion(self) -> float:
        """D/2·log 2πσ² + (Σ_left λ + |kept|·τ) / 2σ²."""
        error = (self.spectrum.total_without(self.kept) + len(self.kept) * self.tau) / self.variance
        return 0.5 * (self.spectrum.dim * math.log(2 * math.pi * self.variance) + error)

    @property
    def elbo(self) -> float:
        """−(rate + distortion)."""
        return -(self.rate + self.distortion)

    @property
    def objective(self) -> float:
        """−(distortion + β·rate), which training maximises."""
        return -(self.distortion + (self.beta * self.rate if self.beta else 0.0))

    @property
    def evidence(self) -> float:
        """Mean log p(x) of the model. The ELBO is below it by KL(q(z|x)‖p(z|x)), which is 0 at β = 1."""
        left = self.spectrum.dim - len(self.kept)
        explained = self._kept_eigenvalues - self.tau + self.variance
        inside = (explained.log() + self._kept_eigenvalues / explained).sum()
        outside = left * math.log(self.variance) + self.spectrum.total_without(self.kept) / self.variance
        return -0.5 * (self.spectrum.dim * math.log(2 * math.pi) + float(inside) + outside)

    def variance_of_mean(self, evaluated: Spectrum | None = None) -> Float[Tensor, " L"]:
        """Var_x(E_q[z_i|x]), which decides whether a unit is active; on the data itself or on another split."""
        weight = self.posterior.weight
        return ((weight @ (evaluated or self.spectrum).covariance) * weight).sum(-1)


def beta_optimum(spectrum: Spectrum, latent_dim: int, beta: float, variance: float) -> StationaryPoint:
    """The maximum of the β-weighted objective at a fixed σ²: the first min(L, #{λ_i > βσ²}) directions are kept.

    An eigenvalue that equals βσ² up to rounding is not kept, because its column would be zero.

    Raises:
        ValueError: if latent_dim < 1, β < 0 or σ² ≤ 0.
    """
    _check(latent_dim, beta)
    if not 0 < variance < math.inf:
        raise ValueError(f"expected a variance σ² > 0, got {variance}; a noiseless decoder has no density")
    kept = min(latent_dim, spectrum.count_above(beta * variance))
    return StationaryPoint(spectrum, tuple(range(kept)), latent_dim, float(beta), float(variance))


def learned_variance_optimum(spectrum: Spectrum, latent_dim: int, beta: float = 1.0) -> StationaryPoint:
    """The maximum of the objective over σ² too: σ² = Σ_{i>q} λ_i / (D − βq), with λ_q > βσ² ≥ λ_{q+1} or q = L.

    The solution is unique. 2σ⁴ times the derivative of the objective with respect to σ² is concave in σ², with slope
    −(D − βq) between eigenvalues. It is not negative at 0 and becomes negative, so it has one root. Direction q lies
    above the root exactly if β Σ_{i>q} λ_i < (D − βq) λ_q.

    Raises:
        ValueError: if L directions carry all of the variance, because the objective then grows without bound as σ² → 0
            (or, with βL = D, is flat there); if latent_dim < 1 or β < 0.
    """
    _check(latent_dim, beta)
    most = min(latent_dim, spectrum.rank)
    if spectrum.tail(most) <= 0 and beta * most <= spectrum.dim:
        raise ValueError(
            f"expected the directions beyond the first {most} to carry some variance, got none (L = {latent_dim}, "
            f"rank {spectrum.rank} of D = {spectrum.dim}): σ² has no optimum; {_remedy(spectrum)}"
        )
    number = torch.arange(1, most + 1, dtype=torch.float64)
    denominator, tail = spectrum.dim - beta * number, torch.tensor([spectrum.tail(i) for i in range(1, most + 1)])
    gap = denominator * spectrum.eigenvalues[:most] - beta * tail
    # A bound on the rounding of these sums and of the eigenvalues in them. At a tie the unit is not kept.
    slack = (
        spectrum.dim * torch.finfo(torch.float64).eps * (denominator.abs() * spectrum.eigenvalues[:most] + beta * tail)
    )
    slack += (denominator.abs() + beta * (spectrum.dim - number)) * spectrum.resolution
    kept = int((gap > slack).sum())
    return StationaryPoint(
        spectrum, tuple(range(kept)), latent_dim, float(beta), spectrum.tail(kept) / (spectrum.dim - beta * kept)
    )


def _remedy(spectrum: Spectrum) -> str:
    """What can be done where the units carry all of the variance; fewer units help only where some are left."""
    if spectrum.rank > 1:
        return "take a latent dimension below the rank, or fix σ²"
    reason = "the data vary in one direction alone" if spectrum.rank else "the observations are all equal"
    return f"{reason}, so that no latent dimension leaves a variance: fix σ², or take other data"


def maximum_likelihood(spectrum: Spectrum, latent_dim: int) -> StationaryPoint:
    """Probabilistic PCA at its maximum likelihood: W = U_L(Λ_L − σ²I)^½, σ² = mean of the discarded λ.

    Tipping & Bishop 1999 with the rotation R = I. There the exact posterior is diagonal, so this is also the optimum of
    a linear VAE, and `evidence` equals `elbo`.

    Raises:
        ValueError: if no variance is discarded (L is the data's rank or more).
    """
    return learned_variance_optimum(spectrum, latent_dim)


class Forecast(NamedTuple):
    """How many of L latent units will be active, and why."""

    active_units: int
    latent_dim: int
    tau: float
    reason: str

    @property
    def collapsed_units(self) -> int:
        """The units that will not be active."""
        return self.latent_dim - self.active_units

    def collapsed_by_objective(self, measured: int) -> int:
        """The number of inactive units whose directions lie below the threshold."""
        return self.latent_dim - max(self.active_units, measured)

    def collapsed_by_optimisation(self, measured: int) -> int:
        """The number of inactive units for which a direction above the threshold remains."""
        return max(0, self.active_units - measured)

    def explain(self, measured: int) -> str:
        """Compare a measured count with the forecast, in a sentence: how many units collapsed, and why."""
        text = f"{measured} of {self.latent_dim} units active, {self.active_units} forecast ({self.reason})"
        if by_objective := self.collapsed_by_objective(measured):
            text += f"; {by_objective} collapsed by the objective: below the threshold"
        if by_optimisation := self.collapsed_by_optimisation(measured):
            text += f"; {by_optimisation} by optimisation: above the threshold, where training left them"
        if measured > self.active_units:
            text += f"; {measured - self.active_units} more than a linear optimum on this data would keep"
        return text


def forecast(spectrum: Spectrum, latent_dim: int, tau: float, threshold: float = 0.01) -> Forecast:
    """Forecast active units: min(L, #{i : λ_i > τ/(1 − threshold)}). Exact for a linear VAE, a reference for others.

    Args:
        spectrum: of the training data.
        latent_dim: L.
        tau: βσ²; for a learned σ² use `learned_variance_optimum(…).tau`.
        threshold: a unit is active if the variance of its posterior mean is above this (Burda et al. 2016).

    Raises:
        ValueError: if latent_dim < 1, τ < 0, or the threshold is outside [0, 1).

    >>> forecast(Spectrum.given([3.0, 2.0, 1.0]), latent_dim=5, tau=1.5).active_units
    2
    """
    _check(latent_dim, 1.0)
    if not (0 <= tau < math.inf and 0 <= threshold < 1):
        raise ValueError(f"expected τ ≥ 0 and 0 ≤ threshold < 1, got τ = {tau}, threshold = {threshold}")
    level = tau / (1 - threshold)
    above = spectrum.count_above(level)
    active, against = min(latent_dim, above), f"τ/(1 − {threshold:g}) = {level:.4g}"
    if above >= latent_dim:
        reason = f"λ_{active} = {spectrum.eigenvalues[active - 1]:.4g} > {against}: every unit pays for its rate"
    elif above == spectrum.dim:
        reason = f"the data has {above} directions only, all above {against}"
    else:
        reason = f"λ_{active + 1} = {spectrum.eigenvalues[active]:.4g} ≤ {against}: no further direction pays"
    return Forecast(active, latent_dim, float(tau), reason)


def _check(latent_dim: int, beta: float) -> None:
    if latent_dim < 1:
        raise ValueError(f"expected at least one latent unit, got latent_dim = {latent_dim}")
    if not 0 <= beta < math.inf:
        raise ValueError(f"expected a finite β ≥ 0, got {beta}")


@dataclass(frozen=True, eq=False)
class LinearAutoencoder:
    """The map x ↦ μ + W(x − μ) that an optimal linear autoencoder with L units computes: W = Σ_{i≤L} g_i u_i u_iᵀ.

    The u_i are the first principal directions. Their axes in the code are not determined, only W is.

    - Plain: g_i = 1 (Baldi & Hornik 1989). The mean squared error is Σ_{i>L} λ_i.
    - Denoising, x corrupted by s·ε: g_i = λ_i/(λ_i + s²).
    - Mean squared error + c(‖W₁‖² + ‖W₂‖²), c the weight decay: g_i = max(0, 1 − c/λ_i) (Kunin et al. 2019). A unit
      dies at c ≥ λ_i.

    Raises:
        ValueError: if there are both noise and decay.

    >>> plain = LinearAutoencoder(Spectrum.given([3.0, 1.0]), 1)
    >>> plain.gains.tolist(), plain.squared_error
    ([1.0, 0.0], 1.0)
    """

    spectrum: Spectrum  # of the data
    latent_dim: int  # L
    noise: float = 0.0  # s², the variance of the corruption
    decay: float = 0.0  # c. It is not combined with a corruption.

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
