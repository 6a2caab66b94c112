"""Rate against distortion (Alemi et al. 2018)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vaebench.records.description import Role
from vaebench.reporting.figures.base import FacetFigure
from vaebench.reporting.figures.facets import Facet
from vaebench.reporting.figures.plotting import few_ticks
from vaebench.reporting.figures.svg import FAINT
from vaebench.reporting.tables.rows import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class RateDistortion(FacetFigure):
    """A mark a run in the plane of rate and distortion."""

    name, title = "plane", "Rate and distortion"

    def has(self, row: Row) -> bool:
        return bool(_points(row))

    def caption(self, panels: Sequence[Facet]) -> str:
        return (
            "A mark a run, in nats per observation. Down and to the left is better; along a faint line the ELBO, "
            "−(rate + distortion), is the same."
        )

    def plot(self, axes: "Axes", panel: Facet) -> None:
        for series in panel.series:
            x, y = zip(*_points(series.row), strict=True)
            axes.plot(x, y, "o", color=series.colour, alpha=0.85, markeredgewidth=0)
        _plot_equal_elbo(axes)
        few_ticks(axes)
        axes.set_xlabel("rate")
        axes.set_ylabel("distortion")


def _points(row: Row) -> list[tuple[float, float]]:
    """(rate, distortion) of every seed that has both."""
    rates, distortions = row.group.values_of(Role.RATE), row.group.values_of(Role.DISTORTION)
    return [(rates[seed], distortions[seed]) for seed in rates if seed in distortions]


def _plot_equal_elbo(axes: "Axes") -> None:
    """Plots lines of slope −1 across the panel, and leaves the limits as they are."""
    axes.grid(False)
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    for i in range(1, 8):
        total = left + bottom + (right - left + top - bottom) * i / 8  # rate + distortion along this line
        axes.plot([left, right], [total - left, total - right], color=FAINT, alpha=0.5, linewidth=0.6, zorder=0)
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)
