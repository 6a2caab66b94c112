"""A sweep is nothing but runs: those whose record says done are done, the rest are executed.

So running the same command again is resuming, whatever stopped the last one, and several may work on one folder.
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
from vaebench.sweeps.packs import decision, packs_of
from vaebench.sweeps.progress import Display
from vaebench.sweeps.run import Execution
from vaebench.sweeps.worker import Work, existing, forget_dead, goes_on, put_aside, put_pictures_aside


@dataclass(frozen=True)
class Outcome:
    """What stands after a sweep."""

    records: list[Record]
    missing: list[Run]

    @property
    def failed(self) -> list[Record]:
        """Runs that left a reason instead of numbers."""
        return [r for r in self.records if r.status == "failed"]


def sweep(study: Study, folder: Path, how: Execution, console: Console, engine: Engine | None = None) -> Outcome:
    """Execute what is not done of a study.

    Runs that another process works on are waited for, and executed if it leaves them undone.

    Args:
        study: the runs.
        folder: where the study works, `runs/<study>`.
        how: how runs are executed.
        console: for progress.
        engine: where they are executed; in this process if not given.

    Raises:
        NewerError: if a run has a record of a newer version, which may say that it is done.
        NewerSnapshotError: if a run was stopped by a newer version, which alone can go on.
    """
    engine = Inline() if engine is None else engine
    folder = folder.absolute()
    check_writable(folder)
    pending = _pending(study, folder, console)
    for run in study.runs:
        forget_dead(folder / run.id)
    if done := len(study.runs) - len(pending):
        console.print(line(f"{done} of {len(study.runs)} runs are done; {len(pending)} to go"))
    failed = {run.id: record.stamp(folder / run.id / RECORD) for run in pending}
    work = Work(study.name, study.axes, folder, how, failed)
    with ExitStack() as stack:
        if pending:
            stack.enter_context(engine)
            console.print(line(decision(packs_of(pending, how.most, engine.workers), how.most)), soft_wrap=True)
            console.print(line(str(engine)), soft_wrap=True)
        display = stack.enter_context(Display(study.name, pending, folder, len(study.runs), console))
        while pending:
            held: list[str] = []
            for pack, outcome in engine.map(work, packs_of(pending, how.most, engine.workers)):
                if isinstance(outcome, Exception):
                    display.stopped(pack, outcome)
                else:
                    held += outcome
            pending = _left_undone([run for run in pending if run.id in held], work, console)
    there = {run.id: existing(folder / run.id / RECORD, study.name) for run in study.runs}
    return Outcome([one for one in there.values() if one], [run for run in study.runs if not there[run.id]])


def _pending(study: Study, folder: Path, console: Console) -> list[Run]:
    """The runs that are not done; what does not prove itself is put aside, unless there is anything of a newer version.

    Raises:
        NewerError: as `sweep`.
        NewerSnapshotError: as `sweep`.
    """
    there = {run.id: existing(folder / run.id / RECORD, study.name) for run in study.runs}
    pending = [run for run in study.runs if (found := there[run.id]) is None or found.status == "failed"]
    told = [(text, "") for run in pending if (text := goes_on(run, folder / run.id))]
    for id, found in there.items():
        aside = put_aside(folder / id / RECORD, study.name), put_pictures_aside(found, folder / id)
        told = [(text, "yellow") for text in aside if text] + told
    for text, style in told:
        console.print(line((text, style)), soft_wrap=True)
    return pending


def _left_undone(runs: Sequence[Run], work: Work, console: Console) -> list[Run]:
    """Of runs that another process holds, those that are not over when it lets go of them."""
    if runs:
        told = f"waiting for {len(runs)} runs that another process works on in {work.folder}"
        console.print(line(told), soft_wrap=True)
    undone = []
    for run in runs:
        with FileLock(work.folder / run.id / LOCK):
            undone += [] if work.is_over(run) else [run]
    return undone
