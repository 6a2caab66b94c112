"""How far more draws tighten the bound."""

import re

from matplotlib.axes import Axes

from vaebench.reporting.figures.facets import Arrangement, Facet
from vaebench.reporting.figures.plotting import banded, doubtful
from vaebench.reporting.figures.seed_bands import Profile, profile
from vaebench.reporting.figures.svg import Chart, Panel, panel
from vaebench.reporting.tables.quantities import Quantity
from vaebench.reporting.tables.rankings import Row, Table
from vaebench.reporting.tables.reliability import EXPLANATION


def chart(table: Table, arrangement: Arrangement) -> Chart | None:
    """IWAE-k over k, a line a row."""
    sizes = sorted(int(found[1]) for q in table.quantities if (found := re.fullmatch(r"iwae_(\d+)", q.name)))
    facets = arrangement.showing(lambda row: len(_line(row, sizes).x) > 1)
    if not facets:
        return None
    caption = "Nats per observation over the number of draws k; mean over seeds and its 95 % interval."
    if any(_marked(strand.row, sizes) for facet in facets for strand in facet.strands):
        caption += f" An open disc with {EXPLANATION}"
    panels = tuple(_panel(facet, sizes) for facet in facets)
    return Chart("bounds", "IWAE bounds over k", caption, panels, arrangement.legend(facets))


def _line(row: Row, sizes: list[int]) -> Profile:
    by_size = {k: row.group.values(Quantity(f"iwae_{k}")) for k in sizes}
    return profile([[(float(k), value)] for k, values in by_size.items() for value in values.values()])


def _marked(row: Row, sizes: list[int]) -> list[float]:
    """The sizes at which the bound of a row rests on collapsed weights."""
    return [float(k) for k in sizes if row.group.cell(Quantity(f"iwae_{k}")).caution is not None]


def _panel(facet: Facet, sizes: list[int]) -> Panel:
    def draw(axes: Axes) -> None:
        for strand in facet.strands:
            line = _line(strand.row, sizes)
            banded(axes, line, strand.colour, "o")
            doubtful(axes, line, _marked(strand.row, sizes), strand.colour)
        axes.set_xscale("log")
        axes.set_xticks(sizes, labels=[str(k) for k in sizes])
        axes.minorticks_off()
        axes.set_xlabel("k")
        axes.set_ylabel("IWAE-k")

    return panel("IWAE bounds over k", facet.title, draw)
