"""Lines over what is no axis of the study: epochs of training, draws of a bound, how much of an image is erased.

And lines of latent units: the KL of each, by its rank and over β, and how many count as collapsed.
"""

import math
import re
from collections import defaultdict
from collections.abc import Sequence
from functools import partial

from vaebench.records.description import Description, Panel, Role
from vaebench.records.record import COLLAPSED, EPSILONS, UNIT_RATES, Record
from vaebench.reporting.figures.base import (
    MOST_PANELS,
    Band,
    Facet,
    Facets,
    Lines,
    Sketch,
    band,
    doubt,
    limit_after_warm_up,
    lines,
    measured_on,
    plot_band,
    plot_doubtful,
    shared,
    sketch,
    sketch_lines,
    whole_epochs,
    whole_ticks,
    within,
)
from vaebench.reporting.figures.headline import Kind, chosen, joined, limits, terms
from vaebench.reporting.figures.svg import INK, RAMP, Axes, variable
from vaebench.reporting.tables.labels import named
from vaebench.reporting.tables.quantities import Quantity, with_role
from vaebench.reporting.tables.table import Group, Row, Table

NOT_SHOWN = ("val/objective",)
"""Columns that are left out: objectives of different models or β are not comparable, and one of them is enough."""

VALIDATION = "val/"  # how the columns of the validation split begin

WIDE = 100.0
"""The ratio of the largest to the smallest value from which on a positive curve is drawn on a logarithmic axis."""


def curves(table: Table, facets: Facets) -> Sketch | None:
    """Every column over epochs, a panel for each column and facet."""

    def finish(axes: Axes, panel: Lines) -> None:
        whole_epochs(axes)
        limit_after_warm_up(axes, panel.bands)

    panels = [
        found
        for column in _columns(table)
        for found in lines(facets, partial(_column_band, column.name), column.heading, fewest=2)
    ]
    caption = (
        "Nats per observation over epochs: mean over seeds, and its 95 % Student-t interval where there are "
        "several. The first 5 % of the epochs may lie outside. Objectives of different models or β are not "
        f"comparable.{_ends(table)}"
    )
    return sketch_lines("Training", panels, facets, caption, ("epoch", ""), finish)


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


def over_epochs(table: Table, facets: Facets) -> Sketch | None:
    """A column of the curve, or a sum of columns and of numbers of the trained run, over epochs."""

    def finish(axes: Axes, panel: Lines) -> None:
        whole_epochs(axes)
        lowest, highest = min(min(line.low) for line in panel.bands), max(max(line.high) for line in panel.bands)
        if 0 < lowest * WIDE < highest:
            axes.set_yscale("log")
        else:
            limit_after_warm_up(axes, panel.bands)

    asked = chosen(table)
    if asked is None or asked.kind is not Kind.EPOCHS:
        return None
    runs = [record for row in table.rows for record in row.group.done]
    panels = []
    for text, title in asked.y:
        parts = terms(text)
        numbers = [Quantity(name, runs[0].description(name) if runs else Description()) for _, name in parts]
        words = joined([(sign, number.heading) for (sign, _), number in zip(parts, numbers, strict=True)])
        panels += lines(facets, partial(_over_epochs, parts), title or words, fewest=2, numbers=numbers)
    caption = (
        f"Over the epochs of training: mean over seeds, and its 95 % interval where there are several.{_ends(table)}"
    )
    return sketch_lines("The answer over training", panels, facets, caption, ("epoch", "nats"), finish)


def _over_epochs(parts: Sequence[tuple[int, str]], row: Row) -> Band:
    return band(shared(_curve(record, parts) for record in row.group.done))


def _ends(table: Table) -> str:
    """What a caption says of runs of a row that differ in their epochs, after a space; empty where none do."""
    last = [{r.curve["epoch"][-1] for r in row.group.done if r.curve.get("epoch")} for row in table.rows]
    early = any(len(epochs) > 1 for epochs in last)
    return " Where runs of a row end at different epochs, its line ends with the first." if early else ""


def _curve(record: Record, parts: Sequence[tuple[int, str]]) -> list[tuple[float, float]]:
    """The sum at every epoch at which the run has all of its terms; empty if the run lacks one."""
    epochs = record.curve.get("epoch", [])
    # A number of the trained run is the same at every epoch.
    constant = {name: [] if (n := record.number(name)) is None else [n] * len(epochs) for _, name in parts}
    columns = [(sign, record.curve.get(name) or constant[name]) for sign, name in parts]
    rows = zip(epochs, *(column for _, column in columns), strict=False)
    return [
        (float(epoch), float(sum(sign * value for (sign, _), value in zip(columns, values, strict=True))))
        for epoch, *values in rows
        if epoch is not None and all(value is not None for value in values)
    ]


def bounds(table: Table, facets: Facets) -> Sketch | None:
    """IWAE-k over k, a line a row."""
    found = ((re.fullmatch(r"\w+_(\d+)", q.name), q) for q in with_role(table.quantities, Role.BOUND))
    by_k = dict(sorted((int(name[1]), q) for name, q in found if name))

    def line(row: Row) -> Band:
        return band([[(float(k), value)] for k, bound in by_k.items() for value in row.group.values(bound).values()])

    def doubtful(row: Row) -> list[float]:
        """Every k at which the bound of a row rests on collapsed weights."""
        return [float(k) for k, bound in by_k.items() if row.group.cell(bound).caution is not None]

    def plot(axes: Axes, facet: Facet) -> None:
        for series in facet.series:
            plot_band(axes, line(series.row), series.colour, "o", series.name)
            plot_doubtful(axes, line(series.row), doubtful(series.row), series.colour)
        axes.set_xscale("log")
        axes.set_xticks(list(by_k), labels=[str(k) for k in by_k])
        axes.minorticks_off()

    shown = facets.keep(lambda row: len(line(row).x) > 1)
    caption = "Nats per observation over the number of draws k; mean over seeds and its 95 % interval."
    caption += doubt((series.row, bound) for facet in shown for series in facet.series for bound in by_k.values())
    panels = [(facet.title, facet) for facet in shown]
    return sketch("IWAE bounds over k", panels, plot, caption, facets.legend(shown), ("k", "IWAE-k"))


