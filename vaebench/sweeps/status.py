"""How far a sweep is, read from its folder: it does not matter which process or machine works there."""

from collections import Counter
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from time import sleep
from typing import NamedTuple

from filelock import FileLock, Timeout

from vaebench.config import Run, Study
from vaebench.records import record
from vaebench.records.record import RecordError
from vaebench.records.run_folder import EARLIER_RESUME, LOCK, RECORD, RESUME
from vaebench.sweeps.heartbeat import read_progress


class State(StrEnum):
    """Where a run stands."""

    DONE = "done"
    FAILED = "failed"
    IN_TRAINING = "in training"
    AT_WORK = "being prepared or measured"
    STOPPED = "stopped, goes on from a snapshot"
    DAMAGED = "its record is damaged"
    WAITING = "waiting"


BAD = (State.FAILED, State.DAMAGED)
"""What `vaebench status` reports by its exit status."""

LOOK_SECONDS = 2.0
"""Seconds between two looks of `--watch`."""


class RunStatus(NamedTuple):
    """One run of a study.

    Attributes:
        id: of the run.
        slug: its name in the study.
        state: where it stands.
        detail: epoch and machine of a run in training, the reason of a failed one; else empty.
    """

    id: str
    slug: str
    state: State
    detail: str = ""


def status(study: Study, folder: Path) -> list[RunStatus]:
    """Every run of a study, in the order of the study.

    Args:
        study: the runs.
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

    >>> counts([RunStatus("a", "", State.DONE), RunStatus("b", "", State.WAITING), RunStatus("c", "", State.DONE)])
    '3 runs: 2 done, 1 waiting'
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
    stopped = any((folder / name).exists() for name in (RESUME, EARLIER_RESUME))
    return RunStatus(run.id, run.slug, State.STOPPED if stopped else State.WAITING)


def _is_locked(path: Path) -> bool:
    """Whether a process holds the lock of a run."""
    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except (Timeout, OSError):
        return True
