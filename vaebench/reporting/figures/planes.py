"""One measured number against another: those that a study asks for, and rate against distortion (Alemi et al. 2018)."""

from collections.abc import Sequence
from typing import NamedTuple

from vaebench.records.description import Role
from vaebench.reporting.figures.base import (
    Facet,
    FacetFigure,
    Facets,
    Figure,
    Legend,
    coloured,
    few_ticks,
    labelled,
    measured_on,
)
from vaebench.reporting.figures.headline import Kind, chosen
from vaebench.reporting.figures.svg import FAINT, Axes, variable
from vaebench.reporting.tables.quantities import Quantity
from vaebench.reporting.tables.table import Row, Table


class PlanePanel(NamedTuple):
    """Two numbers, and the rows that have both, each with its name and its colour."""

    x: Quantity
    y: Quantity
    rows: list[tuple[str, str, Row]]


class Plane(Figure[PlanePanel]):
    """A mark a row: means over seeds, with the interval of both numbers."""

    name, title = "pair", "The answer in two numbers"

    def panels(self, table: Table, facets: Facets) -> Sequence[tuple[str, PlanePanel]]:
        asked = chosen(table)
        if asked is None or asked.kind is not Kind.QUANTITY or asked.x is None:
            return []
        colour = coloured(_name(table, row, asked.series) for row in table.rows)
        found = []
        for block in table.blocks:
            named = [(_name(table, row, asked.series), row) for row in block.rows]
            for y in asked.numbers:
                rows = [(n, colour[n], r) for n, r in named if colour and r.group.values(y) and r.group.values(asked.x)]
                if len(rows) > 1:
                    found.append((", ".join([y.heading, *measured_on(table, block)]), PlanePanel(asked.x, y, rows)))
        return found

    def caption(self, panels: Sequence[PlanePanel]) -> str:
        return f"A mark a row, over {panels[0].x.heading}: means over seeds, with the 95 % interval of both numbers."

    def legend(self, facets: Facets, panels: Sequence[PlanePanel]) -> Legend:
        return tuple({name: (variable(colour), name) for p in panels for name, colour, _ in p.rows}.values())

    def plot(self, axes: Axes, panel: PlanePanel) -> None:
        for _, colour, row in panel.rows:
            x, y = (row.group.cell(each).interval for each in (panel.x, panel.y))
            assert x is not None
            assert y is not None
            axes.errorbar(
                [x.mean], [y.mean], [y.half_width or 0.0], [x.half_width or 0.0], "o", color=colour, elinewidth=0.8
            )
        few_ticks(axes)
        axes.set_xlabel(panel.x.heading)
        axes.set_ylabel(panel.y.heading)


def _name(table: Table, row: Row, series: int | None) -> str:
    """What has a colour: the row's label in the series, or all its labels."""
    columns = range(len(table.headings)) if series is None else [series]
    return ", ".join(labelled(table.headings[i], row.labels[i]) for i in columns)


class RateDistortion(FacetFigure):
    """A mark a run in the plane of rate and distortion."""

    name, title = "plane", "Rate and distortion"
    labels = "rate", "distortion"
    how = (
        "A mark a run, in nats per observation. Down and to the left is better; along a faint line the ELBO, "
        "−(rate + distortion), is the same."
    )

    def has(self, row: Row) -> bool:
        return bool(_points(row))

    def plot(self, axes: Axes, panel: Facet) -> None:
        for series in panel.series:
            x, y = zip(*_points(series.row), strict=True)
            axes.plot(x, y, "o", color=series.colour, alpha=0.85, markeredgewidth=0)
        _plot_equal_elbo(axes)
        few_ticks(axes)


def _points(row: Row) -> list[tuple[float, float]]:
    """(rate, distortion) of every seed that has both."""
    rates, distortions = row.group.values_of(Role.RATE), row.group.values_of(Role.DISTORTION)
    return [(rates[seed], distortions[seed]) for seed in rates if seed in distortions]


def _plot_equal_elbo(axes: Axes) -> None:
    """Plots lines of slope −1 across the panel, and leaves the limits as they are."""
    axes.grid(False)
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    for i in range(1, 8):
        total = left + bottom + (right - left + top - bottom) * i / 8  # rate + distortion along this line
        axes.plot([left, right], [total - left, total - right], color=FAINT, alpha=0.5, linewidth=0.6, zorder=0)
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)
