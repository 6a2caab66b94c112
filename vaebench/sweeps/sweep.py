"""A sweep executes the runs of a study that have no record which says that they are done.

So the same command, given again, resumes a sweep that was stopped. Several commands may work on one folder.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from rich.console import Console

from vaebench.config import Run, Study
from vaebench.records import record
from vaebench.records.files import check_writable
from vaebench.records.record import Record
from vaebench.records.run_folder import LOCK, RECORD
from vaebench.reporting.terminal.printing import line
from vaebench.sweeps.engines.base import Engine
from vaebench.sweeps.engines.inline import Inline
from vaebench.sweeps.forecast import announced
from vaebench.sweeps.packs import describe_packs, packs_of
from vaebench.sweeps.progress import Display
from vaebench.sweeps.run import Execution
from vaebench.sweeps.worker import (
    Worker,
    describe_resume,
    intact_record,
    remove_stale_progress,
    set_arrays_aside,
    set_record_aside,
)


@dataclass(frozen=True)
class Outcome:
    """The records after a sweep, and the runs that have none."""

    records: list[Record]
    missing: list[Run]

    @property
    def failed(self) -> list[Record]:
        """Records that have a reason instead of numbers."""
        return [r for r in self.records if r.status == "failed"]


def sweep(study: Study, folder: Path, how: Execution, console: Console, engine: Engine | None = None) -> Outcome:
    """Execute the unfinished runs of a study.

    If another process works on a run, the sweep waits for it. It executes the run if that process did not finish it.

    Args:
        study: the runs.
        folder: where the study works, `runs/<study>`.
        how: how runs are executed.
        console: for progress.
        engine: where they are executed; None for this process.

    Raises:
        NewerError: if a newer version wrote the record of a run; it may say that the run is done.
        NewerSnapshotError: if a newer version stopped a run; only that version can continue it.
    """
    engine = Inline() if engine is None else engine
    folder = folder.absolute()
    check_writable(folder)
    pending = _pending(study, folder, console)
    for run in study.runs:
        remove_stale_progress(folder / run.id)
    if done := len(study.runs) - len(pending):
        console.print(line(f"{done} of {len(study.runs)} runs are done; {len(pending)} to go"))
    failed = {run.id: record.written_at(folder / run.id / RECORD) for run in pending}
    worker = Worker(study.name, study.axes, folder, how, failed)
    with ExitStack() as stack:
        if pending:
            stack.enter_context(engine)
            packs = packs_of(pending, how.max_pack_size, engine.workers)
            console.print(line(describe_packs(packs, how.max_pack_size)), soft_wrap=True)
            console.print(line(str(engine)), soft_wrap=True)
            for text in announced(pending):
                console.print(line(text), soft_wrap=True)
        display = stack.enter_context(Display(study.name, pending, folder, len(study.runs), console))
        while pending:
            held: list[str] = []
            for pack, outcome in engine.map(worker, packs_of(pending, how.max_pack_size, engine.workers)):
                if isinstance(outcome, Exception):
                    display.fail(pack, outcome)
                else:
                    held += outcome
            pending = _wait_for([run for run in pending if run.id in held], worker, console)
    records = {run.id: intact_record(folder / run.id / RECORD, study.name) for run in study.runs}
    return Outcome([r for r in records.values() if r], [run for run in study.runs if not records[run.id]])


def _pending(study: Study, folder: Path, console: Console) -> list[Run]:
    """The unfinished runs. Damaged files are renamed, but only after no file of a newer version was found.

    Raises:
        NewerError: as `sweep`.
        NewerSnapshotError: as `sweep`.
    """
    records = {run.id: intact_record(folder / run.id / RECORD, study.name) for run in study.runs}
    pending = [run for run in study.runs if (found := records[run.id]) is None or found.status == "failed"]
    messages = [(text, "") for run in pending if (text := describe_resume(run, folder / run.id))]
    for id, found in records.items():
        aside = set_record_aside(folder / id / RECORD, study.name), set_arrays_aside(found, folder / id)
        messages = [(text, "yellow") for text in aside if text] + messages
    for text, style in messages:
        console.print(line((text, style)), soft_wrap=True)
    return pending


def _wait_for(runs: Sequence[Run], worker: Worker, console: Console) -> list[Run]:
    """Wait until other processes release these runs; returns the runs that are still unfinished then."""
    if runs:
        text = f"waiting for {len(runs)} runs that another process works on in {worker.folder}"
        console.print(line(text), soft_wrap=True)
    unfinished = []
    for run in runs:
        with FileLock(worker.folder / run.id / LOCK):
            unfinished += [] if worker.is_finished(run) else [run]
    return unfinished
