"""How much collapses, by what counts as collapsed (Lucas et al. 2019)."""

from matplotlib.axes import Axes

from vaebench.reporting.figures.facets import Arrangement, Facet
from vaebench.reporting.figures.plotting import banded
from vaebench.reporting.figures.seed_bands import Profile, over_array
from vaebench.reporting.figures.svg import Chart, Panel, panel
from vaebench.reporting.tables.rankings import Row, Table


def chart(table: Table, arrangement: Arrangement) -> Chart | None:
    """The share of collapsed units over ε, a line a row."""
    facets = arrangement.showing(lambda row: bool(_line(row).x))
    if not facets:
        return None
    deltas = sorted({d for f in facets for s in f.strands if (d := _delta(s.row)) is not None})
    caption = (
        "Share of units whose KL is below ε nats for a share 1 − δ of the observations"
        + (f", δ = {', '.join(f'{d:g}' for d in deltas)}" if deltas else "")
        + "; mean over seeds and its 95 % interval."
    )
    return Chart("collapse", "Collapsed units over ε", caption, tuple(map(_panel, facets)), arrangement.legend(facets))


def _line(row: Row) -> Profile:
    return over_array(row.group, "collapse_curve", along="collapse_epsilon")


def _delta(row: Row) -> float | None:
    metrics = row.group.config.get("evaluate", {}).get("metrics") or []
    return next((m.get("delta") for m in metrics if m.get("name") == "CollapsedUnits"), None)


def _panel(facet: Facet) -> Panel:
    def draw(axes: Axes) -> None:
        for strand in facet.strands:
            banded(axes, _line(strand.row), strand.colour)
        axes.set_xscale("log")
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlabel("ε in nats")
        axes.set_ylabel("share of units")

    return panel("Collapsed units over ε", facet.title, draw)
