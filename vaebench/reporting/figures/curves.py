"""The curves of training."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from vaebench.records.description import Description, Panel
from vaebench.reporting.figures.base import Figure
from vaebench.reporting.figures.facets import Facet, Facets, Legend
from vaebench.reporting.figures.headline import limits
from vaebench.reporting.figures.plotting import Band, limit_after_warm_up, over_epochs, plot_band, within
from vaebench.reporting.tables.quantities import Quantity
from vaebench.reporting.tables.rows import Row, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NOT_SHOWN = ("val/objective",)
"""Columns that are left out: objectives of different models or β are not comparable, and one of them is enough."""


VALIDATION = "val/"
"""How the columns of the validation split begin."""


class CurvePanel(NamedTuple):
    """A facet, and the column of the curve that is shown."""

    column: str
    facet: Facet


class Curves(Figure[CurvePanel]):
    """Every column over epochs, a panel for each column and facet."""

    name, title = "curves", "Training"

    def panels(self, table: Table, facets: Facets) -> Sequence[tuple[str, CurvePanel]]:
        return [
            (", ".join(filter(None, [column.heading, facet.title])), CurvePanel(column.name, facet))
            for column in _columns(table)
            for facet in facets.keep(partial(_has, column.name))
        ]

    def caption(self, panels: Sequence[CurvePanel]) -> str:
        return (
            "Nats per observation over epochs: mean over seeds, and its 95 % Student-t interval where there are "
            "several. The first 5 % of the epochs may lie outside. Objectives of different models or β are not "
            "comparable."
        )

    def legend(self, facets: Facets, panels: Sequence[CurvePanel]) -> Legend:
        return facets.legend([p.facet for p in panels])

    def plot(self, axes: "Axes", panel: CurvePanel) -> None:
        lines = [(_band(panel.column, s.row), s) for s in panel.facet.series]
        for line, series in lines:
            plot_band(axes, line, series.colour, name=series.name)
        limit_after_warm_up(axes, [line for line, _ in lines])
        axes.set_xlabel("epoch")


def _columns(table: Table) -> list[Quantity]:
    """The columns of the runs' curves, in the order of their descriptions."""
    runs = [record for row in table.rows for record in row.group.done]
    described = {name: record.description(name) for record in reversed(runs) for name in record.curve}
    columns = [Quantity(name, d) for name, d in described.items() if d.panel is Panel.TRAINING]
    return sorted((c for c in columns if c.name not in NOT_SHOWN), key=lambda c: c.order)


def _band(column: str, row: Row) -> Band:
    """The curve, its interval cut to what the number itself can be: `val/rate` is a rate, and not below zero."""
    name = column.removeprefix(VALIDATION)
    described = row.group.done[0].description(name) if row.group.done else Description()
    return within(over_epochs(row.group, column), *limits(Quantity(name, described), [row]))


def _has(column: str, row: Row) -> bool:
    return len(over_epochs(row.group, column).x) > 1  # one epoch is no curve
