"""The first chart as a study's file asks for it: its axes, found in a table."""

import logging
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import NamedTuple

from vaebench.config.presentation import EPOCH
from vaebench.records.description import Description
from vaebench.records.record import Record
from vaebench.reporting.tables.labels import is_number
from vaebench.reporting.tables.quantities import Quantity, Reading
from vaebench.reporting.tables.rows import Table

log = logging.getLogger(__name__)


class Kind(Enum):
    """What the horizontal axis is."""

    NUMBERS = "an axis of numbers"
    WORDS = "an axis of words"
    EPOCHS = "the epochs of training"
    QUANTITY = "a measured number"


class Chosen(NamedTuple):
    """The axes of the first chart.

    Attributes:
        kind: what the horizontal axis is.
        y: the numbers as the study has them, each with its title; `numbers` is what they read (none of curves).
        column: the column of labels of the horizontal axis, None if it is none.
        x: the number of the horizontal axis, None if it is none.
        series: the column of labels that has the colours, None if all others have.
    """

    kind: Kind
    y: tuple[tuple[str, str], ...]
    numbers: tuple[Quantity, ...] = ()
    column: int | None = None
    x: Quantity | None = None
    series: int | None = None


@dataclass(frozen=True)
class Sum(Quantity):
    """A sum of numbers of one record, each with its sign."""

    terms: tuple[tuple[int, Quantity], ...] = field(kw_only=True)

    def read(self, record: Record) -> Reading:
        """The sum; the reason of the first number that is missing."""
        readings = [(sign, quantity.read(record)) for sign, quantity in self.terms]
        missing = next((reading for _, reading in readings if reading.value is None), None)
        return missing or Reading(sum(sign * (reading.value or 0.0) for sign, reading in readings))


def chosen(table: Table) -> Chosen | None:
    """The axes that the study asks for; None if it asks for none, or if the table does not have them.

    A part of a study may lack an axis, and then the chart is chosen as for a study that asks for none.
    """
    asked = table.presentation.figure
    if asked is None:
        return None
    series = _column(table, asked.series)
    if asked.x == EPOCH:
        return Chosen(Kind.EPOCHS, asked.y, series=series)
    column, numbers = _column(table, asked.x), [quantity(table, text, title) for text, title in asked.y]
    x = quantity(table, asked.x) if column is None else None
    found = tuple(each for each in numbers if each is not None)
    if len(found) < len(numbers) or (x is None and column is None):
        log.info(
            "the chart of %s over %s is not drawn: the records do not have both",
            ", ".join(text for text, _ in asked.y),
            asked.x,
        )
        return None
    if column is None:
        return Chosen(Kind.QUANTITY, asked.y, found, x=x, series=series)
    kind = Kind.NUMBERS if all(is_number(row.labels[column]) for row in table.rows) else Kind.WORDS
    return Chosen(kind, asked.y, found, column, series=series)


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
    return Sum(text, Description(heading, unit=units.pop() if len(units) == 1 else ""), terms=there)


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


def _column(table: Table, name: str) -> int | None:
    """The column of labels with this heading or path."""
    names = [{heading, path} for heading, path in zip(table.headings, table.axes, strict=True)]
    return next((i for i, known in enumerate(names) if name in known), None)
