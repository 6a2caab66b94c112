"""Lines over what is no axis of the study: epochs of training, draws of a bound, how much of an image is erased."""

import re
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from vaebench.records.description import Description, Panel, Role
from vaebench.records.record import Record
from vaebench.reporting.figures.base import Facet, Facets, Figure, Legend, LineFigure, Lines, LinesFigure, lines
from vaebench.reporting.figures.headline import Kind, chosen, joined, limits, terms
from vaebench.reporting.figures.plotting import (
    Band,
    band,
    limit_after_warm_up,
    over_array,
    plot_band,
    plot_doubtful,
    within,
)
from vaebench.reporting.figures.svg import INK, Axes
from vaebench.reporting.tables.quantities import EXPLANATION, Quantity, with_role
from vaebench.reporting.tables.rows import Row, Table

NOT_SHOWN = ("val/objective",)
"""Columns that are left out: objectives of different models or β are not comparable, and one of them is enough."""


VALIDATION = "val/"  # how the columns of the validation split begin


WIDE = 100.0
"""The ratio of the largest to the smallest value from which on a positive curve is drawn on a logarithmic axis."""


class Curves(LinesFigure):
    """Every column over epochs, a panel for each column and facet."""

    name, title = "curves", "Training"

    def panels(self, table: Table, facets: Facets) -> Sequence[tuple[str, Lines]]:
        return [
            (", ".join(filter(None, [column.heading, found.facet.title])), found)
            for column in _columns(table)
            for found in lines(facets, partial(_column_band, column.name), fewest=2)
        ]

    def caption(self, panels: Sequence[Lines]) -> str:
        return (
            "Nats per observation over epochs: mean over seeds, and its 95 % Student-t interval where there are "
            "several. The first 5 % of the epochs may lie outside. Objectives of different models or β are not "
            "comparable."
        )

    def plot(self, axes: Axes, panel: Lines) -> None:
        super().plot(axes, panel)
        limit_after_warm_up(axes, panel.bands)
        axes.set_xlabel("epoch")


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

    def caption(self, panels: Sequence[Lines]) -> str:
        return "Over the epochs of training: mean over seeds, and its 95 % interval where there are several."

    def plot(self, axes: Axes, panel: Lines) -> None:
        super().plot(axes, panel)
        lowest, highest = min(min(line.low) for line in panel.bands), max(max(line.high) for line in panel.bands)
        if 0 < lowest * WIDE < highest:
            axes.set_yscale("log")
        else:
            limit_after_warm_up(axes, panel.bands)
        axes.set_xlabel("epoch")
        axes.set_ylabel("nats")


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
        axes.set_xlabel("k")
        axes.set_ylabel("IWAE-k")


def _bounds(row: Row, bounds: dict[int, Quantity]) -> Band:
    return band([[(float(k), value)] for k, bound in bounds.items() for value in row.group.values(bound).values()])


def _doubtful(row: Row, bounds: dict[int, Quantity]) -> list[float]:
    """Every k at which the bound of a row rests on collapsed weights."""
    return [float(k) for k, bound in bounds.items() if row.group.cell(bound).caution is not None]


class Altered(LineFigure):
    """How often the erased image is nearer than the shifted one, over the share erased."""

    name, title = "altered", "A part erased against a shift"

    def band(self, row: Row) -> Band:
        return _share(row, "code")

    def marker(self, band: Band) -> str:
        return "o"

    def caption(self, panels: Sequence[Lines]) -> str:
        return (
            "Share of images to which the one with a part erased is nearer than the shifted one, over the share of ink "
            "erased. In colour by the distance of codes, mean over seeds and its 95 % interval; dashed by squared "
            "error of the pixels, in which no model takes part."
        )

    def plot(self, axes: Axes, panel: Lines) -> None:
        super().plot(axes, panel)
        pixels = _share(panel.facet.series[0].row, "squared_error")  # the same for every row: it needs no model
        axes.plot(pixels.x, pixels.mean, color=INK, linestyle="--")
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlabel("share of ink erased")
        axes.set_ylabel("erased one is nearer")


def _share(row: Row, distance: str) -> Band:
    return over_array(row.group, f"wrong_by_{distance}_over_share", along="erased_share")
