"""The answer of a study: its own sentence, with the numbers of the records filled in.

A place is written `{iwae_500 @ beta=1}`: a number by its name in the record, and the row of the table. `{ais - iwae_500
@ beta=1}` is the difference of two numbers of that row, paired by seed. Without `@` the table has one row. Conditions
have commas between them, or semicolons where a label has commas of its own.
"""

import re
from collections.abc import Mapping

from vaebench.reporting.tables.intervals import Interval, paired
from vaebench.reporting.tables.labels import is_number
from vaebench.reporting.tables.layout import LARGE, decimals, figure, worded
from vaebench.reporting.tables.quantities import MARK
from vaebench.reporting.tables.rows import Row, Table

PLACE = re.compile(r"\{\s*([\w%.]+)\s*(?:-\s*([\w%.]+)\s*)?(?:@\s*([^{}]*?)\s*)?\}")


class UnfilledError(ValueError):
    """A place of an answer for which the records have no number."""


def filled(template: str, table: Table) -> str:
    """A study's answer with the numbers of a table.

    Args:
        template: the answer as the study has it.
        table: of the study.

    Raises:
        UnfilledError: if a place names no number or no row of the table. The message says which.
    """
    return PLACE.sub(lambda place: _number(table, *place.groups()), template)


def _number(table: Table, name: str, other: str | None, where: str | None) -> str:
    row = _row(table, where)
    if other is None:
        cell = row.cells[_column(table, name)]
        if cell.interval is None:
            raise UnfilledError(f"{name}: row {where or 'of the table'} has no such number")
        return _text(cell.interval, MARK if cell.caution else "")
    columns = [table.quantities[_column(table, each)] for each in (name, other)]
    found = paired(*(row.group.values(quantity) for quantity in columns))
    if found is None:
        raise UnfilledError(f"{name} - {other}: no seed of row {where or 'of the table'} has both")
    return _text(found.interval, "")


def _text(interval: Interval, mark: str) -> str:
    places = decimals([interval])
    return f"{_plain(interval.mean)}{mark}" if places is None else worded(interval, places, mark)


def _plain(value: float) -> str:
    """A number without an interval: two decimal places, or two significant digits below one; whole if it is.

    >>> _plain(941.9662), _plain(0.080322), _plain(16.0)
    ('941.97', '0.080', '16')
    """
    if float(value).is_integer() or abs(value) >= LARGE:
        return figure(value, None)
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:#.2g}"


def _column(table: Table, name: str) -> int:
    for i, quantity in enumerate(table.quantities):
        if quantity.name == name:
            return i
    raise UnfilledError(f"{name}: the records have no such number")


def _row(table: Table, where: str | None) -> Row:
    """The only row whose labels are as asked."""
    pairs = (
        part.partition("=") for part in re.split(";" if ";" in (where or "") else ",", where or "") if part.strip()
    )
    asked = {key.strip(): text.strip() for key, _, text in pairs}
    found = [row for row in table.rows if _fits(dict(zip(table.headings, row.labels, strict=True)), asked)]
    if len(found) != 1:
        raise UnfilledError(f"@ {where or 'nothing'}: expected one row, found {len(found)}")
    return found[0]


def _fits(labels: Mapping[str, str], asked: Mapping[str, str]) -> bool:
    return all(key in labels and _same(labels[key], text) for key, text in asked.items())


def _same(label: str, text: str) -> bool:
    """Whether a label is what is asked: the same number, the same text, or a component of that name."""
    if is_number(label) and is_number(text):
        return float(label) == float(text)
    return label == text or label.partition(" (")[0] == text
