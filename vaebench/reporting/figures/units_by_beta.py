"""The rate of every latent unit over β: which units β takes, one after the other."""

from collections import defaultdict
from collections.abc import Sequence

from matplotlib.axes import Axes

from vaebench.records.record import Record
from vaebench.reporting.figures.facets import MOST_PANELS, Arrangement
from vaebench.reporting.figures.plotting import banded
from vaebench.reporting.figures.seed_bands import array, profile
from vaebench.reporting.figures.svg import RAMP, Chart, Panel, panel, variable
from vaebench.reporting.tables.labels import slug
from vaebench.reporting.tables.layout import comparability
from vaebench.reporting.tables.rankings import Table

BETA = "model.beta"
"""The axis of a study along which the chart goes."""

FEWEST = 3
"""Values of β that make a line."""


def chart(table: Table, arrangement: Arrangement) -> Chart | None:
    """KL per unit over β, a line a unit, where the study has an axis of β and few panels hold what is left."""
    found = {title: records for title, records in _apart(table).items() if len({_beta(r) for r in records}) >= FEWEST}
    if not 0 < len(found) <= MOST_PANELS:
        return None
    caption = (
        "KL(q(z_i|x)‖p(z_i)) in nats; the units of each run in the order of their KL, mean over seeds and its 95 % "
        "interval. Where a line reaches zero, β has collapsed that many units."
    )
    ranks = _ranks([r for records in found.values() for r in records])
    panels = tuple(_panel(title, records, ranks) for title, records in found.items())
    legend = tuple((variable(colour), f"unit {rank}") for rank, colour in ranks.items())
    return Chart("units-by-beta", "KL per unit by β", caption, panels, legend)


def _apart(table: Table) -> dict[str, list[Record]]:
    """Runs with a KL per unit, by all that sets their rows apart but β."""
    apart: defaultdict[str, list[Record]] = defaultdict(list)
    if BETA not in table.axes:
        return apart
    others = [i for i, path in enumerate(table.axes) if path != BETA]
    for block in table.blocks:
        measured = [comparability(block, table.blocks)] if len(table.blocks) > 1 else []
        for row in block.rows:
            named = slug([table.headings[i] for i in others], [row.labels[i] for i in others])
            runs = [r for r in row.group.done if array(r, "kl_per_unit") and "beta" in r.facts]
            apart[", ".join(filter(None, [named, *measured]))] += runs
    return apart


def _beta(record: Record) -> float:
    return float(record.facts["beta"])


def _ranks(records: Sequence[Record]) -> dict[int, str]:
    """Which units are drawn, counted from the one of largest KL, and their colours; the last is among them."""
    units = max(len(array(r, "kl_per_unit")) for r in records)
    shown = min(units, len(RAMP))
    last = max(shown - 1, 1)
    return {1 + round(i * (units - 1) / last): RAMP[-1 - round(i * (len(RAMP) - 1) / last)] for i in range(shown)}


def _panel(title: str, records: Sequence[Record], ranks: dict[int, str]) -> Panel:
    ordered = [(_beta(r), sorted(array(r, "kl_per_unit"), reverse=True)) for r in records]

    def draw(axes: Axes) -> None:
        for rank, colour in ranks.items():
            points = [[(beta, kl[rank - 1])] for beta, kl in ordered if rank <= len(kl)]
            banded(axes, profile(points), colour, "o")
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
        if min(beta for beta, _ in ordered) > 0:
            axes.set_xscale("log")
        values = sorted({beta for beta, _ in ordered})
        axes.set_xticks(values, labels=[f"{v:g}" for v in values])
        axes.minorticks_off()
        axes.set_xlabel("β")
        axes.set_ylabel("nats")

    return panel("KL per unit by β", title, draw)
