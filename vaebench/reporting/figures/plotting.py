"""What a chart puts on its axes: lines with bands, and how far the axes reach."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from vaebench.reporting.figures.seed_bands import Profile
from vaebench.reporting.figures.svg import GROUND, INK
from vaebench.reporting.tables.reliability import MARK

SETTLED = 0.05
"""The share of a curve, at its start, that may lie outside the picture."""

MOST_TICKS = 6
"""Labels below an axis that do not touch, whatever they say."""


def banded(axes: Axes, line: Profile, colour: str, marker: str = "") -> None:
    """A line with the interval over seeds around it."""
    axes.plot(line.x, line.mean, color=colour, marker=marker)
    if line.low != line.high:
        axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.18, linewidth=0)


def doubtful(axes: Axes, line: Profile, places: Sequence[float], colour: str) -> None:
    """The points of a line that rest on collapsed weights: their discs are open, and the mark is beside them."""
    for x, y in zip(line.x, line.mean, strict=True):
        if x in places:
            axes.plot(x, y, "o", markerfacecolor=GROUND, markeredgecolor=colour, markeredgewidth=1.2)
            axes.annotate(MARK, (x, y), (3, 3), textcoords="offset points", color=INK)


def settled_limits(axes: Axes, lines: Sequence[Profile]) -> None:
    """Limits by what follows the first epochs, whose values would flatten everything else."""
    last = max((line.x[-1] for line in lines), default=0.0)
    rest = [(a, b) for line in lines for x, a, b in zip(line.x, line.low, line.high, strict=True) if x > SETTLED * last]
    if rest:
        low, high = min(a for a, _ in rest), max(b for _, b in rest)
        margin = 0.04 * (high - low) or 0.5
        axes.set_ylim(low - margin, high + margin)


def whole_numbers(axes: Axes, *, x: bool = False, y: bool = False) -> None:
    """Ticks at whole numbers, for what is counted."""
    if x:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if y:
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))


def at_least_one(axes: Axes) -> None:
    """Limits that hold −1 to 1, the scale of a prior, so that a collapsed cloud is seen to be one."""
    for low, high, limit in ((*axes.get_xlim(), axes.set_xlim), (*axes.get_ylim(), axes.set_ylim)):
        limit(min(low, -1.1), max(high, 1.1))
    axes.xaxis.set_major_locator(MaxNLocator(MOST_TICKS))
