"""A linear-Gaussian model with two layers of latent variables, in closed form and in float64."""

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from vaebench.oracle.probabilistic_pca import LinearPosterior, ProbabilisticPCA


@dataclass(frozen=True, eq=False)
class HierarchicalGaussian:
    """z₂ ~ N(0, I), z₁|z₂ ~ N(Az₂, diag Q), x|z₁ ~ N(Bz₁ + μ, diag R), so that x ~ N(μ, B(AAᵀ + Q)Bᵀ + R).

    Attributes:
        mean: μ, `[D]`.
        lower: B, `[D, L₁]`.
        variance: R, one number or `[D]`.
        upper: A, `[L₁, L₂]`.
        spread: Q, `[L₁]`.
    """

    mean: Float[Tensor, " D"]
    lower: Float[Tensor, "D L1"]
    variance: float | Float[Tensor, "*V"]
    upper: Float[Tensor, "L1 L2"]
    spread: Float[Tensor, " L1"]

    @cached_property
    def _root(self) -> Float[Tensor, "L1 L1"]:
        """C with CCᵀ = AAᵀ + Q: z₁ = Cu, u ~ N(0, I)."""
        upper = self.upper.double()
        return torch.linalg.cholesky(upper @ upper.mT + torch.diag(self.spread.double()))

    @cached_property
    def density(self) -> ProbabilisticPCA:
        """p(x), with u for its latent variables."""
        return ProbabilisticPCA(self.mean.double(), self.lower.double() @ self._root, self.variance)

    @cached_property
    def posterior(self) -> LinearPosterior:
        """p(z₁|x)."""
        of_u = self.density.posterior
        return LinearPosterior(
            self._root @ of_u.weight, self._root @ of_u.bias, self._root @ of_u.covariance @ self._root.mT
        )

    @cached_property
    def upper_posterior(self) -> LinearPosterior:
        """p(z₂|z₁) = p(z₂|z₁, x)."""
        zero = torch.zeros_like(self.spread, dtype=torch.float64)
        return ProbabilisticPCA(zero, self.upper.double(), self.spread.double()).posterior

    def rates(self, x: Float[Tensor, "N D"]) -> tuple[float, float]:
        """E[log p(z₁|x) − log p(z₁|z₂)] and E[log p(z₂|z₁) − log p(z₂)] over the posterior and the observations."""
        first, second = self.posterior, self.upper_posterior
        moment = first.covariance + first.mean(x).mT @ first.mean(x) / len(x)  # E[z₁z₁ᵀ]
        of_second = torch.diag(second.covariance + second.weight @ moment @ second.weight.mT).sum()
        upper = 0.5 * (of_second - len(second.covariance) - torch.logdet(second.covariance))
        # E log p(z₁|z₂), from the residual z₁ − Az₂ = (I − AG)z₁ − Aε with z₂ = Gz₁ + ε.
        a = self.upper.double()
        left = torch.eye(len(a), dtype=torch.float64) - a @ second.weight
        residual = torch.diag(left @ moment @ left.mT + a @ second.covariance @ a.mT)
        spread = self.spread.double()
        lower = 0.5 * ((residual / spread).sum() + spread.log().sum() - len(a) - torch.logdet(first.covariance))
        return float(lower), float(upper)
