"""Latent units: the KL of each, by its rank and over β, and how many count as collapsed."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from vaebench.records.record import COLLAPSED, EPSILONS, UNIT_RATES, Record
from vaebench.reporting.figures.base import MOST_PANELS, Facets, Figure, Legend, LineFigure, Lines, measured_on
from vaebench.reporting.figures.plotting import (
    Band,
    array,
    band,
    limit_to_zero,
    over_array,
    over_ranks,
    plot_band,
    whole_ticks,
    within,
)
from vaebench.reporting.figures.svg import RAMP, Axes, variable
from vaebench.reporting.tables.labels import named
from vaebench.reporting.tables.rows import Row, Table

BETA = "model.beta"  # the axis of a study along which `UnitsByBeta` goes
FEWEST = 3  # values of β that make a line


class UnitsByRank(LineFigure):
    """KL per unit, the largest first, a line a row."""

    name, title = "units", "KL per unit"

    def band(self, row: Row) -> Band:
        return within(over_ranks(row.group, UNIT_RATES), low=0.0)

    def marker(self, band: Band) -> str:
        return "o" if len(band.x) <= 20 else ""

    def caption(self, panels: Sequence[Lines]) -> str:
        return (
            "KL(q(z_i|x)‖p(z_i)) of every latent unit, in nats, each run's units sorted by it; mean over seeds and its "
            "95 % interval. A unit at zero has collapsed."
        )

    def plot(self, axes: Axes, panel: Lines) -> None:
        super().plot(axes, panel)
        limit_to_zero(axes)
        whole_ticks(axes, x=True)
        axes.set_xlabel("unit, by its KL")
        axes.set_ylabel("nats")


class CollapsedUnits(LineFigure):
    """The share of collapsed units over ε (Lucas et al. 2019), a line a row."""

    name, title = "collapse", "Collapsed units over ε"

    def band(self, row: Row) -> Band:
        return within(over_array(row.group, COLLAPSED, along=EPSILONS), 0.0, 1.0)

    def caption(self, panels: Sequence[Lines]) -> str:
        rows = [series.row for found in panels for series in found.facet.series]
        deltas = sorted({delta for row in rows if (delta := _delta(row)) is not None})
        said = f", δ = {', '.join(f'{delta:g}' for delta in deltas)}" if deltas else ""
        return (
            f"Share of units whose KL is below ε nats for a share 1 − δ of the observations{said}; mean over seeds and "
            "its 95 % interval."
        )

    def plot(self, axes: Axes, panel: Lines) -> None:
        super().plot(axes, panel)
        axes.set_xscale("log")
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlabel("ε in nats")
        axes.set_ylabel("share of units")


def _delta(row: Row) -> float | None:
    metrics = row.group.config.get("evaluate", {}).get("metrics") or []
    return next((m.get("delta") for m in metrics if m.get("name") == "CollapsedUnits"), None)


class BetaPanel(NamedTuple):
    """Runs that differ in β and the seed alone, and the colour of every rank that is drawn."""

    records: list[Record]
    ranks: dict[int, str]


class UnitsByBeta(Figure[BetaPanel]):
    """KL per unit over β, a line a rank: which units β collapses, one after another."""

    name, title = "units-by-beta", "KL per unit by β"

    def panels(self, table: Table, facets: Facets) -> Sequence[tuple[str, BetaPanel]]:
        found = {title: runs for title, runs in _by_the_rest(table).items() if len({_beta(r) for r in runs}) >= FEWEST}
        if not 0 < len(found) <= MOST_PANELS:
            return []
        ranks = _ranks([record for records in found.values() for record in records])
        return [(title, BetaPanel(records, ranks)) for title, records in found.items()]

    def caption(self, panels: Sequence[BetaPanel]) -> str:
        return (
            "KL(q(z_i|x)‖p(z_i)) in nats; the units of each run in the order of their KL, mean over seeds and its 95 % "
            "interval. Where a line reaches zero, β has collapsed that many units."
        )

    def legend(self, facets: Facets, panels: Sequence[BetaPanel]) -> Legend:
        return tuple((variable(colour), f"unit {rank}") for rank, colour in panels[0].ranks.items())

    def plot(self, axes: Axes, panel: BetaPanel) -> None:
        ordered = [(_beta(r), sorted(array(r, UNIT_RATES), reverse=True)) for r in panel.records]
        for rank, colour in panel.ranks.items():
            points = [[(beta, kl[rank - 1])] for beta, kl in ordered if rank <= len(kl)]
            plot_band(axes, within(band(points), low=0.0), colour, "o", f"unit {rank}")
        limit_to_zero(axes)
        if min(beta for beta, _ in ordered) > 0:
            axes.set_xscale("log")
        values = sorted({beta for beta, _ in ordered})
        axes.set_xticks(values, labels=[f"{v:g}" for v in values])
        axes.minorticks_off()
        axes.set_xlabel("β")
        axes.set_ylabel("nats")


def _by_the_rest(table: Table) -> dict[str, list[Record]]:
    """Runs with a KL per unit, by everything that distinguishes their rows except β."""
    found: defaultdict[str, list[Record]] = defaultdict(list)
    if BETA not in table.axes:
        return found
    others = [i for i, path in enumerate(table.axes) if path != BETA]
    for block in table.blocks:
        for row in block.rows:
            title = named([table.headings[i] for i in others], [row.labels[i] for i in others])
            runs = [r for r in row.group.done if array(r, UNIT_RATES) and "beta" in r.facts]
            found[", ".join(filter(None, [title, *measured_on(table, block)]))] += runs
    return found


def _beta(record: Record) -> float:
    return float(record.facts["beta"])


def _ranks(records: Sequence[Record]) -> dict[int, str]:
    """Which ranks are drawn, counted from the unit of largest KL, and their colours; the last rank is always drawn."""
    units = max(len(array(r, UNIT_RATES)) for r in records)
    shown = min(units, len(RAMP))
    last = max(shown - 1, 1)
    return {1 + round(i * (units - 1) / last): RAMP[-1 - round(i * (len(RAMP) - 1) / last)] for i in range(shown)}
