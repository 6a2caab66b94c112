"""A part erased against a shift, by how much is erased."""

from matplotlib.axes import Axes

from vaebench.reporting.figures.facets import Arrangement, Facet
from vaebench.reporting.figures.plotting import banded
from vaebench.reporting.figures.seed_bands import Profile, over_array
from vaebench.reporting.figures.svg import INK, Chart, Panel, panel
from vaebench.reporting.tables.rankings import Row, Table


def chart(table: Table, arrangement: Arrangement) -> Chart | None:
    """How often the erased image is nearer than the shifted one over the share erased, a line a row."""
    facets = arrangement.showing(lambda row: bool(_line(row, "code").x))
    if not facets:
        return None
    caption = (
        "Share of images to which the one with a part erased is nearer than the shifted one, over the share of ink "
        "erased. In colour by the distance of codes, mean over seeds and its 95 % interval; dashed by squared error of "
        "the pixels, in which no model takes part."
    )
    legend = arrangement.legend(facets)
    return Chart("altered", "A part erased against a shift", caption, tuple(map(_panel, facets)), legend)


def _line(row: Row, by: str) -> Profile:
    return over_array(row.group, f"wrong_by_{by}_over_share", along="erased_share")


def _panel(facet: Facet) -> Panel:
    def draw(axes: Axes) -> None:
        for strand in facet.strands:
            banded(axes, _line(strand.row, "code"), strand.colour, "o")
        pixels = _line(facet.strands[0].row, "squared_error")
        axes.plot(pixels.x, pixels.mean, color=INK, linestyle="--")
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlabel("share of ink erased")
        axes.set_ylabel("erased one is nearer")

    return panel("A part erased against a shift", facet.title, draw)
