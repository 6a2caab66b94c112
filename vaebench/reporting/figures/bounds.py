"""How much more draws tighten the bound."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from vaebench.reporting.figures.base import Figure
from vaebench.reporting.figures.facets import Facet, Facets, Legend
from vaebench.reporting.figures.plotting import Band, band, plot_band, plot_doubtful
from vaebench.reporting.tables.quantities import EXPLANATION, Quantity
from vaebench.reporting.tables.rows import Row, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class BoundsPanel(NamedTuple):
    """A facet, and every k of the table."""

    facet: Facet
    sizes: list[int]


class Bounds(Figure[BoundsPanel]):
    """IWAE-k over k, a line a row."""

    name, title = "bounds", "IWAE bounds over k"

    def panels(self, table: Table, facets: Facets) -> Sequence[tuple[str, BoundsPanel]]:
        sizes = sorted(int(found[1]) for q in table.quantities if (found := re.fullmatch(r"iwae_(\d+)", q.name)))
        shown = facets.keep(lambda row: len(_band(row, sizes).x) > 1)
        return [(facet.title, BoundsPanel(facet, sizes)) for facet in shown]

    def caption(self, panels: Sequence[BoundsPanel]) -> str:
        text = "Nats per observation over the number of draws k; mean over seeds and its 95 % interval."
        doubtful = any(_doubtful(series.row, p.sizes) for p in panels for series in p.facet.series)
        return f"{text} An open disc with {EXPLANATION}" if doubtful else text

    def legend(self, facets: Facets, panels: Sequence[BoundsPanel]) -> Legend:
        return facets.legend([p.facet for p in panels])

    def plot(self, axes: "Axes", panel: BoundsPanel) -> None:
        for series in panel.facet.series:
            line = _band(series.row, panel.sizes)
            plot_band(axes, line, series.colour, "o", series.name)
            plot_doubtful(axes, line, _doubtful(series.row, panel.sizes), series.colour)
        axes.set_xscale("log")
        axes.set_xticks(panel.sizes, labels=[str(k) for k in panel.sizes])
        axes.minorticks_off()
        axes.set_xlabel("k")
        axes.set_ylabel("IWAE-k")


def _band(row: Row, sizes: list[int]) -> Band:
    by_size = {k: row.group.values(Quantity(f"iwae_{k}")) for k in sizes}
    return band([[(float(k), value)] for k, values in by_size.items() for value in values.values()])


def _doubtful(row: Row, sizes: list[int]) -> list[float]:
    """Every k at which the bound of a row rests on collapsed weights."""
    return [float(k) for k in sizes if row.group.cell(Quantity(f"iwae_{k}")).caution is not None]
