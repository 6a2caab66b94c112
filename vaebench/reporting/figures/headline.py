"""The numbers of the headline over the axis that the study varies."""

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from vaebench.records.description import Role
from vaebench.reporting.figures.base import Figure
from vaebench.reporting.figures.facets import MOST_COLOURS, Facets, Legend
from vaebench.reporting.figures.plotting import Band, band, plot_band, within
from vaebench.reporting.figures.svg import CATEGORIES, variable
from vaebench.reporting.tables.labels import is_number, slug
from vaebench.reporting.tables.layout import headline
from vaebench.reporting.tables.quantities import Quantity
from vaebench.reporting.tables.rankings import Block, Row, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEWEST = 3
"""Values of an axis that make a line."""

COUNTS = (Role.ACTIVE_UNITS, Role.COLLAPSED_UNITS)
"""What is between zero and the number of latent units."""


class HeadlinePanel(NamedTuple):
    """One number over the axis: a line for each setting of the other axes."""

    axis: str
    quantity: Quantity
    lines: dict[str, list[tuple[float, Row]]]


class Headline(Figure[HeadlinePanel]):
    """Each number of the headline over the last axis of numbers, mean over seeds and its interval."""

    name, title = "headline", "The answer over what varies"

    def panels(self, table: Table, facets: Facets) -> Sequence[tuple[str, HeadlinePanel]]:
        if len(table.blocks) != 1:
            return []  # numbers of different blocks do not compare
        (block,) = table.blocks
        axis = _axis(table, block)
        lines = {} if axis is None else _lines(table, block, axis)
        if axis is None or not 0 < len(lines) <= MOST_COLOURS:
            return []
        shown = [table.quantities[i] for i in headline(table, block)]
        return [(q.heading, HeadlinePanel(table.headings[axis], q, lines)) for q in shown]

    def caption(self, panels: Sequence[HeadlinePanel]) -> str:
        return f"The numbers of the headline over {panels[0].axis}: mean over seeds and its 95 % interval."

    def legend(self, facets: Facets, panels: Sequence[HeadlinePanel]) -> Legend:
        names = list(panels[0].lines)
        return () if len(names) < 2 else tuple(zip(map(variable, CATEGORIES), names, strict=False))

    def plot(self, axes: "Axes", panel: HeadlinePanel) -> None:
        values = sorted({x for line in panel.lines.values() for x, _ in line})
        for colour, line in zip(CATEGORIES, panel.lines.values(), strict=False):
            plot_band(axes, _band(line, panel.quantity), colour, "o")
        if values[0] > 0 and values[-1] > 10 * values[0]:
            axes.set_xscale("log")
        if len(values) <= 6:
            axes.set_xticks(values, labels=[f"{v:g}" for v in values])
        axes.minorticks_off()
        axes.set_xlabel(panel.axis)
        axes.set_ylabel(panel.quantity.description.unit or panel.quantity.heading)


def has_axis(table: Table) -> bool:
    """Whether the study varies numbers, enough of them for a line."""
    return any(_axis(table, block) is not None for block in table.blocks)


def _axis(table: Table, block: Block) -> int | None:
    """The last column of labels that are numbers, of which there are enough for a line."""
    columns = [[row.labels[i] for row in block.rows] for i in range(len(table.headings))]
    fits = [i for i, column in enumerate(columns) if all(map(is_number, column)) and len(set(column)) >= FEWEST]
    return fits[-1] if fits else None


def _lines(table: Table, block: Block, axis: int) -> dict[str, list[tuple[float, Row]]]:
    """The rows by their other labels, each with its value on the axis."""
    found: defaultdict[str, list[tuple[float, Row]]] = defaultdict(list)
    others = [i for i in range(len(table.headings)) if i != axis]
    for row in block.rows:
        named = slug([table.headings[i] for i in others], [row.labels[i] for i in others])
        found[named].append((float(row.labels[axis]), row))
    return found


def _band(line: Sequence[tuple[float, Row]], quantity: Quantity) -> Band:
    """The line, its interval cut to what is possible: no error is below zero, and no count above the latent units."""
    drawn = band([[(x, value)] for x, row in line for value in row.group.values(quantity).values()])
    return within(drawn, *limits(quantity, [row for _, row in line]))


def limits(quantity: Quantity, rows: Sequence[Row]) -> tuple[float, float]:
    """The least and the largest value that a number can have in these rows."""
    if quantity.description.role is Role.RECONSTRUCTION_ERROR:
        return 0.0, math.inf
    if quantity.description.role in COUNTS:
        return 0.0, max(float(row.group.config["model"].get("latent_dim", math.inf)) for row in rows)
    return -math.inf, math.inf
