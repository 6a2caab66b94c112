"""Rate against distortion (Alemi et al. 2018)."""

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from vaebench.reporting.figures.facets import Arrangement, Facet
from vaebench.reporting.figures.plotting import MOST_TICKS
from vaebench.reporting.figures.svg import FAINT, Chart, Panel, panel
from vaebench.reporting.tables.quantities import Quantity
from vaebench.reporting.tables.rankings import Row, Table

RATE, DISTORTION = Quantity("rate"), Quantity("distortion")


def chart(table: Table, arrangement: Arrangement) -> Chart | None:
    """A mark a run in the plane of rate and distortion."""
    facets = arrangement.showing(lambda row: bool(_points(row)))
    if not facets:
        return None
    caption = (
        "A mark a run, in nats per observation. Down and to the left is better; along a faint line the ELBO, "
        "−(rate + distortion), is the same."
    )
    return Chart("plane", "Rate and distortion", caption, tuple(map(_panel, facets)), arrangement.legend(facets))


def _points(row: Row) -> list[tuple[float, float]]:
    rates, distortions = row.group.values(RATE), row.group.values(DISTORTION)
    return [(rates[seed], distortions[seed]) for seed in rates if seed in distortions]


def _panel(facet: Facet) -> Panel:
    def draw(axes: Axes) -> None:
        for strand in facet.strands:
            x, y = zip(*_points(strand.row), strict=True)
            axes.plot(x, y, "o", color=strand.colour, alpha=0.85, markeredgewidth=0)
        _equal_elbo(axes)
        axes.xaxis.set_major_locator(MaxNLocator(MOST_TICKS))
        axes.set_xlabel("rate")
        axes.set_ylabel("distortion")

    return panel("Rate and distortion", facet.title, draw)


def _equal_elbo(axes: Axes) -> None:
    """Lines of slope −1 across the panel, which leave its limits as they are."""
    axes.grid(False)
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    for i in range(1, 8):
        total = left + bottom + (right - left + top - bottom) * i / 8
        axes.plot([left, right], [total - left, total - right], color=FAINT, alpha=0.5, linewidth=0.6, zorder=0)
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)
