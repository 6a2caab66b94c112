"""Estimates against answers."""

import math
from collections.abc import Iterable, Iterator, Sequence

import torch

from vaebench.calibration.answers import ANSWERS, ERRORS, Answer, LinearProblem
from vaebench.calibration.grade import Grade
from vaebench.data.batch import Batch
from vaebench.evaluation.measure import diagnostics, measure
from vaebench.records.record import Estimate

UNITS_OF_ROUNDING = 64
"""Machine epsilons, of the size of the densities that an estimate is made of, that it may be off by rounding."""

BATCH = 250
"""Observations at a time."""


def graded(
    problem: str, instrument: str, answers: Iterable[Answer], estimates: Iterable[Estimate], rounding: float
) -> Iterator[Grade]:
    """A grade for every answer; a quantity that the instrument did not give is no number, and so out.

    Args:
        problem: its name.
        instrument: its class.
        answers: the exact answers.
        estimates: what was measured, of this and of other instruments.
        rounding: what an estimate may be off by rounding, of its size where that is above 1.
    """
    found = {estimate.name: estimate for estimate in estimates}
    for answer in answers:
        measured = found.get(answer.quantity, Estimate(answer.quantity, math.nan))
        value, low, high = _compared(measured, answer)
        parts = {
            "rounding": rounding * max(1.0, abs(high)),
            f"{answer.monte_carlo:g} Monte-Carlo errors": answer.monte_carlo * (measured.monte_carlo_error or 0),
            f"{answer.standard:g} standard errors": answer.standard * (measured.standard_error or 0),
            "half of the stated bias": abs(answer.bias) / 2,
            f"{ERRORS} known standard deviations": ERRORS * answer.scatter,
        }
        basis = ", ".join(name for name, size in parts.items() if size)
        quantity, shift = answer.quantity, answer.bias
        allowed = sum(parts.values())
        yield Grade(problem, instrument, quantity, value, low + shift, high + shift, allowed, basis, measured.n)


def linear_grades(problem: LinearProblem, estimates: Sequence[Estimate] | None = None) -> Iterator[Grade]:
    """The grades of every instrument that has an exact answer on a linear VAE.

    Args:
        problem: the model and its observations.
        estimates: what was measured of it; measured here if None.
    """
    if estimates is None:
        shaped = problem.x.to(problem.model.weight.dtype).view(-1, *problem.model.shape)
        batches = [Batch(part) for part in shaped.split(BATCH)]
        estimates = measure(problem.model, batches, diagnostics(tuple(ANSWERS)), problem.draws, 0).estimates
    rounding = rounding_of(problem)
    for instrument, answers in ANSWERS.items():
        yield from graded(problem.name, instrument, answers(problem), estimates, rounding)


def rounding_of(problem: LinearProblem) -> float:
    """What the precision of the model's parameters may do to a mean of log-densities."""
    size = 1 + abs(problem.elbo) + float(problem.posterior.rate(problem.x).mean())
    return UNITS_OF_ROUNDING * torch.finfo(problem.model.weight.dtype).eps * size


def _compared(measured: Estimate, answer: Answer) -> tuple[float, float, float]:
    """The measured number and the two ends of the exact answer; of an array, the largest difference and zero."""
    if isinstance(measured.value, list):
        exact = torch.as_tensor(answer.low, dtype=torch.float64)
        given = torch.tensor(measured.value, dtype=torch.float64)
        return (float((given - exact).abs().max()) if given.shape == exact.shape else math.nan), 0.0, 0.0
    low = float(answer.low) if not isinstance(answer.low, torch.Tensor) or answer.low.ndim == 0 else math.nan
    return measured.value, low, low if answer.high is None else answer.high
