"""Linear VAEs with known parameters on linear-Gaussian data: every metric and estimator against its closed form.

`answers_of` gives the exact answers for each metric, computed in float64 from the parameters of a linear VAE. The cases
are optima from the oracle, and an optimum whose posterior was made wrong. There are two kinds of answers. For
quantities of the given observations only the draws are random, so an estimate may be wrong by five of its Monte-Carlo
errors (by chance, once in 1.7 million). For quantities of the population it may be wrong by five standard errors and
half its bias.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from vaebench import oracle
from vaebench.calibration.grade import ERRORS, Answer, Answers, Grade, all_graded, graded
from vaebench.calibration.model_cases import model_grades, posterior_grades, truth_grades
from vaebench.data.datamodule import DataModule
from vaebench.data.datasets.synthetic import LinearGaussian
from vaebench.data.loaders import Batch
from vaebench.evaluation.estimators.base import Estimator, evenly_spaced
from vaebench.evaluation.estimators.evidence import AnnealedImportanceSampling, NaiveMonteCarlo
from vaebench.evaluation.measure import build_metrics, estimate, measure
from vaebench.evaluation.metrics.units import GRID
from vaebench.evaluation.stationarity import linear_vae_at
from vaebench.models.linear_vae import LinearVAE
from vaebench.oracle import StationaryPoint
from vaebench.oracle.probabilistic_pca import (
    LinearPosterior,
    ProbabilisticPCA,
    RateDecomposition,
    beta_elbo,
    distortion,
)
from vaebench.oracle.spectrum import Spectrum
from vaebench.records.record import Estimate

NEGLIGIBLE_BIAS = 0.1
"""Largest first-order bias in nats. Beyond it, the split is too small for the population's mutual information."""

UNITS_OF_ROUNDING = 64  # allowed rounding error, in machine epsilons times the size of the densities in an estimate
BATCH = 250  # the number of observations in a batch
DRAWS = 500  # K, for metrics
CLOSE = 0.1  # an estimate of the evidence may be wrong by this many nats, on its own side

NOISE = 0.05
"""The mean of 50 bounds may lie on the wrong side by this many nats; its standard deviation is about a tenth of it."""

SEED = 0  # the seed of the estimators
UNITS = 6  # the number of latent units in cases of collapse: two more than the data has directions

ESTIMATORS: dict[Estimator, int] = {
    NaiveMonteCarlo(observations=50, draws=5000): 5000,
    AnnealedImportanceSampling(observations=50, chains=8, temperatures=100, leapfrog=3): 8,
}
"""Estimators, and the number of samples in each of their means."""


@dataclass(frozen=True, eq=False)
class LinearProblem:
    """A linear VAE, and the observations that it is measured on."""

    name: str  # its name in the table
    model: LinearVAE  # any linear VAE with one σ²
    x: Float[Tensor, "N D"]  # observations, `[N, D]`
    draws: int  # K
    population: ProbabilisticPCA  # the distribution that x was drawn from

    @cached_property
    def density(self) -> ProbabilisticPCA:
        """p(x) of the model."""
        return self.model.density

    @cached_property
    def posterior(self) -> LinearPosterior:
        """q(z|x) of the model."""
        return self.model.linear_posterior

    @cached_property
    def population_rate(self) -> RateDecomposition:
        """The exact parts of the rate over the population."""
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
        """Whether q(z|x) is the exact posterior. Then all weights of an observation are equal."""
        return math.isclose(self.elbo, self.evidence, rel_tol=1e-9)


def answers_of(problem: LinearProblem) -> Answers:
    """The exact answers for each metric. A metric that is missing here must have a toy case; a test checks that."""
    return _bounds(problem) | _parts_of_the_rate(problem) | _codes(problem)


