"""What a study's folder says, without torch: how far a sweep is, which runs are finished, which came from overrides.

It does not matter which process or machine works there. A sweep that is already complete shows its tables at once.
Runs of sweeps with overrides (`key=values`) are not listed in a study's file, but their records exist.
"""

import shlex
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from time import sleep
from typing import NamedTuple

from filelock import FileLock, Timeout
from rich.console import Console

from vaebench.config import ConfigError, Refused, Run, Study
from vaebench.records import files, record
from vaebench.records.collection import without_collection
from vaebench.records.files import ARRAYS, LOCK, PROGRESS, RECORD, RESUME, id_of, record_paths
from vaebench.records.record import NewerError, Record, RecordError
from vaebench.reporting.printing import line
from vaebench.reporting.tables.labels import ABSENT, at
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
    set_arrays_aside(found.records, folder, console)
    console.print(line(f"{len(study.runs)} of {len(study.runs)} runs are done; 0 to go"))
    return found


def set_arrays_aside(records: Sequence[Record], folder: Path, console: Console) -> None:
    """Rename the arrays of finished runs that are not the files that the runs wrote, and say so."""
    for found in records:
        path = folder / found.id / ARRAYS
        if (fault := _fault_of_arrays(found, path)) is None:
            continue
        with suppress(Timeout, OSError), lock_of(path.parent):
            if found == intact_record(path.with_name(RECORD), found.study) and _fault_of_arrays(found, path):
                kept = f"{fault.fault}; kept as {files.put_aside(path).name}, the run is shown without pictures"
                console.print(line((f"{kept}; to get them, {fault.remedy}", "yellow")), soft_wrap=True)


def _fault_of_arrays(found: Record, path: Path) -> RecordError | None:
    try:
        if path.is_file():
            found.left(path)
    except RecordError as error:
        return error
    return None


def lock_of(folder: Path) -> FileLock:
    """The lock of a run. A process that works on the run holds it; then entering it raises Timeout at once."""
    return FileLock(folder / LOCK, timeout=0)


def remove_stale_progress(folder: Path) -> None:
    """Remove the progress file of a process that died while it trained this run."""
    if (folder / PROGRESS).exists():
        with suppress(Timeout, OSError), lock_of(folder):
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
    """Rename a damaged record. It is never trusted and never deleted. The caller holds the lock of the run.

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
    """Whether a process holds the lock. Where it cannot be asked, as in a folder that is read only, none is known."""
    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return False


# -- runs of sweeps with overrides -------------------------------------------------------------------------------------

COMMAND = "python -m vaebench train "  # the beginning of the command in a record


def find_run(study: Study, name: str | None, folders: Sequence[Path]) -> tuple[Run, tuple[str, ...]]:
    """A run by its name, in the study, else among the records; and the axes of the study that it belongs to.

    Args:
        study: from its file and the given overrides.
        name: an id, the start of an id, or a slug; None for the only run of the study.
        folders: searched for records, in this order.

    Raises:
        ConfigError: if no run or several runs have that name, or another version wrote the record.
    """
    try:
        return study.only(name), study.axes
    except ConfigError as error:
        found = {} if name is None else _files(name, folders)
        if any(run.id.startswith(name or "") for run in study.runs) or len(found) != 1:
            several = f"{study.path}: {len(found)} records begin with it: {', '.join(sorted(found)[:8])}"
            raise ConfigError([*error.faults, several] if len(found) > 1 else error.faults) from None
    (path,) = found.values()
    return _rebuild(record.read(path), path)


def remarks_on_overrides(study: Study | None, records: Sequence[Record]) -> list[str]:
    """The remark above a table with runs that are not in the study's file; none if there are no such runs."""
    planned: Collection[str] = () if study is None else {run.id for run in study.runs}
    others = [r for r in records if r.id not in planned]
    if study is None or not others:
        return []
    sources = sorted({" ".join(_words(r)[1:]) or "an earlier version of the file" for r in others})
    return [f"{len(others)} of {len(records)} runs are not those of {study.path}, but of {'; '.join(sources)}."]


def _rebuild(made: Record, path: Path) -> tuple[Run, tuple[str, ...]]:
    try:
        run = Run.of(made.config)
    except Refused as error:
        raise ConfigError([f"{path}: this version cannot train it: {fault}" for fault in error.faults]) from None
    if run.id != made.id:
        raise ConfigError([f"{path}: the configuration has the id {run.id}, and the record {made.id}; it was edited"])
    values = {axis: at(made.config, axis) for axis in made.axes}
    names = {axis: v.get("name", ABSENT) if isinstance(v, dict) else v for axis, v in values.items()}
    slug = ",".join(f"{axis.rpartition('.')[2]}={name}" for axis, name in names.items())
    return run.named(slug or made.id, shlex.join(_words(made))), tuple(made.axes)


def _files(name: str, folders: Sequence[Path]) -> dict[str, Path]:
    """The records whose id begins with `name`, by id; the first folder wins."""
    found: dict[str, Path] = {}
    for path in (path for folder in folders for path in record_paths(folder, name) if name):
        found.setdefault(id_of(path), path)
    return found


def _words(found: Record) -> list[str]:
    """The study's file and the overrides: the words of the command in a record."""
    command = str(found.provenance.get("command") or "")
    try:
        words = shlex.split(command.removeprefix(COMMAND))
    except ValueError:
        return []
    return words[: words.index("--id")] if "--id" in words else words
