"""The rate of every latent unit."""

from matplotlib.axes import Axes

from vaebench.reporting.figures.facets import Arrangement, Facet
from vaebench.reporting.figures.plotting import banded, whole_numbers
from vaebench.reporting.figures.seed_bands import over_positions
from vaebench.reporting.figures.svg import Chart, Panel, panel
from vaebench.reporting.tables.rankings import Table


def chart(table: Table, arrangement: Arrangement) -> Chart | None:
    """KL per unit, the largest first, a line a row."""
    facets = arrangement.showing(lambda row: bool(over_positions(row.group, "kl_per_unit").x))
    if not facets:
        return None
    caption = (
        "KL(q(z_i|x)‖p(z_i)) of every latent unit, in nats, each run's units sorted by it; mean over seeds and its "
        "95 % interval. A unit at zero has collapsed."
    )
    return Chart("units", "KL per unit", caption, tuple(map(_panel, facets)), arrangement.legend(facets))


def _panel(facet: Facet) -> Panel:
    def draw(axes: Axes) -> None:
        for strand in facet.strands:
            line = over_positions(strand.row.group, "kl_per_unit", falling=True)
            banded(axes, line, strand.colour, "o" if len(line.x) <= 20 else "")
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
        whole_numbers(axes, x=True)
        axes.set_xlabel("unit, by its KL")
        axes.set_ylabel("nats")

    return panel("KL per unit", facet.title, draw)
