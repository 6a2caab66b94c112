"""What training looked like."""

from matplotlib.axes import Axes

from vaebench.reporting.figures.facets import Arrangement, Facet
from vaebench.reporting.figures.plotting import banded, settled_limits
from vaebench.reporting.figures.seed_bands import over_epochs
from vaebench.reporting.figures.svg import Chart, Panel, panel
from vaebench.reporting.tables.rankings import Table

COLUMNS = {
    "train/objective": "objective in training",
    "val/elbo": "validation ELBO",
    "val/rate": "validation rate",
    "val/distortion": "validation distortion",
    "val/active_units": "validation active units",
}
"""Columns of a record's curve, and what stands above their panels."""


def chart(table: Table, arrangement: Arrangement) -> Chart | None:
    """Every column over epochs, a panel a column and facet."""
    found = [(column, facet) for column in COLUMNS for facet in _showing(arrangement, column)]
    if not found:
        return None
    caption = (
        "Nats per observation over epochs: mean over seeds, and its 95 % Student-t interval where there are several. "
        "The first 5 % of the epochs may lie outside. Objectives of different models or β are not comparable."
    )
    panels = tuple(_panel(column, facet) for column, facet in found)
    return Chart("curves", "Training", caption, panels, arrangement.legend([facet for _, facet in found]))


def _showing(arrangement: Arrangement, column: str) -> list[Facet]:
    return arrangement.showing(lambda row: bool(over_epochs(row.group, column).x))


def _panel(column: str, facet: Facet) -> Panel:
    lines = [(over_epochs(s.row.group, column), s.colour) for s in facet.strands]

    def draw(axes: Axes) -> None:
        for line, colour in lines:
            banded(axes, line, colour, "o" if len(line.x) == 1 else "")
        settled_limits(axes, [line for line, _ in lines])
        axes.set_xlabel("epoch")

    return panel("Training", ", ".join(filter(None, [COLUMNS[column], facet.title])), draw)
