"""Lines over what is no axis of the study: epochs of training, draws of a bound, how much of an image is erased.

And lines of latent units: the KL of each, by its rank and over β, and how many count as collapsed.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from vaebench.records.description import Description, Panel, Role
from vaebench.records.record import COLLAPSED, EPSILONS, UNIT_RATES, Record
from vaebench.reporting.figures.base import (
    MOST_PANELS,
    Band,
    Facet,
    Facets,
    Figure,
    Legend,
    LineFigure,
    Lines,
    LinesFigure,
    array,
    band,
    limit_after_warm_up,
    limit_to_zero,
    lines,
    measured_on,
    over_array,
    over_ranks,
    plot_band,
    plot_doubtful,
    whole_ticks,
    within,
)
from vaebench.reporting.figures.headline import Kind, chosen, joined, limits, terms
from vaebench.reporting.figures.svg import INK, RAMP, Axes, variable
from vaebench.reporting.tables.labels import named
from vaebench.reporting.tables.quantities import EXPLANATION, Quantity, with_role
from vaebench.reporting.tables.table import Row, Table

NOT_SHOWN = ("val/objective",)
"""Columns that are left out: objectives of different models or β are not comparable, and one of them is enough."""


VALIDATION = "val/"  # how the columns of the validation split begin


WIDE = 100.0
"""The ratio of the largest to the smallest value from which on a positive curve is drawn on a logarithmic axis."""


class Curves(LinesFigure):
    """Every column over epochs, a panel for each column and facet."""

    name, title = "curves", "Training"
    labels = "epoch", ""
    how = (
        "Nats per observation over epochs: mean over seeds, and its 95 % Student-t interval where there are "
        "several. The first 5 % of the epochs may lie outside. Objectives of different models or β are not "
        "comparable."
    )

    def panels(self, table: Table, facets: Facets) -> Sequence[tuple[str, Lines]]:
        return [
            (", ".join(filter(None, [column.heading, found.facet.title])), found)
            for column in _columns(table)
            for found in lines(facets, partial(_column_band, column.name), fewest=2)
        ]

    def plot(self, axes: Axes, panel: Lines) -> None:
        super().plot(axes, panel)
        limit_after_warm_up(axes, panel.bands)


def _columns(table: Table) -> list[Quantity]:
    """The columns of the runs' curves, in the order of their descriptions."""
    runs = [record for row in table.rows for record in row.group.done]
    described = {name: record.description(name) for record in reversed(runs) for name in record.curve}
    columns = [Quantity(name, d) for name, d in described.items() if d.panel is Panel.TRAINING]
    return sorted((c for c in columns if c.name not in NOT_SHOWN), key=lambda c: c.order)


def _column_band(column: str, row: Row) -> Band:
    """The curve, its interval cut to what the number itself can be: `val/rate` is a rate, and not below zero."""
    name = column.removeprefix(VALIDATION)
    described = row.group.done[0].description(name) if row.group.done else Description()
    return within(_over_epochs([(1, column)], row), *limits(Quantity(name, described), [row]))


class OverEpochs(LinesFigure):
    """A column of the curve, or a sum of columns and of numbers of the trained run, over epochs."""

    name, title = "over-epochs", "The answer over training"
    labels = "epoch", "nats"
    how = "Over the epochs of training: mean over seeds, and its 95 % interval where there are several."

    def panels(self, table: Table, facets: Facets) -> Sequence[tuple[str, Lines]]:
        asked = chosen(table)
        if asked is None or asked.kind is not Kind.EPOCHS:
            return []
        panels = []
        for text, title in asked.y:
            parts = terms(text)
            heading = title or joined([(sign, _heading(table, name)) for sign, name in parts])
            for found in lines(facets, partial(_over_epochs, parts), fewest=2):
                panels.append((", ".join(filter(None, [heading, found.facet.title])), found))
        return panels

    def plot(self, axes: Axes, panel: Lines) -> None:
        super().plot(axes, panel)
        lowest, highest = min(min(line.low) for line in panel.bands), max(max(line.high) for line in panel.bands)
        if 0 < lowest * WIDE < highest:
            axes.set_yscale("log")
        else:
            limit_after_warm_up(axes, panel.bands)


def _heading(table: Table, name: str) -> str:
    runs = [record for row in table.rows for record in row.group.done]
    described = next((record.description(name) for record in runs), None)
    return Quantity(name, described).heading if described else name


def _over_epochs(parts: Sequence[tuple[int, str]], row: Row) -> Band:
    return band([_curve(record, parts) for record in row.group.done])


def _curve(record: Record, parts: Sequence[tuple[int, str]]) -> list[tuple[float, float]]:
    """The sum at every epoch at which the run has all of its terms; empty if the run lacks one."""
    epochs = record.curve.get("epoch", [])
    columns = [(sign, record.curve.get(name) or _constant(record, name, len(epochs))) for sign, name in parts]
    rows = zip(epochs, *(column for _, column in columns), strict=False)
    return [
        (float(epoch), float(sum(sign * value for (sign, _), value in zip(columns, values, strict=True))))
        for epoch, *values in rows
        if epoch is not None and all(value is not None for value in values)
    ]


