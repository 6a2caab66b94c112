"""What every instrument has to say of a linear VAE, in closed form from its parameters, in float64.

An instrument that is not in `ANSWERS` is not graded. Two kinds of answer need two kinds of allowance: of the given
observations everything is known but the draws, so an estimate may miss by five of its own Monte-Carlo errors (a false
alarm in 1.7 million); of the population they came from, by five of its standard errors and its stated bias.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from vaebench.evaluation.metrics.units import GRID
from vaebench.models.linear_vae import LinearVAE
from vaebench.oracle.probabilistic_pca import (
    LinearPosterior,
    ProbabilisticPCA,
    RateDecomposition,
    beta_elbo,
    distortion,
)

ERRORS = 5
"""Standard or Monte-Carlo errors that an estimate may be off."""

NEGLIGIBLE_BIAS = 0.1
"""First-order bias, in nats, beyond which a population's mutual information is out of the split's reach."""


class Answer(NamedTuple):
    """The exact value of one quantity, and what an estimate of it may be off besides rounding.

    Attributes:
        quantity: the estimate's name.
        low: the exact answer, or its exact lower end; an array for an array.
        high: its exact upper end; the same as `low` if None.
        monte_carlo: Monte-Carlo errors allowed.
        standard: standard errors allowed.
        bias: of the estimate, to first order; half of it is allowed for the higher ones.
        scatter: standard deviation of the estimate, where it is known beforehand; `ERRORS` of them are allowed.
    """

    quantity: str
    low: float | Float[Tensor, " U"]
    high: float | None = None
    monte_carlo: float = 0
    standard: float = 0
    bias: float = 0
    scatter: float = 0


@dataclass(frozen=True, eq=False)
class LinearProblem:
    """A linear VAE and the observations it is measured on.

    Attributes:
        name: as the table has it.
        model: any linear VAE of one σ².
        x: observations, `[N, D]`.
        draws: K.
        population: what x was drawn from.
    """

    name: str
    model: LinearVAE
    x: Float[Tensor, "N D"]
    draws: int
    population: ProbabilisticPCA

    @cached_property
    def density(self) -> ProbabilisticPCA:
        """p(x) of the model."""
        return self.model.density

    @cached_property
    def posterior(self) -> LinearPosterior:
        """q(z|x) of the model."""
        return self.model.linear_posterior

    @cached_property
    def unit_kl(self) -> Float[Tensor, "N L"]:
        """KL(q(z_i|x)‖N(0, 1))."""
        variance = self.posterior.covariance.diagonal()
        return 0.5 * (variance + self.posterior.mean(self.x).square() - 1 - variance.log())

    @cached_property
    def population_rate(self) -> RateDecomposition:
        """The rate's parts over the population."""
        return self.posterior.decompose(self.population.mean, self.population.covariance)

    @property
    def elbo(self) -> float:
        """Mean ELBO."""
        return float(beta_elbo(self.x, self.density, self.posterior).mean())

    @property
    def evidence(self) -> float:
        """Mean log p(x)."""
        return float(self.density.log_prob(self.x).mean())

    @property
    def is_exact(self) -> bool:
        """Whether q(z|x) is the posterior, so that no weight differs from another."""
        return math.isclose(self.elbo, self.evidence, rel_tol=1e-9)


Answers = Iterator[Answer]


def elbo(problem: LinearProblem) -> Answers:
    yield Answer("elbo", problem.elbo, monte_carlo=ERRORS)


def iwae(problem: LinearProblem) -> Answers:
    yield Answer("iwae_1", problem.elbo, monte_carlo=ERRORS)
    for k in (5, 50, 500, 5000):
        if problem.draws % k == 0:
            yield Answer(f"iwae_{k}", problem.elbo, problem.evidence, monte_carlo=ERRORS)


def effective_sample_size(problem: LinearProblem) -> Answers:
    if problem.is_exact:
        yield Answer("effective_sample_size_median", float(problem.draws))
        yield Answer("effective_sample_size_5%", float(problem.draws))


def rate(problem: LinearProblem) -> Answers:
    yield Answer("rate", float(problem.posterior.rate(problem.x).mean()), monte_carlo=ERRORS)


def distortion_(problem: LinearProblem) -> Answers:
    exact = distortion(problem.x, problem.density, problem.posterior)
    yield Answer("distortion", float(exact.mean()), monte_carlo=ERRORS)


def kl_per_unit(problem: LinearProblem) -> Answers:
    yield Answer("kl_per_unit", problem.unit_kl.mean(0))


def collapsed_units(problem: LinearProblem) -> Answers:
    def collapsed(epsilon: float) -> Tensor:
        escaped = (problem.unit_kl >= epsilon).double().sum(0)
        return (escaped <= 0.01 * len(problem.x)).double()

    yield Answer("collapsed_units", float(collapsed(0.01).sum()))
    yield Answer("collapse_curve", torch.stack([collapsed(epsilon).mean() for epsilon in GRID]))


def active_units(problem: LinearProblem) -> Answers:
    centred = problem.x.double() - problem.x.double().mean(0)
    covariance = centred.mT @ centred / len(centred)
    weight = problem.posterior.weight
    spectrum = ((weight @ covariance) * weight).sum(-1).sort(descending=True).values
    yield Answer("active_units", float((spectrum > 0.01).sum()))
    yield Answer("variance_spectrum", spectrum)


def squared_error(problem: LinearProblem) -> Answers:
    code = problem.posterior.mean(problem.x)
    residual = problem.x.double() - problem.density.mean - code @ problem.density.weight.mT
    yield Answer("squared_error", float(residual.square().sum(-1).mean()))


def rate_decomposition(problem: LinearProblem) -> Answers:
    n, exact = len(problem.x), problem.population_rate
    yield Answer("mutual_information_cap", math.log(n))
    bias = exact.split_bias(n)
    if abs(bias) < NEGLIGIBLE_BIAS:
        yield Answer("mutual_information", exact.mutual_information, standard=ERRORS, bias=bias)
        yield Answer("aggregate_kl", exact.aggregate_kl, standard=ERRORS, bias=-bias)


def total_correlation(problem: LinearProblem) -> Answers:
    n, exact = len(problem.x), problem.population_rate
    kl = exact.dimension_kl
    # The information of one unit: e^{2I} is the ratio of its aggregate variance to its posterior's.
    aggregate = (problem.posterior.weight @ problem.population.covariance @ problem.posterior.weight.mT).diagonal()
    unit_bias = float((aggregate / problem.posterior.covariance.diagonal()).sum()) / (2 * n)
    whole = -exact.split_bias(n)
    if whole < NEGLIGIBLE_BIAS:
        yield Answer("total_correlation", exact.total_correlation, standard=ERRORS, bias=whole - unit_bias)
        yield Answer("dimension_kl", float(kl.sum()), standard=ERRORS, bias=unit_bias)


ANSWERS: dict[str, Callable[[LinearProblem], Answers]] = {
    "ELBO": elbo,
    "IWAE": iwae,
    "EffectiveSampleSize": effective_sample_size,
    "Rate": rate,
    "Distortion": distortion_,
    "KLPerUnit": kl_per_unit,
    "RateDecomposition": rate_decomposition,
    "TotalCorrelation": total_correlation,
    "ActiveUnits": active_units,
    "CollapsedUnits": collapsed_units,
    "SquaredError": squared_error,
}
"""The exact answers to each instrument's questions."""