def _bounds(problem: LinearProblem) -> Answers:
    elbo, evidence, x = problem.elbo, problem.evidence, problem.x
    sizes = [k for k in (5, 50, 500, 5000) if problem.draws % k == 0]
    equal = ("effective_sample_size_median", "effective_sample_size_5%") if problem.is_exact else ()
    rate, lost = problem.posterior.rate(x), distortion(x, problem.density, problem.posterior)
    return {
        "ELBO": [Answer("elbo", elbo, monte_carlo=ERRORS)],
        "IWAE": [
            Answer("iwae_1", elbo, monte_carlo=ERRORS),
            *(Answer(f"iwae_{k}", elbo, evidence, monte_carlo=ERRORS) for k in sizes),
        ],
        "EffectiveSampleSize": [Answer(name, float(problem.draws)) for name in equal],
        "Rate": [Answer("rate", float(rate.mean()), monte_carlo=ERRORS)],
        "Distortion": [Answer("distortion", float(lost.mean()), monte_carlo=ERRORS)],
        "KLPerUnit": [Answer("kl_per_unit", problem.posterior.rate_per_unit(x).mean(0))],
    }


def _parts_of_the_rate(problem: LinearProblem) -> Answers:
    """Estimates of these are biased. Where the bias is large, the split is too small, and they are not graded."""
    n, exact, posterior = len(problem.x), problem.population_rate, problem.posterior
    bias = exact.split_bias(n)
    # The information of one unit: e^{2I} is the ratio of its aggregate variance to its posterior's.
    aggregate = (posterior.weight @ problem.population.covariance @ posterior.weight.mT).diagonal()
    unit_bias = float((aggregate / posterior.covariance.diagonal()).sum()) / (2 * n)
    information = [
        Answer("mutual_information", exact.mutual_information, standard=ERRORS, bias=bias),
        Answer("aggregate_kl", exact.aggregate_kl, standard=ERRORS, bias=-bias),
    ]
    units = [
        Answer("total_correlation", exact.total_correlation, standard=ERRORS, bias=-bias - unit_bias),
        Answer("dimension_kl", float(exact.dimension_kl.sum()), standard=ERRORS, bias=unit_bias),
    ]
    return {
        "RateDecomposition": [
            Answer("mutual_information_cap", math.log(n)),
            *(information if abs(bias) < NEGLIGIBLE_BIAS else []),
        ],
        "TotalCorrelation": units if -bias < NEGLIGIBLE_BIAS else [],
    }


def _codes(problem: LinearProblem) -> Answers:
    x, weight = problem.x.double(), problem.posterior.weight
    centred = x - x.mean(0)
    spectrum = ((weight @ (centred.mT @ centred / len(x))) * weight).sum(-1).sort(descending=True).values
    residual = x - problem.density.mean - problem.posterior.mean(problem.x) @ problem.density.weight.mT
    error, unit_rates = float(residual.square().sum(-1).mean()), problem.posterior.rate_per_unit(problem.x)

    def collapsed(epsilon: float) -> Tensor:
        above = (unit_rates >= epsilon).double().sum(0)
        return (above <= 0.01 * len(x)).double()

    return {
        "ActiveUnits": [
            Answer("active_units", float((spectrum > 0.01).sum())),
            Answer("variance_spectrum", spectrum),
        ],
        "CollapsedUnits": [
            Answer("collapsed_units", float(collapsed(0.01).sum())),
            Answer("collapse_curve", torch.stack([collapsed(epsilon).mean() for epsilon in GRID])),
        ],
        "SquaredError": [Answer("squared_error", error)],
        "ExplainedVariance": [Answer("explained_variance", 1 - error / float(centred.square().sum(-1).mean()))],
    }


def linear_grades(problem: LinearProblem, estimates: Sequence[Estimate] | None = None) -> Iterator[Grade]:
    """Grade every metric that has an exact answer on a linear VAE.

    Args:
        estimates: the measured numbers; they are measured here if None.
    """
    answers = answers_of(problem)
    if estimates is None:
        shaped = problem.x.to(problem.model.weight.dtype).view(-1, *problem.model.shape)
        batches = [Batch(part) for part in shaped.split(BATCH)]
        estimates = measure(problem.model, batches, build_metrics(tuple(answers)), problem.draws, 0).estimates
    yield from all_graded(problem.name, answers, estimates, rounding_of(problem))


