"""The main numbers, over an axis of numbers or a row each: those of the study's figure, else those of its headline.

`chosen` finds the axes that a study's file asks for in its table.
"""

import logging
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import NamedTuple

from vaebench.config.presentation import EPOCH
from vaebench.records.description import Bias, Description, Direction, Panel, Role
from vaebench.records.record import Record
from vaebench.reporting.figures.base import (
    Band,
    Facets,
    Sketch,
    band,
    coloured,
    doubt,
    few_ticks,
    labelled,
    means,
    measured_on,
    plot_band,
    plot_doubtful,
    plot_mark,
    sketch,
    within,
)
from vaebench.reporting.figures.svg import ACCENT, INK, Axes, variable
from vaebench.reporting.tables.escaping import visible
from vaebench.reporting.tables.labels import brief, is_number, named, slug
from vaebench.reporting.tables.layout import headline
from vaebench.reporting.tables.quantities import Fact, Quantity, Reading, observations
from vaebench.reporting.tables.table import Block, Row, Table

log = logging.getLogger(__name__)


class Kind(Enum):
    """What the horizontal axis is."""

    NUMBERS = "an axis of numbers"
    WORDS = "an axis of words"
    EPOCHS = "the epochs of training"
    QUANTITY = "a measured number"


class Chosen(NamedTuple):
    """The axes of the first chart."""

    kind: Kind  # what the horizontal axis is
    # the numbers as the study has them, each with its title; `numbers` is what they read (none of curves).
    y: tuple[tuple[str, str], ...]
    numbers: tuple[Quantity, ...] = ()
    column: int | None = None  # the column of labels of the horizontal axis, None if it is none
    x: Quantity | None = None  # the number of the horizontal axis, None if it is none
    series: int | None = None  # the column of labels that has the colours, None if all others have


@dataclass(frozen=True)
class Sum(Quantity):
    """A sum of numbers of one record, each with its sign."""

    terms: tuple[tuple[int, Quantity], ...] = field(kw_only=True)

    def read(self, record: Record) -> Reading:
        """The sum, with the least trusted weights of its terms; else the reason of the first number that is missing.

        There is no sum of numbers that were taken over different observations.
        """
        readings = [quantity.read(record) for _, quantity in self.terms]
        missing = next((reading for reading in readings if reading.value is None), None)
        if missing is not None:
            return missing
        measured = [(r, q) for r, (_, q) in zip(readings, self.terms, strict=True) if not isinstance(q, Fact)]
        over = {reading.over for reading, _ in measured}
        if len(over) > 1:
            each = ", ".join(f"{q.heading} over {observations(r.over)}" for r, q in measured)
            return Reading(None, f"its terms were taken over different observations: {each}")
        total = sum(sign * (r.value or 0.0) for (sign, _), r in zip(self.terms, readings, strict=True))
        weights = [r.weights for r in readings if r.weights is not None]
        least = min(weights, key=lambda w: (not w.unreliable, w.effective), default=None)
        return Reading(total, over=next(iter(over), None), weights=least)


def chosen(table: Table) -> Chosen | None:
    """The axes that the study asks for; None if it asks for none, or if the table does not have them.

    A part of a study may lack an axis, and then the chart is chosen as for a study that asks for none.
    """
    asked = table.presentation.figure
    if asked is None:
        return None
    series = table.label(asked.series)
    if asked.x == EPOCH:
        return Chosen(Kind.EPOCHS, asked.panels, series=series)
    column, numbers = table.label(asked.x), [quantity(table, text, title) for text, title in asked.panels]
    x = quantity(table, asked.x) if column is None else None
    found = tuple(each for each in numbers if each is not None)
    if len(found) < len(numbers) or (x is None and column is None):
        log.info(
            "the chart of %s over %s is not drawn: the records do not have both",
            ", ".join(text for text, _ in asked.panels),
            asked.x,
        )
        return None
    if column is None:
        return Chosen(Kind.QUANTITY, asked.panels, found, x=x, series=series)
    kind = Kind.NUMBERS if all(is_number(row.labels[column]) for row in table.rows) else Kind.WORDS
    return Chosen(kind, asked.panels, found, column, series=series)


