"""The linear-Gaussian model and its linear posterior, in closed form and in float64.

z ~ N(0, I), x|z ~ N(Wz + μ, σ²I), q(z|x) = N(Vx + b, C). Nats per observation.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import MultivariateNormal


class RateDecomposition(NamedTuple):
    """R = I_q(x;z) + KL(q(z)‖p(z)), and KL(q(z)‖p(z)) = TC + Σ_i KL(q(z_i)‖p(z_i)) (Hoffman & Johnson 2016; Chen et al.
    2018), each exact, for a linear posterior over observations that are Gaussian themselves.
    """

    rate: float
    mutual_information: float
    aggregate_kl: float
    total_correlation: float
    dimension_kl: Float[Tensor, " L"]

    def split_bias(self, n: int) -> float:
        """The expected error of the mutual information measured on n observations, to first order.

        The measurement uses q(z) = (1/n) Σ q(z|x_i) instead of the population's q(z). This makes E[log q(z)] too high
        by (e^{2I} − 1)/2n, where e^{2I} is the mean density ratio q(z|x)/q(z) of Gaussian variables. Valid if e^{2I} ≪
        n.
        """
        return -math.expm1(2 * self.mutual_information) / (2 * n)


@dataclass(frozen=True, eq=False)
class LinearPosterior:
    """q(z|x) = N(Vx + b, C), one covariance for all x."""

    weight: Float[Tensor, "L D"]  # V, `[L, D]`
    bias: Float[Tensor, " L"]  # b, `[L]`
    covariance: Float[Tensor, "L L"]  # C, `[L, L]`; diagonal in a linear VAE (`diagonal`), full in an exact posterior

    @classmethod
    def diagonal(
        cls, weight: Float[Tensor, "L D"], bias: Float[Tensor, " L"], variance: Float[Tensor, " L"]
    ) -> "LinearPosterior":
        """The posterior of a linear VAE, whose latent units are independent given x."""
        return cls(weight.double(), bias.double(), torch.diag(variance.double()))

    def independent(self) -> "LinearPosterior":
        """The q with independent units that is nearest to this one in KL(q‖·): same means, variances 1/(C⁻¹)_ii.

        A diagonal posterior loses at least KL = ½ (Σ_i log (C⁻¹)_ii + log det C) nats, whatever x.
        """
        precision = torch.linalg.inv(self.covariance).diagonal()
        return LinearPosterior.diagonal(self.weight, self.bias, 1 / precision)

    def mean(self, x: Float[Tensor, "N D"]) -> Float[Tensor, "N L"]:
        """E_q[z|x]."""
        return x.double() @ self.weight.mT + self.bias

    def at(self, x: Float[Tensor, "N D"]) -> MultivariateNormal:
        """q(z|x) as a distribution of batch shape `[N]`."""
        return MultivariateNormal(self.mean(x), self.covariance)

    def rate(self, x: Float[Tensor, "N D"]) -> Float[Tensor, " N"]:
        """KL(q(z|x)‖N(0, I)); infinite if a unit has no posterior variance."""
        spread = self.covariance.trace() - len(self.bias) - torch.logdet(self.covariance)
        return 0.5 * (spread + self.mean(x).square().sum(-1))

    def rate_per_unit(self, x: Float[Tensor, "N D"]) -> Float[Tensor, "N L"]:
        """KL(q(z_i|x)‖N(0, 1)) of each unit."""
        variance = self.covariance.diagonal()
        return 0.5 * (variance + self.mean(x).square() - 1 - variance.log())

    def decompose(self, mean: Float[Tensor, " D"], covariance: Float[Tensor, "D D"]) -> RateDecomposition:
        """The rate and its parts over x ~ N(mean, covariance), where q(z) = N(V·mean + b, V·covariance·Vᵀ + C)."""
        centre = self.weight @ mean.double() + self.bias
        aggregate = self.weight @ covariance.double() @ self.weight.mT + self.covariance
        variance, log_det = aggregate.diagonal(), torch.logdet(aggregate)
        dimension_kl = 0.5 * (variance + centre.square() - 1 - variance.log())
        information = 0.5 * float(log_det - torch.logdet(self.covariance))
        correlation = 0.5 * float(variance.log().sum() - log_det)
        aggregate_kl = correlation + float(dimension_kl.sum())
        return RateDecomposition(information + aggregate_kl, information, aggregate_kl, correlation, dimension_kl)


@dataclass(frozen=True, eq=False)
class ProbabilisticPCA:
    """x ~ N(μ, WWᵀ + σ²I) through z ~ N(0, I), x|z ~ N(Wz + μ, σ²I) (Tipping & Bishop 1999)."""

    mean: Float[Tensor, " D"]  # μ, `[D]`
    weight: Float[Tensor, "D L"]  # W, `[D, L]`; L may exceed D
    # σ² > 0. With one value for each coordinate, `[D]`, the model is factor analysis, and all formulas hold.
    variance: float | Float[Tensor, "*V"]

    @property
    def latent_dim(self) -> int:
        """L."""
        return self.weight.shape[1]

    @cached_property
    def noise(self) -> Float[Tensor, " D"]:
        """σ² of every coordinate."""
        return torch.as_tensor(self.variance, dtype=torch.float64).expand(len(self.mean))

    @property
    def covariance(self) -> Float[Tensor, "D D"]:
        """WWᵀ + σ²I."""
        weight = self.weight.double()
        return weight @ weight.mT + torch.diag(self.noise)

    @cached_property
    def _whitened(self) -> tuple[Tensor, Tensor, Tensor]:
        """The SVD W/σ = U S Rᵀ: U `[D, K]`, S `[K]`, Rᵀ `[K', L]`; Rᵀ is complete if L > D.

        Formulas in U, S and R avoid cancellation for every σ², however small.
        """
        scaled = self.weight.double() / self.noise.sqrt()[:, None]
        left, singular, right = torch.linalg.svd(scaled, full_matrices=self.latent_dim > len(self.mean))
        return left, singular, right

    def log_prob(self, x: Float[Tensor, "N D"]) -> Float[Tensor, " N"]:
        """The evidence log p(x) = log N(x; μ, WWᵀ + σ²I)."""
        left, singular, _ = self._whitened
        residual = (x.double() - self.mean) / self.noise.sqrt()
        inside = residual @ left
        outside = residual - inside @ left.mT
        square = (inside.square() / (1 + singular.square())).sum(-1) + outside.square().sum(-1)
        log_det = torch.log1p(singular.square()).sum() + self.noise.log().sum()
        return -0.5 * (square + log_det + len(self.mean) * math.log(2 * math.pi))

    @cached_property
    def posterior(self) -> LinearPosterior:
        """The exact p(z|x): covariance (I + WᵀW/σ²)⁻¹, mean covariance · Wᵀ(x − μ)/σ²."""
        left, singular, right = self._whitened
        shrink = torch.ones(len(right), dtype=torch.float64)
        shrink[: len(singular)] = 1 / (1 + singular.square())
        covariance = (right.mT * shrink) @ right
        gain = (right[: len(singular)].mT * (singular * shrink[: len(singular)])) @ left.mT / self.noise.sqrt()
        return LinearPosterior(gain, -gain @ self.mean.double(), 0.5 * (covariance + covariance.mT))

    @property
    def mutual_information(self) -> float:
        """I(x;z) = ½ log det(I + WᵀW/σ²) under the model; it equals the mean rate of the exact posterior."""
        return 0.5 * float(torch.log1p(self._whitened[1].square()).sum())

    def sample(self, n: int, generator: torch.Generator) -> tuple[Float[Tensor, "N D"], Float[Tensor, "N L"]]:
        """Draw n observations, and return them with their latent variables."""
        z = torch.randn(n, self.latent_dim, generator=generator, dtype=torch.float64)
        noise = torch.randn(n, len(self.mean), generator=generator, dtype=torch.float64)
        return z @ self.weight.double().mT + self.mean + noise * self.noise.sqrt(), z


def expectation_maximisation(
    model: ProbabilisticPCA, covariance: Float[Tensor, "D D"], fits_variance: bool = True
) -> ProbabilisticPCA:
    """One iteration of EM, which never lowers the mean log p(x) (Tipping & Bishop 1999, eq. 29 and 30).

    W ← SW(σ²I + M⁻¹WᵀSW)⁻¹, σ² ← tr(S − SWM⁻¹W'ᵀ)/D, with M = WᵀW + σ²I and the new W'. Its fixed points are the
    stationary points of the likelihood; from almost every W it converges to the maximum.

    Args:
        model: with one σ² and the mean of the data.
        covariance: S, of the data, divided by N.
        fits_variance: whether σ² changes too.
    """
    weight, sigma2 = model.weight.double(), model.noise[0]
    identity, products = torch.eye(model.latent_dim, dtype=torch.float64), covariance.double() @ weight
    inverse = torch.linalg.inv(weight.mT @ weight + sigma2 * identity)
    updated = torch.linalg.solve((sigma2 * identity + inverse @ weight.mT @ products).mT, products.mT).mT
    if fits_variance:
        left = covariance.diagonal().sum() - ((products @ inverse) * updated).sum()
        sigma2 = left / len(model.mean)
    return ProbabilisticPCA(model.mean, updated, sigma2)


def distortion(x: Float[Tensor, "N D"], model: ProbabilisticPCA, posterior: LinearPosterior) -> Float[Tensor, " N"]:
    """−E_q[log p(x|z)] in closed form, −D/2·log 2πσ² included."""
    precision = 1 / model.noise
    weight = model.weight.double()
    residual = x.double() - model.mean - posterior.mean(x) @ weight.mT
    spread = (weight.mT @ (weight * precision[:, None]) * posterior.covariance).sum()
    return 0.5 * ((residual.square() * precision).sum(-1) + spread + (2 * math.pi * model.noise).log().sum())


def beta_elbo(
    x: Float[Tensor, "N D"], model: ProbabilisticPCA, posterior: LinearPosterior, beta: float = 1.0
) -> Float[Tensor, " N"]:
    """E_q[log p(x|z)] − β·KL(q(z|x)‖p(z)) of every observation, in closed form; the ELBO at β = 1.

    Differentiable with respect to all arguments. At β = 0 the rate is left out, even if it is infinite.
    """
    penalty = beta * posterior.rate(x) if beta else 0.0
    return -distortion(x, model, posterior) - penalty


@dataclass(frozen=True, eq=False)
class HierarchicalGaussian:
    """z₂ ~ N(0, I), z₁|z₂ ~ N(Az₂, diag Q), x|z₁ ~ N(Bz₁ + μ, diag R), so that x ~ N(μ, B(AAᵀ + Q)Bᵀ + R)."""

    mean: Float[Tensor, " D"]  # μ, `[D]`
    lower: Float[Tensor, "D L1"]  # B, `[D, L₁]`
    variance: float | Float[Tensor, "*V"]  # R, one number or `[D]`
    upper: Float[Tensor, "L1 L2"]  # A, `[L₁, L₂]`
    spread: Float[Tensor, " L1"]  # Q, `[L₁]`

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
