"""How far a sweep is, and which of its runs are finished: read from its folder alone, without torch.

It does not matter which process or machine works there. A sweep that is already complete shows its tables at once.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from time import sleep
from typing import NamedTuple

from filelock import FileLock, Timeout
from rich.console import Console

from vaebench.config import Run, Study
from vaebench.records import files, record
from vaebench.records.collection import without_collection
from vaebench.records.files import ARRAYS, LOCK, PROGRESS, RECORD, RESUME
from vaebench.records.record import NewerError, Record, RecordError
from vaebench.reporting.printing import line
from vaebench.sweeps.progress import read_progress


@dataclass(frozen=True)
class Outcome:
    """The records after a sweep, and the runs that have none."""

    records: list[Record]
    missing: list[Run]

    @property
    def failed(self) -> list[Record]:
        """Records that have a reason instead of numbers."""
        return [r for r in self.records if r.status == "failed"]

    @property
    def unfinished(self) -> frozenset[str]:
        """The ids of the runs that failed or have no record."""
        return frozenset([*(r.id for r in self.failed), *(run.id for run in self.missing)])


@without_collection()
def outcome_of(study: Study, folder: Path) -> Outcome:
    """The outcome of a sweep of a study, as far as it has come.

    Raises:
        NewerError: if a newer version wrote the record of a run; it may say that the run is done.
    """
    records = {run.id: intact_record(folder / run.id / RECORD, study.name) for run in study.runs}
    return Outcome([r for r in records.values() if r], [run for run in study.runs if not records[run.id]])


def complete(study: Study, folder: Path, found: Outcome, console: Console) -> Outcome:
    """Say that no run is left to do, and put aside arrays that were changed; returns the same outcome."""
    for run in study.runs:
        remove_stale_progress(folder / run.id)
    set_all_arrays_aside(found.records, folder, console)
    console.print(line(f"{len(study.runs)} of {len(study.runs)} runs are done; 0 to go"))
    return found


def set_all_arrays_aside(records: Sequence[Record], folder: Path, console: Console) -> None:
    """Rename the arrays of finished runs that are not the files that the runs wrote, and say so."""
    for found in records:
        if text := set_arrays_aside(found, folder / found.id):
            console.print(line((text, "yellow")), soft_wrap=True)


def remove_stale_progress(folder: Path) -> None:
    """Remove the progress file of a process that died while it trained this run."""
    if (folder / PROGRESS).exists():
        with suppress(Timeout, OSError), FileLock(folder / LOCK, timeout=0):  # a process that lives holds the lock
            (folder / PROGRESS).unlink(missing_ok=True)


def intact_record(path: Path, study: str) -> Record | None:
    """A run's record, or None if it is missing or damaged.

    Raises:
        NewerError: if a newer version wrote it.
    """
    try:
        return record.read(path, study)
    except NewerError:
        raise
    except (FileNotFoundError, RecordError):
        return None


def set_record_aside(path: Path, study: str) -> str | None:
    """Rename a damaged record. It is never trusted and never deleted.

    Returns:
        What was wrong; None if nothing was.

    Raises:
        NewerError: if a newer version wrote the record; it stays where it is.
    """
    try:
        record.read(path, study)
    except NewerError:
        raise
    except FileNotFoundError:
        return None
    except RecordError as error:
        return f"{error.fault}; kept as {files.put_aside(path).name}, the run is repeated"
    return None


def set_arrays_aside(found: Record | None, folder: Path) -> str | None:
    """Rename the arrays of a finished run if they are not the file that the run wrote.

    Returns:
        What was wrong; None if nothing was.
    """
    path = folder / ARRAYS
    try:
        if found is not None and path.is_file():
            found.left(path)
    except RecordError as error:
        aside = files.put_aside(path)
        return f"{error.fault}; kept as {aside.name}, the run is shown without pictures; to get them, {error.remedy}"
    return None


class State(StrEnum):
    """Where a run stands."""

    DONE = "done"
    FAILED = "failed"
    IN_TRAINING = "in training"
    AT_WORK = "being prepared or measured"
    STOPPED = "stopped, goes on from a snapshot"
    DAMAGED = "its record is damaged"
    NOT_STARTED = "not started"


BAD = (State.FAILED, State.DAMAGED)  # what `vaebench status` reports by its exit status
LOOK_SECONDS = 2.0  # seconds between two looks of `--watch`


class RunStatus(NamedTuple):
    """One run of a study."""

    id: str  # of the run
    slug: str  # its name in the study
    state: State  # where it stands
    detail: str = ""  # epoch and machine of a run in training, the reason of a failed one; else empty


def status(study: Study, folder: Path) -> list[RunStatus]:
    """Every run of a study, in the order of the study.

    Args:
        folder: where the study works, `runs/<study>`. It need not exist.
    """
    packs = read_progress([folder / run.id for run in study.runs])
    training = {id: f"epoch {pack.epoch} of {pack.epochs}, {pack.where}" for pack in packs for id in pack.runs}
    return [_status(run, folder / run.id, training, study.name) for run in study.runs]


def looks(study: Study, folder: Path, again: bool) -> Iterator[list[RunStatus]]:
    """The status now and, if asked, again and again until no run is left to do."""
    while True:
        runs = status(study, folder)
        yield runs
        if not again or all(run.state in (State.DONE, *BAD) for run in runs):
            return
        sleep(LOOK_SECONDS)


def counts(runs: Sequence[RunStatus]) -> str:
    """How many runs are in each state, on one line.

    >>> counts([RunStatus("a", "", State.DONE), RunStatus("b", "", State.NOT_STARTED), RunStatus("c", "", State.DONE)])
    '3 runs: 2 done, 1 not started'
    """
    found = Counter(run.state for run in runs)
    listed = ", ".join(f"{found[state]} {state}" for state in State if found[state])
    return f"{len(runs)} run{'s' * (len(runs) != 1)}: {listed}"


def _status(run: Run, folder: Path, training: dict[str, str], study: str) -> RunStatus:
    try:
        found = record.read(folder / RECORD, study)
    except FileNotFoundError:
        found = None
    except (OSError, RecordError) as error:
        return RunStatus(run.id, run.slug, State.DAMAGED, str(error))
    if found is not None and found.status == "done":
        return RunStatus(run.id, run.slug, State.DONE)
    if run.id in training:
        return RunStatus(run.id, run.slug, State.IN_TRAINING, training[run.id])
    if _is_locked(folder / LOCK):
        return RunStatus(run.id, run.slug, State.AT_WORK)
    if found is not None:
        return RunStatus(run.id, run.slug, State.FAILED, found.reason or "")
    return RunStatus(run.id, run.slug, State.STOPPED if (folder / RESUME).exists() else State.NOT_STARTED)


def _is_locked(path: Path) -> bool:
    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except (Timeout, OSError):
        return True
