"""A part erased against a shift, over how much is erased."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vaebench.reporting.figures.base import LineFigure
from vaebench.reporting.figures.facets import Facet
from vaebench.reporting.figures.plotting import Band, over_array
from vaebench.reporting.figures.svg import INK
from vaebench.reporting.tables.rows import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Altered(LineFigure):
    """How often the erased image is nearer than the shifted one, over the share erased."""

    name, title = "altered", "A part erased against a shift"

    def band(self, row: Row) -> Band:
        return _share(row, "code")

    def marker(self, band: Band) -> str:
        return "o"

    def caption(self, panels: Sequence[Facet]) -> str:
        return (
            "Share of images to which the one with a part erased is nearer than the shifted one, over the share of ink "
            "erased. In colour by the distance of codes, mean over seeds and its 95 % interval; dashed by squared "
            "error of the pixels, in which no model takes part."
        )

    def plot(self, axes: "Axes", panel: Facet) -> None:
        super().plot(axes, panel)
        pixels = _share(panel.series[0].row, "squared_error")  # the same for every row: it needs no model
        axes.plot(pixels.x, pixels.mean, color=INK, linestyle="--")
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlabel("share of ink erased")
        axes.set_ylabel("erased one is nearer")


def _share(row: Row, distance: str) -> Band:
    return over_array(row.group, f"wrong_by_{distance}_over_share", along="erased_share")
