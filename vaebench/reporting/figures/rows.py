"""The numbers of the headline for every row, where no axis of numbers makes a line of them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from vaebench.records.description import Role
from vaebench.reporting.figures.base import Figure
from vaebench.reporting.figures.facets import Facets
from vaebench.reporting.figures.headline import has_axis, limits
from vaebench.reporting.figures.plotting import band, few_ticks, within
from vaebench.reporting.figures.svg import ACCENT
from vaebench.reporting.tables.labels import is_number, slug
from vaebench.reporting.tables.layout import comparability, headline
from vaebench.reporting.tables.quantities import Quantity
from vaebench.reporting.tables.rankings import Row, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_ROWS, LONGEST = 12, 30
"""More rows, or a longer label, have no room in a panel."""


class RowsPanel(NamedTuple):
    """One number of some rows, each with its label."""

    quantity: Quantity
    rows: list[tuple[str, Row]]


class Rows(Figure[RowsPanel]):
    """Each number of the headline, a row each: mean over seeds and its interval.

    A study that asks about the forecast of active units has a figure of its own for that.
    """

    name, title = "rows", "The answer by row"

    def panels(self, table: Table, facets: Facets) -> Sequence[tuple[str, RowsPanel]]:
        asked = [q for q in table.quantities if q.name in table.presentation.headline]
        if has_axis(table) or any(q.description.role is Role.FORECAST for q in asked):
            return []
        return [
            (f"{q.heading} ({comparability(block, table.blocks)})" if len(table.blocks) > 1 else q.heading, made)
            for block in table.blocks
            for q in (table.quantities[i] for i in headline(table, block))
            if _fits(made := RowsPanel(q, _measured(table, block.rows, q)))
        ]

    def caption(self, panels: Sequence[RowsPanel]) -> str:
        return "The numbers of the headline: mean over seeds and its 95 % interval."

    def plot(self, axes: "Axes", panel: RowsPanel) -> None:
        for y, (_, row) in enumerate(panel.rows):
            found = band([[(float(y), value)] for value in row.group.values(panel.quantity).values()])
            found = within(found, *limits(panel.quantity, [row]))
            axes.plot(found.mean, found.x, "o", color=ACCENT)
            axes.plot([*found.low, *found.high], [y, y], color=ACCENT)
        axes.set_yticks(range(len(panel.rows)), labels=[label for label, _ in panel.rows])
        axes.set_ylim(len(panel.rows) - 0.5, -0.5)
        few_ticks(axes)
        axes.set_xlabel(panel.quantity.description.unit or panel.quantity.heading)


def _fits(panel: RowsPanel) -> bool:
    return 2 <= len(panel.rows) <= MOST_ROWS and max(len(label) for label, _ in panel.rows) <= LONGEST


def _measured(table: Table, rows: Sequence[Row], quantity: Quantity) -> list[tuple[str, Row]]:
    """The rows that have the number; words stand without their heading."""
    return [(_label(table, row), row) for row in rows if row.group.values(quantity)]


def _label(table: Table, row: Row) -> str:
    return ", ".join(
        slug([h], [t]) if is_number(t) else t for h, t in zip(table.headings, row.labels, strict=True) if t
    )
