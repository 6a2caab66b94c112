"""A sweep executes the runs of a study that have no record which says that they are done.

So the same command, given again, resumes a sweep that was stopped. Several commands may work on one folder.
"""

from collections.abc import Collection, Sequence
from contextlib import ExitStack
from pathlib import Path

from filelock import FileLock
from rich.console import Console

from vaebench.config import Run, Study
from vaebench.records import record
from vaebench.records.files import LOCK, RECORD, check_writable
from vaebench.reporting.printing import line
from vaebench.sweeps.engines.base import Engine, Inline
from vaebench.sweeps.forecast import announced
from vaebench.sweeps.packs import describe_packs, packs_of
from vaebench.sweeps.progress import Display
from vaebench.sweeps.run import Execution, import_for
from vaebench.sweeps.status import Outcome, outcome_of, remove_stale_progress, set_all_arrays_aside, set_record_aside
from vaebench.sweeps.worker import Worker, describe_resume


def sweep(
    study: Study,
    folder: Path,
    how: Execution,
    console: Console,
    engine: Engine | None = None,
    unfinished: Collection[str] | None = None,
) -> Outcome:
    """Execute the unfinished runs of a study.

    If another process works on a run, the sweep waits for it. It executes the run if that process did not finish it.

    Args:
        study: the runs.
        folder: where the study works, `runs/<study>`.
        how: how runs are executed.
        console: for progress.
        engine: where they are executed; None for this process.
        unfinished: the ids of the runs that are not done, if the caller has just read the records.

    Raises:
        NewerError: if a newer version wrote the record of a run; it may say that the run is done.
        NewerSnapshotError: if a newer version stopped a run; only that version can continue it.
    """
    engine = Inline() if engine is None else engine
    folder = folder.absolute()
    check_writable(folder)
    unfinished = outcome_of(study, folder).unfinished if unfinished is None else unfinished
    pending = _pending(study, folder, unfinished, console)
    for run in study.runs:
        remove_stale_progress(folder / run.id)
    if done := len(study.runs) - len(pending):
        console.print(line(f"{done} of {len(study.runs)} runs are done; {len(pending)} to go"))
    failed = {run.id: record.written_at(folder / run.id / RECORD) for run in pending}
    worker = Worker(study.name, study.axes, folder, how, failed)
    _execute(pending, worker, len(study.runs), console, engine)
    found = outcome_of(study, folder)
    set_all_arrays_aside(found.records, folder, console)
    return found


def _execute(pending: list[Run], worker: Worker, total: int, console: Console, engine: Engine) -> None:
    """Execute runs in packs, and show how far they are.

    Args:
        pending: the unfinished runs.
        worker: executes a pack.
        total: how many runs the study has.
        console: for progress.
        engine: where packs are executed.
    """
    most = worker.how.max_pack_size
    with ExitStack() as stack:
        if pending:
            if engine.forks:
                import_for(pending[0], worker.how)
            stack.enter_context(engine)
            console.print(
                line(describe_packs(packs_of(pending, most, engine.workers), most)), soft_wrap=not console.is_terminal
            )
            console.print(line(str(engine)), soft_wrap=not console.is_terminal)
            for text in announced(pending):
                console.print(line(text), soft_wrap=not console.is_terminal)
        display = stack.enter_context(Display(worker.study, pending, worker.folder, total, console))
        while pending:
            held: list[str] = []
            for pack, outcome in engine.map(worker, packs_of(pending, most, engine.workers)):
                if isinstance(outcome, Exception):
                    display.fail(pack, outcome)
                else:
                    held += outcome
            pending = _wait_for([run for run in pending if run.id in held], worker, console)


def _pending(study: Study, folder: Path, unfinished: Collection[str], console: Console) -> list[Run]:
    """The unfinished runs. Damaged files are renamed, but only after no file of a newer version was found.

    Raises:
        NewerError: as `sweep`.
        NewerSnapshotError: as `sweep`.
    """
    pending = [run for run in study.runs if run.id in unfinished]
    messages = [(text, "") for run in pending if (text := describe_resume(run, folder / run.id))]
    for run in pending:
        if aside := set_record_aside(folder / run.id / RECORD, study.name):
            messages.insert(0, (aside, "yellow"))
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
