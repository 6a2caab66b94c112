"""Intervals over seeds: Student's t, since a bootstrap over three seeds covers 76 % where it says 95 %."""

import math
from collections.abc import Sequence
from functools import cache
from statistics import fmean
from typing import NamedTuple

LEVEL = 0.95

ROUNDING = 2.0**-23
"""The relative distance of neighbouring numbers in float32, in which models compute: a smaller one means nothing."""


class Interval(NamedTuple):
    """A mean over n seeds and the half-width of its interval, None where one seed says nothing of the scatter."""

    mean: float
    half_width: float | None
    n: int

    @property
    def spread(self) -> float | None:
        """The half-width where there is one to show: None, too, where the seeds differ by rounding alone."""
        if self.half_width is None or self.n < 2:
            return None
        deviation = self.half_width * math.sqrt(self.n) / t_quantile(self.n - 1)
        return self.half_width if deviation > ROUNDING * abs(self.mean) else None


def t_interval(values: Sequence[float]) -> Interval:
    """The 95 % confidence interval of the mean, t_{n−1} s / √n on either side.

    Raises:
        ValueError: if there are no values.
    """
    if not values:
        raise ValueError("expected at least one value, got none")
    return Interval(fmean(values), _half_width(values, 1 / len(values)), len(values))


def prediction_half_width(values: Sequence[float], m: int) -> float | None:
    """Half-width of the 95 % interval for the mean of m further seeds, t_{n−1} s √(1/n + 1/m).

    It is wider than the confidence interval, since the further seeds scatter too.
    """
    return _half_width(values, 1 / len(values) + 1 / m)


@cache
def t_quantile(freedom: int) -> float:
    """t with P(|T_ν| < t) = 95 %, by bisection of the closed form for whole ν.

    scipy has it as well; importing that would take longer than a table does.
    """
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if _coverage(middle, freedom) > LEVEL else (middle, high)
    return math.sqrt(freedom) * math.tan(low)


def _coverage(angle: float, freedom: int) -> float:
    """P(|T_ν| < √ν tan θ) (Abramowitz & Stegun 1964, 26.7.3 and 26.7.4)."""
    odd, cosine, total = freedom % 2, math.cos(angle), 0.0
    term = cosine if odd else 1.0
    for power in range(odd, freedom - 1, 2):
        total += term
        term *= cosine**2 * (power + 1) / (power + 2)
    return 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total


def _half_width(values: Sequence[float], variance: float) -> float | None:
    if len(values) < 2:
        return None
    freedom, mean = len(values) - 1, fmean(values)
    scatter = math.fsum((v - mean) ** 2 for v in values) / freedom
    return t_quantile(freedom) * math.sqrt(scatter * variance)
