"""A sweep is nothing but runs: those whose record says done are done, the rest are executed.

So running the same command again is resuming, whatever stopped the last one, and several may work on one folder.
"""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from filelock import FileLock
from rich.console import Console

from vaebench import record
from vaebench.atomic import check_writable
from vaebench.config import Run, Study
from vaebench.engines.base import Engine
from vaebench.engines.inline import Inline
from vaebench.plan import decision, packs_of
from vaebench.printing import line
from vaebench.progress import Display
from vaebench.record import Record, RecordError
from vaebench.run import Execution
from vaebench.work import LOCK, Work, existing, forget_dead, is_done


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
    """
    engine = Inline() if engine is None else engine
    folder = folder.absolute()
    check_writable(folder)
    for run in study.runs:
        _put_damaged_aside(folder / run.id, console)
        forget_dead(folder / run.id)
    pending = [run for run in study.runs if not is_done(folder / run.id)]
    if done := len(study.runs) - len(pending):
        console.print(line(f"{done} of {len(study.runs)} runs are done; {len(pending)} to go"))
    failed = {run.id: record.stamp(folder / run.id / "record.json") for run in pending}
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
    found = [existing(folder / run.id) for run in study.runs]
    missing = [run for run, one in zip(study.runs, found, strict=True) if one is None]
    return Outcome([one for one in found if one is not None], missing)


def _put_damaged_aside(folder: Path, console: Console) -> None:
    """A damaged record is never trusted and never deleted."""
    path = folder / "record.json"
    try:
        record.read(path)
    except FileNotFoundError:
        return
    except RecordError as error:
        names = (path.with_suffix(f".damaged{i or ''}") for i in count())
        aside = next(name for name in names if not name.exists())
        os.replace(path, aside)
        told = f"{error.fault}; kept as {aside.name}, the run is repeated"
        console.print(line((told, "yellow")), soft_wrap=True)


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
