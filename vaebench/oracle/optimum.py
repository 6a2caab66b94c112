"""What a linear VAE will come to on given data, before it is trained: the data's spectrum decides (float64).

The data's covariance (divided by N, not N − 1) is U Λ Uᵀ, λ_1 ≥ λ_2 ≥ …. A β-weighted objective with noise σ² has the
optimum of a linear VAE with noise τ = βσ² (Lucas et al. 2019; Wang & Ziyin 2022): a direction with λ_i > τ gets a
latent unit; one with λ_i ≤ τ does not pay for it, and the unit collapses. The models themselves are in
`vaebench.oracle.probabilistic_pca`.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from vaebench.oracle.probabilistic_pca import LinearPosterior, ProbabilisticPCA
from vaebench.oracle.spectrum import Spectrum


@dataclass(frozen=True, eq=False)
class StationaryPoint:
    """A point of zero gradient of the β-weighted objective: column j of W is the principal direction kept[j], scaled.

    Squared column norm λ − τ, posterior variance τ/λ, Var_x(E_q z) = 1 − τ/λ for a kept direction; 0, 1, 0 for the
    columns left over. All figures are means over the data of the spectrum, in nats per observation.

    Attributes:
        spectrum: of the data.
        kept: numbers of the principal directions (0 is the first) that have a latent unit.
        latent_dim: L.
        beta: β; at 0 this is the limit β → 0, where the rate is infinite.
        variance: σ².
    """

    spectrum: Spectrum
    kept: tuple[int, ...]
    latent_dim: int
    beta: float
    variance: float

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
        """The encoder that is optimal for this decoder under β; at β = 1 it is the model's exact posterior."""
        weight, variance = torch.zeros_like(self.model.weight.mT), torch.ones(self.latent_dim, dtype=torch.float64)
        kept = len(self.kept)
        weight[:kept] = self.model.weight[:, :kept].mT / self._kept_eigenvalues[:, None]
        variance[:kept] = self.tau / self._kept_eigenvalues
        return LinearPosterior.diagonal(weight, -weight @ self.spectrum.mean, variance)

    @property
    def kl_per_unit(self) -> Float[Tensor, " L"]:
        """½ log(λ/τ), and 0 for the columns left over."""
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
        """−(distortion + β·rate), what training maximises."""
        return -(self.distortion + (self.beta * self.rate if self.beta else 0.0))

    @property
    def evidence(self) -> float:
        """Mean log p(x) of the model, from the spectrum; the ELBO is below it by the posterior's misfit, 0 at β = 1."""
        left = self.spectrum.dim - len(self.kept)
        explained = self._kept_eigenvalues - self.tau + self.variance
        inside = (explained.log() + self._kept_eigenvalues / explained).sum()
        outside = left * math.log(self.variance) + self.spectrum.total_without(self.kept) / self.variance
        return -0.5 * (self.spectrum.dim * math.log(2 * math.pi) + float(inside) + outside)

    def variance_of_mean(self, evaluated: Spectrum | None = None) -> Float[Tensor, " L"]:
        """Var_x(E_q[z_i|x]), by which active units are counted, on the data itself or on another split of it."""
        weight = self.posterior.weight
        return ((weight @ (evaluated or self.spectrum).covariance) * weight).sum(-1)


def beta_optimum(spectrum: Spectrum, latent_dim: int, beta: float, variance: float) -> StationaryPoint:
    """The maximum of the β-weighted objective at a fixed σ²: the first min(L, #{λ_i > βσ²}) directions are kept.

    An eigenvalue equal to βσ², to its rounding, is not kept: its column would be zero.

    Raises:
        ValueError: on a latent dimension below 1, a negative β, a σ² that is not positive.
    """
    _check(latent_dim, beta)
    if not 0 < variance < math.inf:
        raise ValueError(f"expected a variance σ² > 0, got {variance}; a noiseless decoder has no density")
    kept = min(latent_dim, spectrum.count_above(beta * variance))
    return StationaryPoint(spectrum, tuple(range(kept)), latent_dim, float(beta), float(variance))


