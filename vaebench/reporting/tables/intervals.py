"""Intervals over seeds, and whether the seeds tell two rows apart: Student's t at 95 %.

A bootstrap over three seeds covers 76 % where it says 95 %. Rows that share seeds are paired by them: what a seed does
to both rows alike (the order of the data, the first weights) drops out of the differences. Rows that share fewer than
two seeds are compared by Welch's test, which takes them for independent. One seed says nothing about the scatter: then
no test is possible.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from statistics import fmean, variance
from typing import NamedTuple

LEVEL = 0.95

LARGEST = 1e60  # a number whose fourth power has a place in float64; Welch's degrees of freedom have that power

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
    freedom, mean, unit = len(values) - 1, fmean(values), _unit(values)
    scatter = math.fsum(((v - mean) / unit) ** 2 for v in values) / freedom
    return t_quantile(freedom) * math.sqrt(scatter * variance) * unit


def _unit(values: Iterable[float]) -> float:
    """What numbers are divided by before powers of them are taken: a power of 2 if these may be too large, else 1."""
    largest = max(map(abs, values))
    return 1.0 if largest < LARGEST else 2.0 ** (math.frexp(largest)[1] - 1)


class Gap(NamedTuple):
    """The difference of two rows, first minus second.

    Attributes:
        interval: mean and half-width of the difference; n counts pairs of seeds, for Welch's test the fewer seeds.
        rounding: a difference up to this is one of rounding.
    """

    interval: Interval
    rounding: float

    @property
    def is_clear(self) -> bool:
        """Whether the 95 % interval of the difference excludes zero, and the difference is more than rounding."""
        mean, width, _ = self.interval
        return width is not None and abs(mean) > max(width, self.rounding)


def paired(first: Mapping[int, float], second: Mapping[int, float]) -> Gap | None:
    """The difference over the seeds that both have; None where there is none."""
    seeds = [seed for seed in first if seed in second]
    if not seeds:
        return None
    largest = max(abs(row[seed]) for row in (first, second) for seed in seeds)
    return Gap(t_interval([first[seed] - second[seed] for seed in seeds]), ROUNDING * largest)


def gap(first: Mapping[int, float], second: Mapping[int, float]) -> Gap | None:
    """The difference by the test that the seeds allow: paired where two are shared, else Welch's; None."""
    if len(first.keys() & second.keys()) > 1:
        return paired(first, second)
    return _welch(first, second) if min(len(first), len(second)) > 1 else None


def ordered(values: Mapping[int, Mapping[int, float]], sign: int) -> list[int]:
    """Rows, each with its values by seed, from the best to the worst; the best is the highest if the sign is 1.

    Where all have the same seeds, this is the order of their means. Else a seed that one row lacks would decide it, so
    two rows are compared over the seeds that both have, if these are two or more, and by their means if not. A row that
    is ahead of more of the others comes first, and of equals the row with the better mean.
    """
    means = {row: sign * fmean(by_seed.values()) for row, by_seed in values.items()}
    if len({frozenset(by_seed) for by_seed in values.values()}) == 1:
        return sorted(values, key=lambda row: -means[row])

    def is_ahead(first: int, second: int) -> bool:
        both = values[first].keys() & values[second].keys()
        if len(both) < 2:
            return means[first] > means[second]
        return sign * math.fsum(values[first][seed] - values[second][seed] for seed in both) > 0

    ahead = {row: sum(is_ahead(row, other) for other in values if other != row) for row in values}
    return sorted(values, key=lambda row: (-ahead[row], -means[row]))


def _welch(first: Mapping[int, float], second: Mapping[int, float]) -> Gap:
    """The difference of two independent means; its degrees of freedom after Welch (1947) and Satterthwaite (1946)."""
    unit = _unit([*first.values(), *second.values()])
    sides = [[v / unit for v in side.values()] for side in (first, second)]
    parts = [variance(side) / len(side) for side in sides]
    mean, error, width = fmean(sides[0]) - fmean(sides[1]), sum(parts), 0.0
    if error > 0:
        from scipy.stats import t  # here, since it takes longer to import than a table takes

        freedom = error**2 / sum(p**2 / (len(side) - 1) for p, side in zip(parts, sides, strict=True))
        width = float(t.ppf((1 + LEVEL) / 2, freedom)) * math.sqrt(error)
    rounding = ROUNDING * max(abs(v) for side in sides for v in side)
    return Gap(Interval(mean * unit, width * unit, min(map(len, sides))), rounding * unit)
