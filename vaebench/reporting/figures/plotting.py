"""Lines over seeds with their intervals: from the arrays of a row to a band, and from a band to marks on the axes."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from vaebench.records.record import Record
from vaebench.reporting.figures.svg import GROUND, INK, Axes
from vaebench.reporting.tables.intervals import t_interval
from vaebench.reporting.tables.quantities import MARK
from vaebench.reporting.tables.rows import Group

MOST_POINTS = 100  # points of a line; the eye cannot separate more
WARM_UP = 0.05  # the first part of training whose values may lie outside the panel
MOST_TICKS = 6  # tick labels below an axis that never touch
LONG_TICK = 5  # characters of a label at a tick; where one is longer, there is one tick less


class Band(NamedTuple):
    """A line over seeds: x, the mean, and the mean ∓ the interval's half-width (the mean itself for one seed)."""

    x: list[float]
    mean: list[float]
    low: list[float]
    high: list[float]


def band(lines: Sequence[Sequence[tuple[float, float]]]) -> Band:
    """Mean and interval of several lines of (x, y), at every x that at least one line has.

    >>> band([[(1.0, 2.0)], [(1.0, 2.0), (2.0, 5.0)]])
    Band(x=[1.0, 2.0], mean=[2.0, 5.0], low=[2.0, 5.0], high=[2.0, 5.0])
    """
    at: dict[float, list[float]] = {}
    for line in lines:
        for x, y in line:
            at.setdefault(x, []).append(y)
    intervals = {x: t_interval(at[x]) for x in _thinned(sorted(at))}
    return Band(
        list(intervals),
        [i.mean for i in intervals.values()],
        [i.mean - (i.half_width or 0) for i in intervals.values()],
        [i.mean + (i.half_width or 0) for i in intervals.values()],
    )


def means(groups: Iterable[Group]) -> str:
    """What a mark of these rows is, for a caption."""
    several = any(len(group.done) > 1 for group in groups)
    return "mean over seeds and its 95 % interval" if several else "one seed each, so no interval"


def within(line: Band, low: float = -math.inf, high: float = math.inf) -> Band:
    """The line with its interval cut to the values that are possible.

    >>> within(Band([1.0], [0.5], [-0.5], [1.5]), 0.0, 1.0)
    Band(x=[1.0], mean=[0.5], low=[0.0], high=[1.0])
    """
    return line._replace(low=[max(y, low) for y in line.low], high=[min(y, high) for y in line.high])


def over_ranks(group: Group, name: str) -> Band:
    """An array of the runs, sorted in each run from the largest value, over the rank counted from one."""
    arrays = [sorted(array(record, name), reverse=True) for record in group.done]
    return band([[(float(i), y) for i, y in enumerate(a, 1)] for a in arrays])


def over_array(group: Group, name: str, along: str) -> Band:
    """An array of the runs over another array of theirs."""
    pairs = [(array(record, along), array(record, name)) for record in group.done]
    return band([list(zip(x, y, strict=True)) for x, y in pairs if len(x) == len(y)])


def array(record: Record, name: str) -> list[float]:
    """An array of a record; empty if the record has none, or if not every value is finite."""
    estimate = record.estimate(name)
    values = estimate.value if estimate is not None and isinstance(estimate.value, list) else []
    return values if all(map(math.isfinite, values)) else []


def plot_band(axes: Axes, line: Band, colour: str, marker: str = "", name: str = "") -> None:
    """Plots a line, and the interval around it; a name stands at its end if all lines of the panel have one."""
    axes.plot(line.x, line.mean, color=colour, marker=marker, label=name or "_nameless")
    if line.low != line.high:
        axes.fill(
            [*line.x, *reversed(line.x)], [*line.low, *reversed(line.high)], color=colour, alpha=0.18, linewidth=0
        )


def plot_doubtful(axes: Axes, line: Band, places: Sequence[float], colour: str) -> None:
    """Plots an open disc and the mark at the points that rest on collapsed weights."""
    for x, y in zip(line.x, line.mean, strict=True):
        if x in places:
            axes.plot(x, y, "o", markerfacecolor=GROUND, markeredgecolor=colour, markeredgewidth=1.2)
            axes.annotate(MARK, (x, y), (3, 3), textcoords="offset points", color=INK)


def limit_after_warm_up(axes: Axes, lines: Sequence[Band]) -> None:
    """Sets the vertical limits without the first epochs, whose values would flatten all others."""
    last = max((line.x[-1] for line in lines), default=0.0)
    rest = [(a, b) for line in lines for x, a, b in zip(line.x, line.low, line.high, strict=True) if x > WARM_UP * last]
    if rest:
        low, high = min(a for a, _ in rest), max(b for _, b in rest)
        margin = 0.04 * (high - low) or 0.5
        axes.set_ylim(low - margin, high + margin)


def limit_to_zero(axes: Axes) -> None:
    """Makes zero part of the vertical axis."""
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))


def limit_to_prior(axes: Axes) -> None:
    """Makes −1 to 1, the scale of a prior, part of both axes, so that collapsed codes look collapsed."""
    for low, high, limit in ((*axes.get_xlim(), axes.set_xlim), (*axes.get_ylim(), axes.set_ylim)):
        limit(min(low, -1.1), max(high, 1.1))
    few_ticks(axes)


def whole_ticks(axes: Axes, *, x: bool = False, y: bool = False) -> None:
    """Puts ticks at whole numbers, for counts."""
    from matplotlib.ticker import MaxNLocator

    for wanted, axis in ((x, axes.xaxis), (y, axes.yaxis)):
        if wanted:
            axis.set_major_locator(MaxNLocator(integer=True))


def few_ticks(axes: Axes, most: int = MOST_TICKS) -> None:
    """Puts as many ticks on the horizontal axis as have room for any label."""
    from matplotlib.ticker import MaxNLocator

    locator = MaxNLocator(most)
    if max(len(f"{value:.6g}") for value in locator.tick_values(*axes.get_xlim())) > LONG_TICK:
        locator = MaxNLocator(most - 1)
    axes.xaxis.set_major_locator(locator)


def _thinned(x: Sequence[float]) -> list[float]:
    if len(x) <= MOST_POINTS:
        return list(x)
    last = MOST_POINTS - 1
    return [x[round(i * (len(x) - 1) / last)] for i in range(MOST_POINTS)]