def learned_variance_optimum(spectrum: Spectrum, latent_dim: int, beta: float = 1.0) -> StationaryPoint:
    """The maximum over σ² as well: σ² = Σ_{i>q} λ_i / (D − βq), with λ_q > βσ² ≥ λ_{q+1} or q = L.

    2σ⁴ times the slope of the objective in σ² is concave in σ² (a piece of slope −(D − βq) between eigenvalues), not
    negative at 0 and negative at last, so there is one root; direction q is above it just if
    β Σ_{i>q} λ_i < (D − βq) λ_q.

    Raises:
        ValueError: if L directions carry all of the variance, so that the objective grows for ever as σ² → 0 (or, with
            βL = D, is flat there); on a latent dimension below 1 or a negative β.
    """
    _check(latent_dim, beta)
    most = min(latent_dim, spectrum.rank)
    if spectrum.tail(most) <= 0 and beta * most <= spectrum.dim:
        raise ValueError(
            f"expected the directions beyond the first {most} to carry some variance, got none (L = {latent_dim}, "
            f"rank {spectrum.rank} of D = {spectrum.dim}): σ² has no optimum; take a latent dimension below the rank, "
            "or fix σ²"
        )
    number = torch.arange(1, most + 1, dtype=torch.float64)
    room, tail = spectrum.dim - beta * number, torch.tensor([spectrum.tail(i) for i in range(1, most + 1)])
    gap = room * spectrum.eigenvalues[:most] - beta * tail
    # Rounding of the sums, and of the eigenvalues that enter them: at a tie the unit is left out.
    slack = spectrum.dim * torch.finfo(torch.float64).eps * (room.abs() * spectrum.eigenvalues[:most] + beta * tail)
    slack += (room.abs() + beta * (spectrum.dim - number)) * spectrum.resolution
    kept = int((gap > slack).sum())
    return StationaryPoint(
        spectrum, tuple(range(kept)), latent_dim, float(beta), spectrum.tail(kept) / (spectrum.dim - beta * kept)
    )


def maximum_likelihood(spectrum: Spectrum, latent_dim: int) -> StationaryPoint:
    """Probabilistic PCA at its maximum likelihood: W = U_L(Λ_L − σ²I)^½, σ² = mean of the discarded λ.

    Tipping & Bishop 1999, with R = I: the rotation at which the exact posterior is diagonal, so that it is a linear
    VAE's optimum too and `evidence` = `elbo`.

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
        """Units, of those that are not active by a measured count, whose directions lie below the threshold."""
        return self.latent_dim - max(self.active_units, measured)

    def collapsed_by_optimisation(self, measured: int) -> int:
        """Units missing from a measured count though a direction above the threshold is left for them."""
        return max(0, self.active_units - measured)

    def explain(self, measured: int) -> str:
        """A measured count beside the forecast: which units died by the objective and which by optimisation."""
        verdict = f"{measured} of {self.latent_dim} units active, {self.active_units} forecast ({self.reason})"
        if by_objective := self.collapsed_by_objective(measured):
            verdict += f"; {by_objective} collapsed by the objective: below the threshold"
        if by_optimisation := self.collapsed_by_optimisation(measured):
            verdict += f"; {by_optimisation} by optimisation: above the threshold, where training left them"
        if measured > self.active_units:
            verdict += f"; {measured - self.active_units} more than a linear optimum on this data would keep"
        return verdict


def forecast(spectrum: Spectrum, latent_dim: int, tau: float, threshold: float = 0.01) -> Forecast:
    """Active units = min(L, #{i : λ_i > τ/(1 − threshold)}), exact for a linear VAE, a reference for any other model.

    Args:
        spectrum: of the training data.
        latent_dim: L.
        tau: βσ²; of a learned σ² it is `learned_variance_optimum(…).tau`.
        threshold: the variance of the posterior's mean above which a unit counts as active (Burda et al. 2016).

    Raises:
        ValueError: on a latent dimension below 1, a negative τ, a threshold outside [0, 1).
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