def _constant(record: Record, name: str, n: int) -> list[float]:
    """A number of the trained run, at each of n epochs; empty if the run has no such number."""
    estimate = record.estimate(name)
    return [] if estimate is None or isinstance(estimate.value, list) else [float(estimate.value)] * n


class BoundsPanel(NamedTuple):
    """A facet, and every bound of the table by its k."""

    facet: Facet
    bounds: dict[int, Quantity]


class Bounds(Figure[BoundsPanel]):
    """IWAE-k over k, a line a row."""

    name, title = "bounds", "IWAE bounds over k"
    labels = "k", "IWAE-k"

    def panels(self, table: Table, facets: Facets) -> Sequence[tuple[str, BoundsPanel]]:
        found = ((re.fullmatch(r"\w+_(\d+)", q.name), q) for q in with_role(table.quantities, Role.BOUND))
        bounds = dict(sorted((int(name[1]), q) for name, q in found if name))
        shown = facets.keep(lambda row: len(_bounds(row, bounds).x) > 1)
        return [(facet.title, BoundsPanel(facet, bounds)) for facet in shown]

    def caption(self, panels: Sequence[BoundsPanel]) -> str:
        text = "Nats per observation over the number of draws k; mean over seeds and its 95 % interval."
        doubtful = any(_doubtful(series.row, p.bounds) for p in panels for series in p.facet.series)
        return f"{text} An open disc with {EXPLANATION}" if doubtful else text

    def legend(self, facets: Facets, panels: Sequence[BoundsPanel]) -> Legend:
        return facets.legend([p.facet for p in panels])

    def plot(self, axes: Axes, panel: BoundsPanel) -> None:
        for series in panel.facet.series:
            line = _bounds(series.row, panel.bounds)
            plot_band(axes, line, series.colour, "o", series.name)
            plot_doubtful(axes, line, _doubtful(series.row, panel.bounds), series.colour)
        axes.set_xscale("log")
        axes.set_xticks(list(panel.bounds), labels=[str(k) for k in panel.bounds])
        axes.minorticks_off()


def _bounds(row: Row, bounds: dict[int, Quantity]) -> Band:
    return band([[(float(k), value)] for k, bound in bounds.items() for value in row.group.values(bound).values()])


def _doubtful(row: Row, bounds: dict[int, Quantity]) -> list[float]:
    """Every k at which the bound of a row rests on collapsed weights."""
    return [float(k) for k, bound in bounds.items() if row.group.cell(bound).caution is not None]


class Altered(LineFigure):
    """How often the erased image is nearer than the shifted one, over the share erased."""

    name, title = "altered", "A part erased against a shift"
    labels = "share of ink erased", "erased one is nearer"
    how = (
        "Share of images to which the one with a part erased is nearer than the shifted one, over the share of ink "
        "erased. In colour by the distance of codes, mean over seeds and its 95 % interval; dashed by squared "
        "error of the pixels, in which no model takes part."
    )

    def band(self, row: Row) -> Band:
        return _share(row, "code")

    def marker(self, band: Band) -> str:
        return "o"

    def plot(self, axes: Axes, panel: Lines) -> None:
        super().plot(axes, panel)
        pixels = _share(panel.facet.series[0].row, "squared_error")  # the same for every row: it needs no model
        axes.plot(pixels.x, pixels.mean, color=INK, linestyle="--")
        axes.set_ylim(-0.03, 1.03)


def _share(row: Row, distance: str) -> Band:
    return over_array(row.group, f"wrong_by_{distance}_over_share", along="erased_share")


BETA = "model.beta"  # the axis of a study along which `UnitsByBeta` goes
FEWEST = 3  # values of β that make a line


class UnitsByRank(LineFigure):
    """KL per unit, the largest first, a line a row."""

    name, title = "units", "KL per unit"
    labels = "unit, by its KL", "nats"
    how = (
        "KL(q(z_i|x)‖p(z_i)) of every latent unit, in nats, each run's units sorted by it; mean over seeds and its "
        "95 % interval. A unit at zero has collapsed."
    )

    def band(self, row: Row) -> Band:
        return within(over_ranks(row.group, UNIT_RATES), low=0.0)

    def marker(self, band: Band) -> str:
        return "o" if len(band.x) <= 20 else ""

    def plot(self, axes: Axes, panel: Lines) -> None:
        super().plot(axes, panel)
        limit_to_zero(axes)
        whole_ticks(axes, x=True)


class CollapsedUnits(LineFigure):
    """The share of collapsed units over ε (Lucas et al. 2019), a line a row."""

    name, title = "collapse", "Collapsed units over ε"
    labels = "ε in nats", "share of units"

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
    labels = "β", "nats"
    how = (
        "KL(q(z_i|x)‖p(z_i)) in nats; the units of each run in the order of their KL, mean over seeds and its 95 % "
        "interval. Where a line reaches zero, β has collapsed that many units."
    )

    def panels(self, table: Table, facets: Facets) -> Sequence[tuple[str, BetaPanel]]:
        found = {title: runs for title, runs in _by_the_rest(table).items() if len({_beta(r) for r in runs}) >= FEWEST}
        if not 0 < len(found) <= MOST_PANELS:
            return []
        ranks = _ranks([record for records in found.values() for record in records])
        return [(title, BetaPanel(records, ranks)) for title, records in found.items()]

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