def rounding_of(problem: LinearProblem) -> float:
    """The allowed rounding error of a mean log-density, from the precision of the model's parameters."""
    size = 1 + abs(problem.elbo) + float(problem.posterior.rate(problem.x).mean())
    return UNITS_OF_ROUNDING * torch.finfo(problem.model.weight.dtype).eps * size


def linear_case_grades() -> Iterator[Grade]:
    """Grade every metric and every estimator on linear VAEs with known parameters."""
    data = DataModule(LinearGaussian(dim=16, latent_dim=4, noise=1.0), batch_size=500)
    data.setup()
    for problem in optima(data):
        yield from linear_grades(problem)
        yield from estimator_grades(problem)
    yield from model_grades(data)
    yield from posterior_grades()
    yield from linear_grades(misfit(data))  # not for estimators of the evidence, which do not use q(z|x)
    yield from truth_grades()


def optima(data: DataModule) -> Iterator[LinearProblem]:
    """The maximum likelihood, and optima at which some or all units have collapsed."""
    spectrum = Spectrum.of(data.train.x)
    best = oracle.maximum_likelihood(spectrum, 4)
    yield _problem("maximum likelihood, 4 units", best, data)
    partial = oracle.beta_optimum(spectrum, UNITS, beta=2.5, variance=1.0)
    yield _problem("optimum of β = 2.5, 2 of 6 units active", partial, data)
    collapsed = oracle.beta_optimum(spectrum, UNITS, beta=10.0, variance=1.0)
    yield _problem("optimum of β = 10, all 6 units collapsed", collapsed, data)


def misfit(data: DataModule) -> LinearProblem:
    """The maximum likelihood with a wrong posterior, so that the bounds and the evidence all differ."""
    best = oracle.maximum_likelihood(Spectrum.of(data.train.x), 4)
    problem = _problem("a wrong posterior: means × 0.9, variances × 1.5", best, data)
    with torch.no_grad():
        next(problem.model.encoder.parameters()).mul_(0.9)  # V
        problem.model.log_variance.add_(0.4)
    return problem


def _problem(name: str, point: StationaryPoint, data: DataModule) -> LinearProblem:
    assert isinstance(data.dataset, LinearGaussian)
    return LinearProblem(name, linear_vae_at(point), data.test.x, DRAWS, data.dataset.model)


def estimator_grades(problem: LinearProblem) -> Iterator[Grade]:
    """Grade the estimators of the evidence, each on the observations that it selects."""
    batches = [Batch(problem.x.to(problem.model.weight.dtype))]
    for estimator, samples in ESTIMATORS.items():
        chosen = replace(problem, x=evenly_spaced(batches, estimator.observations).x)
        estimates = estimate(problem.model, batches, [estimator], SEED).estimates
        answers = [a for a in _evidence(chosen, samples) if a.quantity in estimator.columns]
        yield from graded(problem.name, type(estimator).__name__, answers, estimates, rounding_of(chosen))


def _evidence(problem: LinearProblem, samples: int) -> Iterator[Answer]:
    """Lower bounds lie just below the evidence, upper bounds just above.

    If x does not depend on z, all samples have the same weight, so the effective sample size is exact.
    """
    observed = problem.evidence
    yield Answer("naive_monte_carlo", observed - CLOSE, observed, monte_carlo=ERRORS)
    yield Answer("ais", observed - CLOSE, observed, monte_carlo=ERRORS)
    _, x = AnnealedImportanceSampling.simulated(problem.model, len(problem.x), SEED)
    simulated = float(problem.density.log_prob(x).mean())
    yield Answer("bdmc_lower", simulated - CLOSE, simulated + NOISE)
    yield Answer("bdmc_upper", simulated - NOISE, simulated + CLOSE)
    yield Answer("bdmc_gap", 0.0, 2 * CLOSE, standard=ERRORS)
    if not problem.density.weight.any():
        yield Answer("naive_monte_carlo_effective_sample_size", float(samples))
        yield Answer("ais_effective_sample_size", float(samples))
