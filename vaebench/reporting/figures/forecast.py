"""Active units against what the data's spectrum forecasts."""

from collections import Counter

from matplotlib.axes import Axes

from vaebench.reporting.figures.facets import Arrangement, Facet
from vaebench.reporting.figures.plotting import whole_numbers
from vaebench.reporting.figures.svg import ACCENT, FAINT, INK, Chart, Panel, panel
from vaebench.reporting.tables.quantities import Fact, Quantity
from vaebench.reporting.tables.rankings import Row, Table

ACTIVE, FORECAST = Quantity("active_units"), Fact("forecast_active_units")


def pairs(row: Row) -> list[tuple[float, float]]:
    """Forecast and active units of every run that has both."""
    expected, found = row.group.values(FORECAST), row.group.values(ACTIVE)
    return [(expected[seed], found[seed]) for seed in expected if seed in found]


def chart(table: Table, arrangement: Arrangement) -> Chart | None:
    """How many runs have how many active units, by forecast."""
    facets = arrangement.showing(lambda row: bool(pairs(row)))
    if not facets:
        return None
    notes = {str(n) for f in facets for s in f.strands for r in s.row.group.done if (n := r.facts.get("forecast_note"))}
    caption = (
        "A disc a place, with the number of runs there; on the line the forecast min(L, #{λ_i > βσ²/0.99}) holds. "
        f"The forecast is {'; '.join(sorted(notes)) or 'the data spectrum’s'}."
    )
    return Chart("forecast", "Active units against the forecast", caption, tuple(map(_panel, facets)))


def _panel(facet: Facet) -> Panel:
    places = Counter(pair for strand in facet.strands for pair in pairs(strand.row))

    def draw(axes: Axes) -> None:
        top = max(max(place) for place in places)
        axes.plot([0, top], [0, top], color=FAINT, linewidth=1, zorder=0)
        for (x, y), count in sorted(places.items()):
            axes.plot(x, y, "o", markersize=13, color=ACCENT, alpha=0.28, markeredgewidth=0)
            axes.text(x, y, str(count), ha="center", va="center_baseline", color=INK)
        margin = max(top * 0.09, 0.6)
        axes.set_xlim(-margin, top + margin)
        axes.set_ylim(-margin, top + margin)
        whole_numbers(axes, x=True, y=True)
        axes.set_xlabel("forecast")
        axes.set_ylabel("active units")

    return panel("Active units against the forecast", facet.title, draw)
