"""The numbers of the headline for every row, where no axis of numbers makes a line of them."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from vaebench.reporting.figures.base import Figure
from vaebench.reporting.figures.chosen import Kind, chosen
from vaebench.reporting.figures.facets import Facets, measured_on
from vaebench.reporting.figures.headline import asks_for_forecast, has_axis, limits
from vaebench.reporting.figures.plotting import band, few_ticks, means, within
from vaebench.reporting.figures.svg import ACCENT
from vaebench.reporting.tables.labels import named
from vaebench.reporting.tables.layout import headline
from vaebench.reporting.tables.quantities import Quantity
from vaebench.reporting.tables.rows import Row, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_ROWS, LONGEST = 16, 30
"""Rows that have room in a panel, and characters of a label."""


class RowsPanel(NamedTuple):
    """One number of some rows, each with its label."""

    quantity: Quantity
    rows: list[tuple[str, Row]]


class Rows(Figure[RowsPanel]):
    """Each number that the study's figure or headline names, a row each: mean over seeds and its interval."""

    name, title = "rows", "The main numbers"

    def panels(self, table: Table, facets: Facets) -> Sequence[tuple[str, RowsPanel]]:
        asked = chosen(table)
        if asked.kind is not Kind.WORDS if asked else has_axis(table) or asks_for_forecast(table):
            return []
        return [
            (", ".join([q.heading, *measured_on(table, block)]), made)
            for block in table.blocks
            for q in (asked.numbers if asked else [table.quantities[i] for i in headline(table, block)])
            if _fits(made := RowsPanel(q, _measured(table, block.rows, q)))
        ]

    def caption(self, panels: Sequence[RowsPanel]) -> str:
        return f"A row each: {means(row.group for panel in panels for _, row in panel.rows)}."

    def plot(self, axes: "Axes", panel: RowsPanel) -> None:
        for y, (_, row) in enumerate(panel.rows):
            found = band([[(float(y), value)] for value in row.group.values(panel.quantity).values()])
            found = within(found, *limits(panel.quantity, [row]))
            axes.plot(found.mean, found.x, "o", color=ACCENT)
            axes.plot([*found.low, *found.high], [y, y], color=ACCENT)
        axes.set_yticks(range(len(panel.rows)), labels=_short([label for label, _ in panel.rows]))
        axes.set_ylim(len(panel.rows) - 0.5, -0.5)
        few_ticks(axes, 3)
        axes.set_xlabel(panel.quantity.description.unit or panel.quantity.heading)


def _fits(panel: RowsPanel) -> bool:
    """Whether the rows have room, and are not all the same."""
    values = {v for _, row in panel.rows for v in row.group.values(panel.quantity).values()}
    return 2 <= len(panel.rows) <= MOST_ROWS and len(values) > 1


def _short(labels: Sequence[str]) -> list[str]:
    """Labels that have room: if one is too long, all say numbers without keys; one still too long loses its middle.

    >>> _short(["IWAE, variance=0.15", "VAE (MLP (256, 256), Flow), variance=0.15"])
    ['IWAE, 0.15', 'VAE (MLP (256,…), Flow), 0.15']
    """
    half = LONGEST // 2
    if max(map(len, labels), default=0) > LONGEST:
        labels = [re.sub(r"[\w.]+=", "", label) for label in labels]
    return [text if len(text) <= LONGEST else f"{text[: half - 1]}…{text[-half + 1 :]}" for text in labels]


def _measured(table: Table, rows: Sequence[Row], quantity: Quantity) -> list[tuple[str, Row]]:
    """The rows that have the number, each with the labels that tell it from the others; words need no heading."""
    varying = [i for i in range(len(table.headings)) if len({row.labels[i] for row in rows}) > 1]
    found = [row for row in rows if row.group.values(quantity)]
    return [(named([table.headings[i] for i in varying], [row.labels[i] for i in varying]), row) for row in found]
