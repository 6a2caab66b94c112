"""Which runs of a study are finished: read from their records alone, without torch.

So a sweep that is already complete shows its tables at once.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from rich.console import Console

from vaebench.config import Run, Study
from vaebench.records import files, record
from vaebench.records.record import NewerError, Record, RecordError
from vaebench.records.run_folder import ARRAYS, LOCK, PROGRESS, RECORD
from vaebench.reporting.terminal.printing import line


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


def outcome_of(study: Study, folder: Path) -> Outcome:
    """The outcome of a sweep of a study, as far as it has come.

    Args:
        study: the runs.
        folder: where the study works.

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