def altered(table: Table, facets: Facets) -> Sketch | None:
    """How often the erased image is nearer than the shifted one, over the share erased."""

    def share(row: Row, distance: str = "code") -> Band:
        return over_array(row.group, f"wrong_by_{distance}_over_share", along="erased_share")

    def finish(axes: Axes, panel: Lines) -> None:
        pixels = share(panel.facet.series[0].row, "squared_error")  # the same for every row: it needs no model
        axes.plot(pixels.x, pixels.mean, color=INK, linestyle="--")
        axes.set_ylim(-0.03, 1.03)

    caption = (
        "Share of images to which the one with a part erased is nearer than the shifted one, over the share of ink "
        "erased. In colour by the distance of codes, mean over seeds and its 95 % interval; dashed by squared "
        "error of the pixels, in which no model takes part."
    )
    title, labels = "A part erased against a shift", ("share of ink erased", "erased one is nearer")
    return sketch_lines(title, lines(facets, share), facets, caption, labels, finish, marked=math.inf)


BETA = "model.beta"  # the axis of a study along which `units_by_beta` goes
FEWEST = 3  # values of β that make a line


def units_by_rank(table: Table, facets: Facets) -> Sketch | None:
    """KL per unit, the largest first, a line a row."""

    def line(row: Row) -> Band:
        arrays = [sorted(array(record, UNIT_RATES), reverse=True) for record in row.group.done]
        return within(band([[(float(i), y) for i, y in enumerate(a, 1)] for a in arrays]), low=0.0)

    def finish(axes: Axes, panel: Lines) -> None:
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
        whole_ticks(axes.xaxis)

    caption = (
        "KL(q(z_i|x)‖p(z_i)) of every latent unit, in nats, each run's units sorted by it; mean over seeds and its "
        "95 % interval. A unit at zero has collapsed."
    )
    labels = "unit, by its KL", "nats"
    return sketch_lines("KL per unit", lines(facets, line), facets, caption, labels, finish, marked=20)


def collapsed_units(table: Table, facets: Facets) -> Sketch | None:
    """The share of collapsed units over ε (Lucas et al. 2019), a line a row."""

    def finish(axes: Axes, panel: Lines) -> None:
        axes.set_xscale("log")
        axes.set_ylim(-0.03, 1.03)

    panels = lines(facets, lambda row: within(over_array(row.group, COLLAPSED, along=EPSILONS), 0.0, 1.0))
    rows = [series.row for _, found in panels for series in found.facet.series]
    deltas = sorted({delta for row in rows if (delta := _delta(row)) is not None})
    said = f", δ = {', '.join(f'{delta:g}' for delta in deltas)}" if deltas else ""
    caption = (
        f"Share of units whose KL is below ε nats for a share 1 − δ of the observations{said}; mean over seeds and "
        "its 95 % interval."
    )
    labels = "ε in nats", "share of units"
    return sketch_lines("Collapsed units over ε", panels, facets, caption, labels, finish)


def _delta(row: Row) -> float | None:
    metrics = row.group.config.get("evaluate", {}).get("metrics") or []
    return next((m.get("delta") for m in metrics if m.get("name") == "CollapsedUnits"), None)


def units_by_beta(table: Table, facets: Facets) -> Sketch | None:
    """KL per unit over β, a line a rank: which units β collapses, one after another."""
    panels = [(title, runs) for title, runs in _by_the_rest(table).items() if len({_beta(r) for r in runs}) >= FEWEST]
    if not 0 < len(panels) <= MOST_PANELS:
        return None
    ranks = _ranks([record for _, records in panels for record in records])

    def plot(axes: Axes, records: list[Record]) -> None:
        ordered = [(_beta(r), sorted(array(r, UNIT_RATES), reverse=True)) for r in records]
        for rank, colour in ranks.items():
            points = [[(beta, kl[rank - 1])] for beta, kl in ordered if rank <= len(kl)]
            plot_band(axes, within(band(points), low=0.0), colour, "o", f"unit {rank}")
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
        if min(beta for beta, _ in ordered) > 0:
            axes.set_xscale("log")
        values = sorted({beta for beta, _ in ordered})
        axes.set_xticks(values, labels=[f"{v:g}" for v in values])
        axes.minorticks_off()

    caption = (
        "KL(q(z_i|x)‖p(z_i)) in nats; the units of each run in the order of their KL, mean over seeds and its 95 % "
        "interval. Where a line reaches zero, β has collapsed that many units."
    )
    legend = tuple((variable(colour), f"unit {rank}") for rank, colour in ranks.items())
    return sketch("KL per unit by β", panels, plot, caption, legend, ("β", "nats"))


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


def over_array(group: Group, name: str, along: str) -> Band:
    """An array of the runs over another array of theirs."""
    pairs = [(array(record, along), array(record, name)) for record in group.done]
    return band([list(zip(x, y, strict=True)) for x, y in pairs if len(x) == len(y)])


def array(record: Record, name: str) -> list[float]:
    """An array of a record; empty if the record has none, or if not every value is finite."""
    estimate = record.estimate(name)
    values = estimate.value if estimate is not None and isinstance(estimate.value, list) else []
    return values if all(map(math.isfinite, values)) else []
