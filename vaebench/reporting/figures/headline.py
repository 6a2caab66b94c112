"""Numbers over an axis that the study varies: those that its figure names, else those of its headline."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from vaebench.records.description import Direction, Panel, Role
from vaebench.reporting.figures.base import Figure
from vaebench.reporting.figures.chosen import Kind, chosen
from vaebench.reporting.figures.facets import MOST_COLOURS, Facets, Legend, colours, measured_on
from vaebench.reporting.figures.plotting import Band, band, means, plot_band, plot_doubtful, within
from vaebench.reporting.figures.svg import INK, variable
from vaebench.reporting.tables.labels import brief, is_number, slug
from vaebench.reporting.tables.layout import headline
from vaebench.reporting.tables.quantities import EXPLANATION, Quantity
from vaebench.reporting.tables.rows import Block, Row, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FEWEST = 3
"""Values of an axis that make a line, where the study does not ask for one."""

SHARES = (Panel.DISENTANGLEMENT, Panel.ALTERED)
"""Panels of numbers between 0 and 1."""

COUNTS = (Role.ACTIVE_UNITS, Role.COLLAPSED_UNITS)
"""What is between zero and the number of latent units."""


class Line(NamedTuple):
    """Rows that differ in the axis alone: what tells them from other lines, their colour, and each with its value."""

    name: str
    colour: str
    points: list[tuple[float, Row]]


class HeadlinePanel(NamedTuple):
    """One number over the axis."""

    axis: str
    quantity: Quantity
    lines: list[Line]


class Headline(Figure[HeadlinePanel]):
    """Each number over an axis of numbers, mean over seeds and its interval; a line for each setting of the others."""

    name, title = "headline", "The main numbers"

    def panels(self, table: Table, facets: Facets) -> Sequence[tuple[str, HeadlinePanel]]:
        asked = chosen(table)
        if asked is not None:
            over = asked.column if asked.kind is Kind.NUMBERS else None
            numbers = {id(block): list(asked.numbers) for block in table.blocks}
        else:
            over = _axis(table) if len(table.blocks) == 1 and not asks_for_forecast(table) else None
            numbers = {id(block): [table.quantities[i] for i in headline(table, block)] for block in table.blocks}
        if over is None:
            return []
        found = []
        for block in table.blocks:
            lines = _lines(table, block, over, asked.series if asked else None)
            title = ", ".join(["", *measured_on(table, block)])
            made = [(f"{q.heading}{title}", HeadlinePanel(table.headings[over], q, lines)) for q in numbers[id(block)]]
            found += [(title, panel) for title, panel in made if lines and _varies(panel)]
        return found

    def caption(self, panels: Sequence[HeadlinePanel]) -> str:
        lines = [line for panel in panels for line in panel.lines]
        text = f"Over {panels[0].axis}: {means(row.group for line in lines for _, row in line.points)}."
        doubtful = any(_doubtful(line, panel.quantity) for panel in panels for line in panel.lines)
        return f"{text} An open disc with {EXPLANATION}" if doubtful else text

    def legend(self, facets: Facets, panels: Sequence[HeadlinePanel]) -> Legend:
        names = {line.name: variable(line.colour) for panel in panels for line in panel.lines}
        return () if len(names) < 2 else tuple((colour, name) for name, colour in names.items())

    def plot(self, axes: "Axes", panel: HeadlinePanel) -> None:
        values = sorted({x for line in panel.lines for x, _ in line.points})
        bands = [_band(line.points, panel.quantity) for line in panel.lines]
        if len(bands) > 1 and all(drawn == bands[0] for drawn in bands):  # one line, in no series' colour
            plot_band(axes, bands[0], INK, "o", "all")
        else:
            for line, drawn in zip(panel.lines, bands, strict=True):
                plot_band(axes, drawn, line.colour, "o", line.name)
                plot_doubtful(axes, drawn, _doubtful(line, panel.quantity), line.colour)
        if values[0] > 0 and values[-1] > 10 * values[0]:
            axes.set_xscale("log")
        if len(values) <= 6:
            axes.set_xticks(values, labels=[f"{v:g}" for v in values])
        axes.minorticks_off()
        axes.set_xlabel(panel.axis)
        axes.set_ylabel(panel.quantity.description.unit or panel.quantity.heading)


def has_axis(table: Table) -> bool:
    """Whether the study varies numbers, enough of them for a line."""
    return _axis(table) is not None


def asks_for_forecast(table: Table) -> bool:
    """Whether the study asks about the forecast of active units, which has figures of its own."""
    asked = [q for q in table.quantities if q.name in table.presentation.headline]
    return any(q.description.role is Role.FORECAST for q in asked)


def _axis(table: Table) -> int | None:
    """The last column of labels that are numbers, if there are enough different ones for a line."""
    columns = [[row.labels[i] for row in table.rows] for i in range(len(table.headings))]
    fits = [i for i, column in enumerate(columns) if all(map(is_number, column)) and len(set(column)) >= FEWEST]
    return fits[-1] if fits else None


def _lines(table: Table, block: Block, axis: int, series: int | None) -> list[Line]:
    """The rows by all labels but the axis, each with its value there; none if they are more than there are colours.

    The series has the colours and the names, or all other labels together if the study names no series.
    """
    others = [i for i in range(len(table.headings)) if i != axis]

    def named(row: Row) -> str:
        if series is not None:
            return _value(table.headings[series], row.labels[series])
        return brief(slug([table.headings[i] for i in others], [row.labels[i] for i in others]))

    rows: dict[tuple[str, ...], list[Row]] = {}
    for row in block.rows:
        rows.setdefault((named(row), *(row.labels[i] for i in others)), []).append(row)
    names = list(dict.fromkeys(named(row) for each in table.blocks for row in each.rows))
    if len(names) > MOST_COLOURS:
        return []
    coloured = dict(zip(names, colours([name.rpartition(" ")[2] for name in names]), strict=True))
    return [
        Line(name, coloured[name], [(float(row.labels[axis]), row) for row in members])
        for (name, *_), members in rows.items()
    ]


def _value(heading: str, label: str) -> str:
    return f"{heading} {label}" if is_number(label) else brief(label)


def _varies(panel: HeadlinePanel) -> bool:
    """Whether the number differs between some points; a flat line is a sentence of the table."""
    found = {v for line in panel.lines for _, row in line.points for v in row.group.values(panel.quantity).values()}
    return len(found) > 1


def _band(line: Sequence[tuple[float, Row]], quantity: Quantity) -> Band:
    """The line, its interval cut to what is possible: no error is below zero, and no count above the latent units."""
    drawn = band([[(x, value)] for x, row in line for value in row.group.values(quantity).values()])
    return within(drawn, *limits(quantity, [row for _, row in line]))


def _doubtful(line: Line, quantity: Quantity) -> list[float]:
    """Where the number rests on collapsed weights."""
    return [x for x, row in line.points if row.group.cell(quantity).caution is not None]


def limits(quantity: Quantity, rows: Sequence[Row]) -> tuple[float, float]:
    """The least and the largest value that a number can have in these rows."""
    if quantity.description.role in (Role.RECONSTRUCTION_ERROR, Role.RATE):
        return 0.0, math.inf
    if quantity.description.role in COUNTS:
        return 0.0, max(float(row.group.config["model"].get("latent_dim", math.inf)) for row in rows)
    if quantity.description.panel in SHARES or _is_share(quantity, rows):
        return 0.0, 1.0
    return -math.inf, math.inf


def _is_share(quantity: Quantity, rows: Sequence[Row]) -> bool:
    """Whether a number is taken for a share, such as an accuracy: without a unit, and between 0 and 1 in every run."""
    described = quantity.description
    values = [v for row in rows for v in row.group.values(quantity).values()]
    is_score = described.panel is Panel.REPRESENTATION and described.better is Direction.HIGHER and not described.unit
    return is_score and bool(values) and all(0 <= v <= 1 for v in values)
