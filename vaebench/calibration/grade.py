"""A grade compares a measured number with an exact answer. Grades are stored as JSON in the folder of a study."""

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from vaebench.records.files import write_atomically
from vaebench.records.record import Estimate, RecordError

if TYPE_CHECKING:
    from torch import Tensor

FILE = "calibration.json"
"""The name of the file with the grades of a study."""

ERRORS = 5
"""An estimate may be wrong by this many of its standard or Monte-Carlo errors."""


class Answer(NamedTuple):
    """The exact value of one quantity, and by how much an estimate may differ from it besides rounding.

    Attributes:
        quantity: the name of the estimate.
        low: the exact value, or an exact lower bound on it; an array if the estimate is an array.
        high: an exact upper bound on the value; None if `low` is the value.
        monte_carlo: the allowed number of Monte-Carlo errors.
        standard: the allowed number of standard errors.
        bias: the first-order bias of the estimate. It is added to the value; half of it is allowed for higher orders.
        scatter: the standard deviation of the estimate if it is known in advance; `ERRORS` of them are allowed.
    """

    quantity: str
    low: "float | Tensor"
    high: float | None = None
    monte_carlo: float = 0
    standard: float = 0
    bias: float = 0
    scatter: float = 0


class Grade(NamedTuple):
    """One number of one metric or estimator on one problem, compared with the exact answer.

    Attributes:
        problem: the case that was measured.
        instrument: the registered name of the metric or estimator.
        quantity: the name of the estimate.
        measured: the estimate; for an array, the largest difference of an entry, with 0 as the exact answer.
        low: the exact answer, or an exact lower bound on it.
        high: the exact answer, or an exact upper bound on it.
        allowed: the largest difference that counts as right.
        basis: the errors that `allowed` is the sum of.
        n: the number of observations.
    """

    problem: str
    instrument: str
    quantity: str
    measured: float
    low: float
    high: float
    allowed: float
    basis: str
    n: int

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
        problem: the name of the case.
        instrument: the name of the metric or estimator.
        answers: the exact answers.
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


def write(grades: Sequence[Grade], folder: Path) -> Path:
    """Write the grades into a folder as JSON, one on each line."""
    path = folder / FILE
    lines = ",\n".join(json.dumps(grade._asdict(), ensure_ascii=False) for grade in grades)
    write_atomically(path, f"[\n{lines}\n]\n".encode())
    return path


def read(folder: Path) -> list[Grade]:
    """Read the grades in a folder; an empty list if it has no such file.

    Raises:
        RecordError: if the file is not what `write` writes.
    """
    path = folder / FILE
    if not path.is_file():
        return []
    try:
        return [Grade(**entry) for entry in json.loads(path.read_bytes())]
    except (ValueError, TypeError) as error:
        raise RecordError(f"{path}: expected grades, got something else ({error}); calibrate again") from None


def _compared(measured: Estimate, answer: Answer) -> tuple[float, float, float]:
    """The measured number and the bounds of the exact answer; for an array, its largest difference and zeros."""
    if isinstance(measured.value, list):
        exact, given = np.asarray(answer.low, np.float64), np.asarray(measured.value, np.float64)
        return (float(np.abs(given - exact).max()) if given.shape == exact.shape else math.nan), 0.0, 0.0
    low = float(answer.low) if np.ndim(answer.low) == 0 else math.nan
    return measured.value, low, low if answer.high is None else answer.high
