"""What a sweep came to, as one W&B run beside those of its runs: the tables' own numbers."""

import csv
import hashlib
import io
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vaebench.config import Study
from vaebench.records.files import write_atomically
from vaebench.records.record import Record
from vaebench.reporting.tables import table as tables
from vaebench.reporting.tables.labels import SEED, labels, merged_axes
from vaebench.reporting.tables.quantities import Quantity, quantities
from vaebench.reporting.tables.rendering import comma_separated
from vaebench.reporting.wandb.run import Mode, opened
from vaebench.reporting.wandb.media import drawn, tabulated
from vaebench.reporting.wandb.names import AGGREGATE, POINT, cautions

log = logging.getLogger(__name__)

MARK = "wandb/aggregated"
"""Below a study's folder, what the last aggregate run was made from: the same records make no second one."""


def conclude_sweep(study: Study, records: Sequence[Record], folder: Path, mode: Mode) -> None:
    """Opens, fills and ends the aggregate run of a sweep, unless W&B is disabled or has been told the same before.

    Args:
        study: that was swept.
        records: of its runs.
        folder: where it works, with the page that was written of the records.
        mode: of W&B.
    """
    if mode == "disabled" or not records:
        return
    text = comma_separated(tables.table(records))
    mark = f"{mode} {hashlib.sha256((text + ''.join(sorted(r.id for r in records))).encode()).hexdigest()}\n".encode()
    if (folder / MARK).is_file() and (folder / MARK).read_bytes() == mark:
        return
    config = {"study": study.name, "question": study.question, "axes": list(study.axes)}
    done = sum(r.status == "done" for r in records)
    about = {"group": study.name, "job_type": AGGREGATE, "name": study.name, "config": config}
    try:
        with opened(folder, mode, folder, **about) as experiment:
            experiment.summary.update({"runs": len(study.runs), "done": done, "failed": len(records) - done})
            experiment.log(_told(text, records, folder / "report.html"))
    except OSError as error:
        log.warning("W&B was not told what the sweep came to, its tables have it: %s", error)
        return
    write_atomically(folder / MARK, mark)


def _told(text: str, records: Sequence[Record], page: Path) -> dict[str, Any]:
    """The rows of the table, the runs behind them, the plane of rate and distortion, and the page."""
    import wandb

    headings, *rows = csv.reader(io.StringIO(text))
    results = tabulated(headings, ([_value(t) for t in row] for row in rows))
    told = {"results": results, "runs_table": _runs(records)}
    if {*POINT.fields.values()} <= {*headings}:
        told[POINT.name] = drawn(POINT, results)
    return told | ({"report": wandb.Html(page.read_text(encoding="utf-8"), inject=False)} if page.is_file() else {})


def _runs(records: Sequence[Record]) -> Any:
    """A row a run: its id, what tells it from others, and every number that the tables have."""
    found, columns = sorted(records, key=lambda r: r.id), quantities(records)
    named = labels(
        [{k: v for k, v in r.config.items() if k != SEED} for r in found], merged_axes([r.axes for r in found])
    )
    rows = [
        [r.id, r.status, *(_value(c.texts[i]) for c in named), r.config[SEED], _cautions(r), *_numbers(columns, r)]
        for i, r in enumerate(found)
    ]
    headings = ["id", "status", *(c.path for c in named), SEED, "marked", *(q.name for q in columns)]
    return tabulated(headings, rows)


def _numbers(columns: Sequence[Quantity], record: Record) -> list[float | None]:
    return [quantity.read(record).value for quantity in columns]


def _cautions(record: Record) -> str | None:
    """Every number of a run that rests on collapsed importance weights, and how far they can be trusted."""
    return "; ".join(f"{name}: {text}" for name, text in cautions(record).items()) or None


def _value(text: str) -> float | str | None:
    """A field of the table: a number, a word, or nothing."""
    try:
        return float(text)
    except ValueError:
        return text or None
