"""A grade compares a measured number with an exact answer. The folder of a study has them as JSON and as a table."""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tabulate import tabulate

from vaebench.records.record import Estimate, RecordError

if TYPE_CHECKING:
    from torch import Tensor

FILE, TABLE = "calibration.json", "calibration.md"  # the grades of a study, and the same for readers

ERRORS = 5  # an estimate may be wrong by this many of its standard or Monte-Carlo errors


class Answer(NamedTuple):
    """The exact value of one quantity, and by how much an estimate may differ from it besides rounding."""

    quantity: str  # the name of the estimate
    low: "float | Tensor"  # the exact value, or an exact lower bound on it; an array if the estimate is an array
    high: float | None = None  # an exact upper bound on the value; None if `low` is the value
    monte_carlo: float = 0  # the allowed number of Monte-Carlo errors
    standard: float = 0  # the allowed number of standard errors
    # the first-order bias of the estimate. It is added to the value; half of it is allowed for higher orders.
    bias: float = 0
    scatter: float = 0  # the standard deviation of the estimate if it is known in advance; `ERRORS` of them are allowed


Answers = dict[str, list[Answer]]  # of each metric


class Grade(NamedTuple):
    """One number of one metric or estimator on one problem, compared with the exact answer."""

    problem: str  # the case that was measured
    instrument: str  # the registered name of the metric or estimator
    quantity: str  # the name of the estimate
    measured: float  # the estimate; for an array, the largest difference of an entry, with 0 as the exact answer
    low: float  # the exact answer, or an exact lower bound on it
    high: float  # the exact answer, or an exact upper bound on it
    allowed: float  # the largest difference that counts as right
    basis: str  # the errors that `allowed` is the sum of
    n: int  # the number of observations

    @property
    def difference(self) -> float:
        """Measured minus exact; 0 between the two bounds.

        >>> Grade("problem", "IWAE", "iwae_5", 1.5, low=1.0, high=2.0, allowed=0.1, basis="rounding", n=1).difference
        0.0
        """
        return self.measured - min(max(self.measured, self.low), self.high)

    @property
    def is_within(self) -> bool:
        """Whether the measured number is right. NaN and infinity are wrong."""
        return math.isfinite(self.measured) and abs(self.difference) <= self.allowed

    def __str__(self) -> str:
        exact = f"{self.low:.6g}" if self.low == self.high else f"{self.low:.6g} … {self.high:.6g}"
        off = f"{self.difference:.2g} off, {self.allowed:.2g} allowed ({self.basis})"
        return f"{self.problem}: {self.instrument} {self.quantity} {self.measured:.6g}, exact {exact}: {off}"


def graded(
    problem: str, instrument: str, answers: Iterable[Answer], estimates: Iterable[Estimate], rounding: float
) -> Iterator[Grade]:
    """Compare estimates with answers: one grade for each answer. A missing estimate counts as NaN, which is wrong.

    Args:
        estimates: all estimates; other metrics' are ignored.
        rounding: the allowed rounding error, relative to the answer if that is above 1.
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


def all_graded(problem: str, answers: Answers, estimates: Sequence[Estimate], rounding: float) -> Iterator[Grade]:
    """Compare the estimates of several metrics with their answers; see `graded`."""
    for metric, exact in answers.items():
        yield from graded(problem, metric, exact, estimates, rounding)


def read(folder: Path) -> list[Grade]:
    """Read the grades in a folder; an empty list if it has no such file.

    Raises:
        RecordError: if the file has something else.
    """
    path = folder / FILE
    if not path.is_file():
        return []
    try:
        return [Grade(**entry) for entry in json.loads(path.read_bytes())]
    except (ValueError, TypeError) as error:
        raise RecordError(f"{path}: expected grades, got something else ({error}); calibrate again") from None


def files(grades: Sequence[Grade], folder: Path) -> dict[Path, bytes]:
    """The grades in a folder as JSON, one on each line, and as a table; no file if there are no grades."""
    if not grades:
        return {}
    lines = ",\n".join(json.dumps(grade._asdict(), ensure_ascii=False) for grade in grades)
    return {folder / FILE: f"[\n{lines}\n]\n".encode(), folder / TABLE: markdown(grades).encode()}


def _compared(measured: Estimate, answer: Answer) -> tuple[float, float, float]:
    """The measured number and the bounds of the exact answer; for an array, its largest difference and zeros."""
    import numpy as np  # here, since its import takes longer than a table of grades that are known

    if isinstance(measured.value, list):
        exact, given = np.asarray(answer.low, np.float64), np.asarray(measured.value, np.float64)
        return (float(np.abs(given - exact).max()) if given.shape == exact.shape else math.nan), 0.0, 0.0
    low = float(answer.low) if np.ndim(answer.low) == 0 else math.nan
    return measured.value, low, low if answer.high is None else answer.high


RIGHT, WRONG = "yes", "NO"

HEADINGS = ("metric or estimator", "quantity", "measured", "exact", "difference", "allowed", "right", "allowed for")
ALIGNMENT = ("left", "left", "right", "right", "right", "right", "left", "left")


def outcome(grades: Sequence[Grade]) -> str:
    """Say in one line how many grades are right."""
    wrong = sum(not grade.is_within for grade in grades)
    measured = len({grade.instrument for grade in grades})
    right = "all right" if not wrong else f"{wrong} WRONG"
    return f"{len(grades)} exact answers, {measured} metrics and estimators: {right}"


def markdown(grades: Sequence[Grade]) -> str:
    """All grades, with one table for each problem."""
    parts = ["# Calibration", outcome(grades) + "."]
    parts.append(
        "Log-densities are in nats per observation. Where `exact` has two numbers, the measured number must lie "
        "between them: a bound lies between the ELBO and the evidence, and an estimate of the evidence is at most 0.1 "
        "nats wrong on its own side. The allowed difference is the sum of the errors in the last column, as the metric "
        "or estimator claims them. These claims are graded too: the standard deviation over seeds divided by the "
        "claimed error must be 1, or at least 0.8 where the claim is cautious."
    )
    for problem in dict.fromkeys(grade.problem for grade in grades):
        rows = [_cells(grade) for grade in grades if grade.problem == problem]
        table = tabulate(rows, HEADINGS, tablefmt="pipe", disable_numparse=True, colalign=ALIGNMENT)
        parts += [f"## {problem}", table]
    return "\n\n".join(parts) + "\n"


def _cells(grade: Grade) -> tuple[str, ...]:
    low, high = _figure(grade.low), _figure(grade.high)
    exact = low if grade.low == grade.high else f"{low} … {high}"
    numbers = _figure(grade.measured), exact, _small(grade.difference), _small(grade.allowed)
    return grade.instrument, grade.quantity, *numbers, RIGHT if grade.is_within else WRONG, grade.basis


def _figure(value: float) -> str:
    return f"{value:.0f}" if value.is_integer() and abs(value) < 1e9 else f"{value:.5f}"


def _small(value: float) -> str:
    return f"{value:.1g}" if value else "0"
