"""One line for each run: its id, where it stands in the study, and every number of the tables with its error."""

import csv
import io
from collections.abc import Sequence
from typing import NamedTuple

from vaebench.records.record import Record
from vaebench.reporting.tables.escaping import field
from vaebench.reporting.tables.labels import SEED, labels, merged_axes
from vaebench.reporting.tables.quantities import Fact, Quantity, Reading, quantities

NAME = "runs.csv"
"""The file beside a study's tables."""


class RunRows(NamedTuple):
    """The runs of a study as a grid. A field without a value is None."""

    headings: list[str]
    rows: list[list[str | int | float | None]]


def run_rows(records: Sequence[Record], errors: bool = False) -> RunRows:
    """A row for each run, sorted by id.

    Args:
        records: of one study, each run once.
        errors: whether the standard error over observations follows each number that has one.
    """
    found, columns = sorted(records, key=lambda r: r.id), quantities(records)
    configs = [{k: v for k, v in r.config.items() if k != SEED} for r in found]
    named = labels(configs, merged_axes([r.axes for r in found]))
    read = [[(quantity, *_number(quantity, one)) for quantity in columns] for one in found]
    spread = {q.name for row in read for q, _, error in row if errors and error is not None}
    headings = ["id", "status", "reason", *(c.path for c in named), SEED, "marked"]
    for quantity in columns:
        headings += [quantity.name, *([f"{quantity.name}_standard_error"] if quantity.name in spread else [])]
    rows = []
    for i, (one, numbers) in enumerate(zip(found, read, strict=True)):
        said = {quantity.name: reading.caution(quantity.description) for quantity, reading, _ in numbers}
        marked = "; ".join(f"{name}: {text}" for name, text in said.items() if text) or None
        row = [one.id, one.status, one.reason, *(c.texts[i] for c in named), one.config[SEED], marked]
        for quantity, reading, error in numbers:
            row += [reading.value, *([error] if quantity.name in spread else [])]
        rows.append(row)
    return RunRows(headings, rows)


def comma_separated(records: Sequence[Record]) -> str:
    """The text of `runs.csv`; numbers in full precision."""
    found, out = run_rows(records, errors=True), io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(map(field, found.headings))
    writer.writerows([_text(value) for value in row] for row in found.rows)
    return out.getvalue()


def _number(quantity: Quantity, record: Record) -> tuple[Reading, float | None]:
    """What a run says of a quantity, and the standard error over observations of a value that has one."""
    reading = quantity.read(record)
    estimate = None if isinstance(quantity, Fact) or reading.value is None else record.estimate(quantity.name)
    return reading, None if estimate is None else estimate.standard_error


def _text(value: str | int | float | None) -> str:
    if value is None:
        return ""
    return field(value) if isinstance(value, str) else repr(value)
