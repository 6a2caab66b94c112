"""A sweep is nothing but runs: those whose record says done are done, the rest are executed.

So running the same command again is resuming, whatever stopped the last one.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from rich.console import Console

from vaebench import record
from vaebench.config import Run, Study
from vaebench.engines.inline import Inline
from vaebench.plan import decision, packs_of
from vaebench.progress import Display
from vaebench.record import Record, RecordError
from vaebench.run import Execution, Watch, execute_pack


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
    packs = packs_of(pending, how.most)
    if pending:
        console.print(decision(packs, how.most), soft_wrap=True)
    with Display(study.name, len(study.runs), done, console) as display:

        def work(pack: list[Run]) -> None:
            watch = display.watch(*pack)
            try:
                for run, outcome in _claimed(pack, study, folder, how, watch):
                    display.finished(run, outcome)
            finally:
                watch.close()

        for pack, error in Inline().map(work, packs):
            if error is not None:
                for run in (r for r in pack if _existing(folder / r.id) is None):
                    display.finished(run, error)
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


def _claimed(
    pack: Sequence[Run], study: Study, folder: Path, how: Execution, watch: Watch
) -> Iterator[tuple[Run, Record]]:
    """Execute the runs of a pack, but for those that another process holds or has just done."""
    with ExitStack() as held:
        mine = []
        for run in pack:
            (folder / run.id).mkdir(parents=True, exist_ok=True)
            try:
                held.enter_context(FileLock(folder / run.id / "lock", timeout=0))
            except Timeout:
                continue
            existing = _existing(folder / run.id)
            if existing is not None and existing.status == "done":
                yield run, existing
            else:
                mine.append(run)
        if mine:
            folders = [folder / run.id for run in mine]
            yield from zip(mine, execute_pack(mine, study.name, list(study.axes), folders, how, watch), strict=True)


def _existing(folder: Path) -> Record | None:
    try:
        return record.read(folder / "record.json")
    except (FileNotFoundError, RecordError):
        return None