def quantity(table: Table, text: str, title: str = "") -> Quantity | None:
    """A number of the table by its name, or a sum of numbers, under a title; None if the table does not have it."""
    known = {each.name: each for each in table.quantities}
    found = [(sign, known.get(name)) for sign, name in terms(text)]
    there = tuple((sign, each) for sign, each in found if each is not None)
    if len(there) < len(found):
        return None
    if len(there) == 1:
        only = there[0][1]
        return replace(only, description=only.description._replace(heading=title)) if title else only
    units = {each.description.unit for _, each in there}
    heading = title or joined([(sign, each.heading) for sign, each in there])
    unit = units.pop() if len(units) == 1 else ""
    return Sum(text, Description(heading, unit=unit, bias=_bias(table, there)), terms=there)


def _bias(table: Table, terms: Iterable[tuple[int, Quantity]]) -> Bias:
    """In which way a sum is wrong where weights have collapsed: as the terms that are marked somewhere in the table."""
    marked = [(sign, q) for sign, q in terms if any(row.group.cell(q).caution is not None for row in table.rows)]
    biases = {q.description.bias if sign > 0 else q.description.bias.opposite for sign, q in marked}
    return Bias.EITHER if len(biases) > 1 else next(iter(biases), Bias.TOO_LOW)


def terms(text: str) -> list[tuple[int, str]]:
    """The names of a sum, each with its sign.

    >>> terms("elbo - rate")
    [(1, 'elbo'), (-1, 'rate')]
    """
    words = ["+", *text.split(" ")]
    return [(1 if sign == "+" else -1, name) for sign, name in zip(words[::2], words[1::2], strict=True)]


def joined(parts: list[tuple[int, str]]) -> str:
    """A sum in words.

    >>> joined([(1, "ELBO"), (-1, "rate")])
    'ELBO − rate'
    """
    return " ".join(f"{'+' if sign > 0 else '−'} {text}" for sign, text in parts).removeprefix("+ ")


FEWEST = 3  # values of an axis that make a line, where the study does not ask for one
SHARES = (Panel.DISENTANGLEMENT, Panel.ALTERED)  # panels of numbers between 0 and 1
COUNTS = (Role.ACTIVE_UNITS, Role.COLLAPSED_UNITS)  # what is between zero and the number of latent units


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


def main_numbers(table: Table, facets: Facets) -> Sketch | None:
    """Each number over an axis of numbers, mean over seeds and its interval; a line for each setting of the others."""
    panels = number_panels(table)
    if not panels:
        return None
    lines = [(line, panel) for _, panel in panels for line in panel.lines]
    caption = f"Over {panels[0][1].axis}: {means(row.group for line, _ in lines for _, row in line.points)}."
    caption += doubt((row, panel.quantity) for line, panel in lines for _, row in line.points)
    names = {line.name: variable(line.colour) for line, _ in lines}
    legend = tuple((colour, name) for name, colour in names.items()) if len(names) > 1 else ()
    return sketch("The main numbers", panels, _plot_numbers, caption, legend)


def number_panels(table: Table) -> list[tuple[str, HeadlinePanel]]:
    """Title and data of every panel of `main_numbers`."""
    asked = chosen(table)
    if asked is not None:
        over = asked.column if asked.kind is Kind.NUMBERS else None
    else:
        over = _axis(table) if len(table.measured) == 1 and not asks_for_forecast(table) else None
    if over is None:
        return []
    found = []
    for block in table.blocks:
        lines = _lines(table, block, over, asked.series if asked else None)
        for quantity in asked.numbers if asked else [table.quantities[i] for i in headline(table, block)]:
            panel = HeadlinePanel(table.headings[over], quantity, lines)
            if _varies([row for line in lines for _, row in line.points], quantity):
                found.append((", ".join([quantity.heading, *measured_on(table, block)]), panel))
    return found


def _plot_numbers(axes: Axes, panel: HeadlinePanel) -> None:
    values = sorted({x for line in panel.lines for x, _ in line.points})
    bands = [_band(line.points, panel.quantity) for line in panel.lines]
    if len(bands) > 1 and all(drawn == bands[0] for drawn in bands):  # one line, in no series' colour
        plot_band(axes, bands[0], INK, "o", "all")
        plot_doubtful(axes, bands[0], [x for line in panel.lines for x in _doubtful(line, panel.quantity)], INK)
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
            return labelled(table.headings[series], row.labels[series])
        return brief(slug([table.headings[i] for i in others], [row.labels[i] for i in others]))

    rows: dict[tuple[str, ...], list[Row]] = {}
    for row in block.rows:
        rows.setdefault((named(row), *(row.labels[i] for i in others)), []).append(row)
    colour = coloured(named(row) for row in table.rows)
    return [
        Line(name, colour[name], [(float(row.labels[axis]), row) for row in members])
        for (name, *_), members in rows.items()
        if colour
    ]


