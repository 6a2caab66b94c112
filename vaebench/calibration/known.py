"""Linear VAEs of which everything is known, on observations of which everything is known."""

from collections.abc import Iterator
from dataclasses import replace

import torch

from vaebench import oracle
from vaebench.calibration.answers import ERRORS, Answer, LinearProblem
from vaebench.calibration.grade import Grade
from vaebench.calibration.grading import graded, linear_grades, rounding_of
from vaebench.data.batch import Batch
from vaebench.data.datamodule import DataModule
from vaebench.data.datasets.linear_gaussian import LinearGaussian
from vaebench.evaluation.estimators.annealed_importance_sampling import AnnealedImportanceSampling
from vaebench.evaluation.estimators.base import Estimator, evenly_spaced
from vaebench.evaluation.estimators.naive_monte_carlo import NaiveMonteCarlo
from vaebench.evaluation.measure import estimate
from vaebench.evaluation.stationarity import linear_vae_at
from vaebench.oracle import StationaryPoint
from vaebench.oracle.spectrum import Spectrum

DRAWS = 500
CLOSE = 0.1
"""Nats within which an estimate of the evidence has to come."""

NOISE = 0.05
"""Nats by which the mean of 50 bounds may lie on the wrong side by chance; it scatters by about a tenth of it here."""

SEED = 0
"""Of the estimators."""

UNITS = 6
"""Latent units: two more than the data has directions."""

ESTIMATORS: dict[Estimator, int] = {
    NaiveMonteCarlo(observations=50, draws=5000): 5000,
    AnnealedImportanceSampling(observations=50, chains=8, temperatures=100, leapfrog=3): 8,
}
"""Estimators, and over how many samples of an observation each takes its mean."""


def known_grades() -> Iterator[Grade]:
    """The grades of every diagnostic and every estimator on the known problems."""
    data = DataModule(LinearGaussian(dim=16, latent_dim=4, noise=1.0), batch_size=500)
    data.setup()
    for problem in optima(data):
        yield from linear_grades(problem)
        yield from estimator_grades(problem)
    yield from linear_grades(misfit(data))  # estimators of the evidence do not look at q(z|x)


def optima(data: DataModule) -> Iterator[LinearProblem]:
    """At the maximum of the likelihood, and with some units and all of them collapsed."""
    spectrum = Spectrum.of(data.train.x)
    best = oracle.maximum_likelihood(spectrum, 4)
    yield _problem("maximum likelihood, 4 units", best, data)
    pruned = oracle.beta_optimum(spectrum, UNITS, beta=2.5, variance=1.0)
    yield _problem("optimum of β = 2.5, 6 units of which two live", pruned, data)
    dead = oracle.beta_optimum(spectrum, UNITS, beta=10.0, variance=1.0)
    yield _problem("optimum of β = 10, all 6 units collapsed", dead, data)


def misfit(data: DataModule) -> LinearProblem:
    """The best model with a wrong posterior, so that the bounds differ from one another and from the evidence."""
    best = oracle.maximum_likelihood(Spectrum.of(data.train.x), 4)
    problem = _problem("a posterior shrunk by a tenth and half as wide again", best, data)
    with torch.no_grad():
        next(problem.model.encoder.parameters()).mul_(0.9)  # V
        problem.model.log_variance.add_(0.4)
    return problem


def _problem(name: str, point: StationaryPoint, data: DataModule) -> LinearProblem:
    assert isinstance(data.dataset, LinearGaussian)
    return LinearProblem(name, linear_vae_at(point), data.test.x, DRAWS, data.dataset.model)


def estimator_grades(problem: LinearProblem) -> Iterator[Grade]:
    """The estimators of the evidence, each on observations of its own choice."""
    batches = [Batch(problem.x.to(problem.model.weight.dtype))]
    for estimator, samples in ESTIMATORS.items():
        chosen = replace(problem, x=evenly_spaced(batches, estimator.observations).x)
        estimates = estimate(problem.model, batches, [estimator], SEED).estimates
        answers = [a for a in _evidence(chosen, samples) if a.quantity in estimator.columns]
        yield from graded(problem.name, type(estimator).__name__, answers, estimates, rounding_of(chosen))


def _evidence(problem: LinearProblem, samples: int) -> Iterator[Answer]:
    """A stochastic lower bound lies below the evidence, an upper bound above, both close. Where x says nothing of z,
    every sample has the same weight."""
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
