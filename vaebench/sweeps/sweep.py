"""A sweep executes the runs of a study that have no record which says that they are done.

So the same command, given again, resumes a sweep that was stopped. Several commands may work on one folder. An engine
gives packs to workers; a `Worker` executes the runs of a pack, except those that another process holds.
"""

import logging
import math
import resource
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout
from rich.console import Console

from vaebench.config import Run, Study
from vaebench.records import record
from vaebench.records.files import LOCK, RECORD, check_writable
from vaebench.records.record import Record
from vaebench.reporting.printing import line
from vaebench.sweeps.engines import Engine, Inline
from vaebench.sweeps.forecast import announced
from vaebench.sweeps.packs import describe_packs, packs_of, split
from vaebench.sweeps.progress import Display, Heartbeat
from vaebench.sweeps.run import Execution, execute_pack, import_for
from vaebench.sweeps.status import (
    Outcome,
    intact_record,
    lock_of,
    outcome_of,
    remove_stale_progress,
    set_arrays_aside,
    set_record_aside,
)
from vaebench.training.resume import resume_point

log = logging.getLogger(__name__)

FILES = 3  # files that a run of a pack holds open: its lock, and what W&B holds
OTHER_FILES = 64  # files that a process holds open besides


@dataclass(frozen=True)
class Worker:
    """Executes packs. It is plain data, so an engine can send it to other processes and machines."""

    study: str  # stem of the study's file
    axes: tuple[str, ...]  # paths of its grid
    folder: Path  # where the study works; every worker must reach it
    how: Execution  # how runs are executed
    # for each run that had failed before the sweep began, when its record was written. Such a run is tried again,
    # unless its record has changed since.
    failed: Mapping[str, int | None] = field(default_factory=dict)

    def __call__(self, pack: Sequence[Run]) -> list[str]:
        """Execute the unfinished runs of a pack and write their records.

        Returns:
            The ids of the runs that another process holds.

        Raises:
            FileNotFoundError: if the study's folder does not exist on this machine.
            NewerError: if a record was written by a newer version.
        """
        if not self.folder.is_dir():
            raise FileNotFoundError(
                f"{self.folder}: not found on this machine; runs/ has to be on storage that every worker reaches"
            )
        parts = split(list(pack), math.ceil(len(pack) / runs_at_once(len(pack))))
        return [id for part in parts for id in self._work(part)]

    def _work(self, pack: Sequence[Run]) -> list[str]:
        """The same for a pack whose locks can be open at once."""
        held: list[str] = []
        with ExitStack() as locks:
            mine = []
            for run in pack:
                (self.folder / run.id).mkdir(exist_ok=True)
                try:
                    locks.enter_context(lock_of(self.folder / run.id))
                except Timeout:
                    held.append(run.id)
                else:
                    mine += [] if self.is_finished(run) else [run]
            if mine:
                self._execute(mine)
        return held

    def is_finished(self, run: Run) -> bool:
        """Whether a run is done, or has failed since the sweep began."""
        path = self.folder / run.id / RECORD
        written, found = record.written_at(path), intact_record(path, self.study)
        return found is not None and (found.status == "done" or written != self.failed.get(run.id))

    def repeat(self, run: Run) -> Record:
        """Execute a run, even if it is done.

        Raises:
            FileExistsError: if another process holds it.
            NewerError: if its record was written by a newer version.
        """
        (self.folder / run.id).mkdir(parents=True, exist_ok=True)
        try:
            with lock_of(self.folder / run.id):
                (outcome,) = self._execute([run])
        except Timeout:
            raise FileExistsError(f"{self.folder / run.id}: another process works on this run; wait for it") from None
        return outcome

    def _execute(self, runs: Sequence[Run]) -> list[Record]:
        folders = [self.folder / run.id for run in runs]
        for folder in folders:
            if message := set_record_aside(folder / RECORD, self.study):
                log.warning("%s", message)
        heartbeat = Heartbeat(folders, [run.slug for run in runs], runs[0].train.epochs)
        with heartbeat.beating():
            return list(execute_pack(runs, self.study, list(self.axes), folders, self.how, heartbeat))


def runs_at_once(wanted: int) -> int:
    """How many runs may hold their files open in this process; its limit is raised if that is too low."""
    most, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = FILES * wanted + OTHER_FILES
    if most == resource.RLIM_INFINITY or most >= needed:
        return wanted
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    with suppress(ValueError, OSError):  # some systems allow less than they say
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
        most = allowed
    return min(wanted, max(1, (most - OTHER_FILES) // FILES))


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
        folder: where the study works, `runs/<study>`.
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
    set_arrays_aside(found.records, folder, console)
    return found


def _execute(pending: list[Run], worker: Worker, total: int, console: Console, engine: Engine) -> None:
    """Execute the unfinished runs in packs, and show how far they are; `total` counts all runs of the study."""
    most = worker.how.max_pack_size
    with ExitStack() as stack:
        if pending:
            if engine.forks:
                import_for(pending[0], worker.how, worker.folder)
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
    for path in (folder / run.id / RECORD for run in pending):
        if path.exists():
            with suppress(Timeout, OSError), lock_of(path.parent):  # a process that works on the run does it itself
                if aside := set_record_aside(path, study.name):
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


def describe_resume(run: Run, folder: Path) -> str | None:
    """One line: where a stopped run continues. None if it starts from the beginning.

    Raises:
        NewerSnapshotError: if a newer version stopped it.
    """
    header = resume_point(folder)
    if header is None:
        return None
    return f"run {run.id} continues from epoch {header['epochs']} of {run.train.epochs}, step {header['steps']}"