def _varies(rows: Iterable[Row], quantity: Quantity) -> bool:
    """Whether the number differs between some runs; a number that does not is a sentence of the table."""
    return len({value for row in rows for value in row.group.values(quantity).values()}) > 1


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


MOST_ROWS, LONGEST = 16, 30  # rows that have room in a panel, and characters of a label


class RowsPanel(NamedTuple):
    """One number of some rows, each with its label."""

    quantity: Quantity
    rows: list[tuple[str, Row]]


def number_rows(table: Table, facets: Facets) -> Sketch | None:
    """Each number that the study's figure or headline names, a row each: mean over seeds and its interval."""
    asked = chosen(table)
    if asked.kind is not Kind.WORDS if asked else _axis(table) is not None or asks_for_forecast(table):
        return None
    panels = []
    for block in table.blocks:
        for q in asked.numbers if asked else [table.quantities[i] for i in headline(table, block)]:
            found = _measured(table, block.rows, q)
            if 2 <= len(found) <= MOST_ROWS and _varies([row for _, row in found], q):
                panels.append((", ".join([q.heading, *measured_on(table, block)]), RowsPanel(q, found)))
    caption = f"A row each: {means(row.group for _, panel in panels for _, row in panel.rows)}."
    caption += doubt((row, panel.quantity) for _, panel in panels for _, row in panel.rows)
    return sketch("The main numbers", panels, _plot_rows, caption)


def _plot_rows(axes: Axes, panel: RowsPanel) -> None:
    for y, (_, row) in enumerate(panel.rows):
        found = band([[(float(y), value)] for value in row.group.values(panel.quantity).values()])
        found = within(found, *limits(panel.quantity, [row]))
        axes.plot(found.mean, found.x, "o", color=ACCENT)
        axes.plot([*found.low, *found.high], [y, y], color=ACCENT)
        if row.group.cell(panel.quantity).caution is not None:
            plot_mark(axes, found.mean[0], float(y), ACCENT)
    axes.set_yticks(range(len(panel.rows)), labels=_short([label for label, _ in panel.rows]), parse_math=False)
    axes.set_ylim(len(panel.rows) - 0.5, -0.5)
    few_ticks(axes, 3)
    axes.set_xlabel(panel.quantity.description.unit or panel.quantity.heading)


def _short(labels: Sequence[str]) -> list[str]:
    """Labels that have room: if one is too long, all say numbers without keys; one still too long loses its middle.

    Where that makes two of them equal, all lose what they begin with alike.

    >>> _short(["IWAE, variance=0.15", "VAE (MLP (256, 256), Flow), variance=0.15"])
    ['IWAE, 0.15', 'VAE (MLP (256,…), Flow), 0.15']
    """
    labels = [visible(label) for label in labels]
    if max(map(len, labels), default=0) > LONGEST:
        labels = [re.sub(r"[\w.]+=", "", label) for label in labels]
    short = [_without_middle(text) for text in labels]
    if len(set(short)) == len(set(labels)):
        return short
    alike = (len(set(letters)) == 1 for letters in zip(*labels, strict=False))
    same = next((i for i, is_same in enumerate(alike) if not is_same), min(map(len, labels)))
    return [_without_middle(f"…{text[same:]}") for text in labels]


def _without_middle(text: str) -> str:
    half = LONGEST // 2
    return text if len(text) <= LONGEST else f"{text[: half - 1]}…{text[-half + 1 :]}"


def _measured(table: Table, rows: Sequence[Row], quantity: Quantity) -> list[tuple[str, Row]]:
    """The rows that have the number, each with the labels that tell it from the others; words need no heading."""
    varying = [i for i in range(len(table.headings)) if len({row.labels[i] for row in rows}) > 1]
    found = [row for row in rows if row.group.values(quantity)]
    return [(named([table.headings[i] for i in varying], [row.labels[i] for i in varying]), row) for row in found]
