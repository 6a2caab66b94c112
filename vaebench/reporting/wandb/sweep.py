"""The result of a sweep as one W&B run beside the runs of the sweep: its tables, figures and page."""

import csv
import hashlib
import io
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaebench.config import Study
from vaebench.records.files import write_atomically
from vaebench.records.record import Record
from vaebench.reporting.tables import table as tables
from vaebench.reporting.tables.rendering import comma_separated
from vaebench.reporting.tables.runs import run_rows
from vaebench.reporting.wandb.media import figures, tabulated
from vaebench.reporting.wandb.names import AGGREGATE
from vaebench.reporting.wandb.run import Mode, opened

if TYPE_CHECKING:
    from vaebench.reporting.figures.base import Drawn

log = logging.getLogger(__name__)

MARK = "wandb/aggregated"
"""Below a study's folder: a checksum of what the last run of this kind was made from."""


def conclude_sweep(
    study: Study, records: Sequence[Record], folder: Path, mode: Mode, drawn: Sequence["Drawn"] = ()
) -> None:
    """Writes the W&B run of a sweep, unless W&B is disabled or already has one of the same records.

    Args:
        study: the study of the sweep.
        records: of its runs.
        folder: of the study, with the page of these records.
        mode: of W&B.
        drawn: the figures of the page.
    """
    if mode == "disabled" or not records:
        return
    text = comma_separated(tables.table(records))
    mark = f"{mode} {hashlib.sha256((text + ''.join(sorted(r.id for r in records))).encode()).hexdigest()}\n".encode()
    if (folder / MARK).is_file() and (folder / MARK).read_bytes() == mark:
        return
    config = {"study": study.name, "question": study.question, "axes": list(study.axes)}
    done = sum(r.status == "done" for r in records)
    about: dict[str, Any] = {"group": study.name, "job_type": AGGREGATE, "name": study.name, "config": config}
    notes = os.environ.get("WANDB_NOTES") or study.question
    try:
        with opened(mode, folder, notes=notes, **about) as experiment:
            experiment.summary.update({"runs": len(study.runs), "done": done, "failed": len(records) - done})
            experiment.log({**_tables(text, records), **figures(drawn), **_page(folder / "report.html")})
    except OSError as error:
        log.warning("W&B could not take the result of the sweep, its tables have it: %s", error)
        return
    write_atomically(folder / MARK, mark)


def _tables(text: str, records: Sequence[Record]) -> dict[str, Any]:
    """The rows of `table.csv`, and a row for each run."""
    headings, *rows = csv.reader(io.StringIO(text))
    results = tabulated(headings, ([_value(t) for t in row] for row in rows))
    return {"results": results, "runs_table": _runs(records)}


def _page(path: Path) -> dict[str, Any]:
    """The page of the study, if it was written."""
    import wandb

    return {"report": wandb.Html(path.read_text(encoding="utf-8"), inject=False)} if path.is_file() else {}


def _runs(records: Sequence[Record]) -> Any:
    """A row for each run: its id and status, the labels of its row, and every number of the tables."""
    found = run_rows(records)
    return tabulated(found.headings, ([_value(f) if isinstance(f, str) else f for f in row] for row in found.rows))


def _value(text: str) -> float | str | None:
    """A field of the table as a number or as text; None if it is empty."""
    try:
        return float(text)
    except ValueError:
        return text or None
