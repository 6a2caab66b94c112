"""Arrays of a row over its seeds: curves, spectra, shares; position by position, with the tables' interval."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from vaebench.records.record import Record
from vaebench.reporting.tables.grouping import Group
from vaebench.reporting.tables.intervals import t_interval

MOST_POINTS = 150
"""Points of a line; more would not be told apart."""


class Profile(NamedTuple):
    """A line with its band: x, the mean over seeds, and the mean ∓ the half-width (the mean itself for one seed)."""

    x: list[float]
    mean: list[float]
    low: list[float]
    high: list[float]


def profile(series: Sequence[Sequence[tuple[float, float]]]) -> Profile:
    """The mean and interval of several lines of (x, y) at every x that one of them has."""
    at: dict[float, list[float]] = {}
    for line in series:
        for x, y in line:
            at.setdefault(x, []).append(y)
    intervals = {x: t_interval(at[x]) for x in _thinned(sorted(at))}
    return Profile(
        list(intervals),
        [i.mean for i in intervals.values()],
        [i.mean - (i.half_width or 0) for i in intervals.values()],
        [i.mean + (i.half_width or 0) for i in intervals.values()],
    )


def over_epochs(group: Group, column: str) -> Profile:
    """A column of the runs' curves; empty where no run has it."""
    return profile([_curve(record, column) for record in group.done])


def over_positions(group: Group, name: str, *, falling: bool = False) -> Profile:
    """An array of the runs by position, counted from one; `falling` sorts each run's own first."""
    arrays = [sorted(a, reverse=True) if falling else a for a in (array(r, name) for r in group.done)]
    return profile([[(float(i), y) for i, y in enumerate(a, 1)] for a in arrays])


def over_array(group: Group, name: str, along: str) -> Profile:
    """An array of the runs over another one."""
    pairs = [(array(r, along), array(r, name)) for r in group.done]
    return profile([list(zip(x, y, strict=True)) for x, y in pairs if len(x) == len(y)])


def array(record: Record, name: str) -> list[float]:
    """An array of a record, empty where it has none or not all of it is finite."""
    estimate = record.estimate(name)
    values = estimate.value if estimate is not None and isinstance(estimate.value, list) else []
    return values if all(map(math.isfinite, values)) else []


def _curve(record: Record, column: str) -> list[tuple[float, float]]:
    pairs = zip(record.curve.get("epoch", []), record.curve.get(column, []), strict=False)
    return [(float(x), float(y)) for x, y in pairs if x is not None and y is not None]


def _thinned(x: Sequence[float]) -> list[float]:
    if len(x) <= MOST_POINTS:
        return list(x)
    last = MOST_POINTS - 1
    return [x[round(i * (len(x) - 1) / last)] for i in range(MOST_POINTS)]
