"""A sweep is nothing but runs: those whose record says done are done, the rest are executed.

So running the same command again is resuming, whatever stopped the last one.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from rich.console import Console

from vaebench import record
from vaebench.config import Run, Study
from vaebench.engines.inline import Inline
from vaebench.progress import Display
from vaebench.record import Record, RecordError
from vaebench.run import Execution, Watch, execute


@dataclass(frozen=True)
class Outcome:
    """What stands after a sweep."""

    records: list[Record]
    missing: list[Run]

    @property
    def failed(self) -> list[Record]:
        """Runs that left a reason instead of numbers."""
        return [r for r in self.records if r.status == "failed"]


def sweep(study: Study, folder: Path, how: Execution, console: Console) -> Outcome:
    """Execute what is not done of a study.

    Args:
        study: the runs.
        folder: where the study works, `runs/<study>`.
        how: how runs are executed.
        console: for progress.
    """
    pending = [run for run in study.runs if not is_done(folder / run.id, console)]
    done = len(study.runs) - len(pending)
    if done:
        console.print(f"{done} of {len(study.runs)} runs are done; {len(pending)} to go")
    axes = list(study.axes)
    with Display(study.name, len(study.runs), done, console) as display:

        def work(run: Run) -> Record | None:
            watch = display.watch(run)
            try:
                return _claimed(run, study.name, axes, folder / run.id, how, watch)
            finally:
                watch.close()

        for run, outcome in Inline().map(work, pending):
            if outcome is not None:
                display.finished(run, outcome)
    found = [r for r in (_existing(folder / run.id) for run in study.runs) if r is not None]
    recorded = {r.id for r in found}
    return Outcome(found, [run for run in study.runs if run.id not in recorded])


def is_done(folder: Path, console: Console) -> bool:
    """Whether a run's record is there and says so; a damaged one is put aside, never trusted and never deleted."""
    path = folder / "record.json"
    try:
        return record.read(path).status == "done"
    except FileNotFoundError:
        return False
    except RecordError as error:
        aside = path.with_suffix(".damaged")
        os.replace(path, aside)
        console.print(f"[yellow]{error}; kept as {aside.name}, the run is repeated[/]")
        return False


def _claimed(run: Run, study: str, axes: list[str], folder: Path, how: Execution, watch: Watch) -> Record | None:
    """Execute a run unless another process holds it or has just done it; None where another holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / "lock", timeout=0):
            existing = _existing(folder)
            if existing is not None and existing.status == "done":
                return existing
            return execute(run, study, axes, folder, how, watch)
    except Timeout:
        return None


def _existing(folder: Path) -> Record | None:
    try:
        return record.read(folder / "record.json")
    except (FileNotFoundError, RecordError):
        return None
