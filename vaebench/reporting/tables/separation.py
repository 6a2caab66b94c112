"""Whether the seeds tell two rows apart: Student's t at 95 %, paired by seed where the rows share seeds.

What a seed does to both rows alike (the order of the data, the first weights) drops out of paired differences. Rows
that share fewer than two seeds are compared by Welch's test, which takes them for independent. One seed says nothing of
the scatter: then no test is possible, and nothing is told apart.
"""

import math
from collections.abc import Mapping
from statistics import fmean, variance
from typing import NamedTuple

from vaebench.reporting.tables.intervals import LEVEL, ROUNDING, Interval, t_interval


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
    """The difference over the seeds that both have; None where there is none.

    Args:
        first: a value a seed.
        second: the same of another row.
    """
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


def _welch(first: Mapping[int, float], second: Mapping[int, float]) -> Gap:
    """The difference of two independent means; its degrees of freedom after Welch (1947) and Satterthwaite (1946)."""
    sides = [list(first.values()), list(second.values())]
    parts = [variance(side) / len(side) for side in sides]
    mean, error, width = fmean(sides[0]) - fmean(sides[1]), sum(parts), 0.0
    if error > 0:
        from scipy.stats import t  # here, since it takes longer to import than a table takes

        freedom = error**2 / sum(p**2 / (len(side) - 1) for p, side in zip(parts, sides, strict=True))
        width = float(t.ppf((1 + LEVEL) / 2, freedom)) * math.sqrt(error)
    return Gap(Interval(mean, width, min(map(len, sides))), ROUNDING * max(abs(v) for side in sides for v in side))
