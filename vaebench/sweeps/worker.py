"""What an engine is given to do, wherever that is: the runs of a pack, but for those that somebody else works on."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from vaebench.config import Run
from vaebench.records import files, record
from vaebench.records.record import NewerError, Record, RecordError
from vaebench.records.run_folder import ARRAYS, LOCK, PROGRESS, RECORD
from vaebench.sweeps.heartbeat import Beacon
from vaebench.sweeps.run import Execution, execute_pack
from vaebench.training.resume import standing

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Work:
    """A pack's runs, executed. Plain data, so that it travels to other processes and machines.

    Args:
        study: stem of the study's file.
        axes: paths of its grid.
        folder: where the study works; every worker has to reach it.
        how: how runs are executed.
        failed: of runs whose record says so, when the sweep began, and are to be tried again, that record's stamp.
    """

    study: str
    axes: tuple[str, ...]
    folder: Path
    how: Execution
    failed: Mapping[str, int | None] = field(default_factory=dict)

    def __call__(self, pack: Sequence[Run]) -> list[str]:
        """Execute what of a pack is not done, and leave the records.

        Returns:
            The ids of the runs that another process holds.

        Raises:
            FileNotFoundError: if the study's folder is not there.
            NewerError: if a run has a record of a newer version.
        """
        if not self.folder.is_dir():
            raise FileNotFoundError(
                f"{self.folder}: not found on this machine; runs/ has to be on storage that every worker reaches"
            )
        held: list[str] = []
        with ExitStack() as locks:
            mine = []
            for run in pack:
                (self.folder / run.id).mkdir(exist_ok=True)
                try:
                    locks.enter_context(FileLock(self.folder / run.id / LOCK, timeout=0))
                except Timeout:
                    held.append(run.id)
                else:
                    mine += [] if self.is_over(run) else [run]
            if mine:
                self._execute(mine)
        return held

    def is_over(self, run: Run) -> bool:
        """Whether a run is done, or has failed since the sweep began."""
        path = self.folder / run.id / RECORD
        stamp, found = record.stamp(path), existing(path, self.study)
        return found is not None and (found.status == "done" or stamp != self.failed.get(run.id))

    def again(self, run: Run) -> Record:
        """Execute a run, done before or not.

        Raises:
            FileExistsError: if another process holds it.
            NewerError: if it has a record of a newer version.
        """
        (self.folder / run.id).mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.folder / run.id / LOCK, timeout=0):
                (outcome,) = self._execute([run])
        except Timeout:
            raise FileExistsError(f"{self.folder / run.id}: another process works on this run; wait for it") from None
        return outcome

    def _execute(self, runs: Sequence[Run]) -> list[Record]:
        folders = [self.folder / run.id for run in runs]
        for folder in folders:
            if told := put_aside(folder / RECORD, self.study):
                log.warning("%s", told)
        beacon = Beacon(folders, [run.slug for run in runs], runs[0].train.epochs)
        with beacon.beating():
            return list(execute_pack(runs, self.study, list(self.axes), folders, self.how, beacon))


def forget_dead(folder: Path) -> None:
    """Remove what a process that died in a run's training has left for those who watch it."""
    if (folder / PROGRESS).exists():
        with suppress(Timeout, OSError), FileLock(folder / LOCK, timeout=0):  # its lock went with it
            (folder / PROGRESS).unlink(missing_ok=True)


def existing(path: Path, study: str) -> Record | None:
    """A run's record, or None where there is none that proves itself.

    Raises:
        NewerError: if it is of a newer version.
    """
    try:
        return record.read(path, study)
    except NewerError:
        raise
    except (FileNotFoundError, RecordError):
        return None


def is_done(path: Path, study: str) -> bool:
    """Whether a run's record is there, proves itself, and says so."""
    found = existing(path, study)
    return found is not None and found.status == "done"


def put_aside(path: Path, study: str) -> str | None:
    """Give a record that does not prove itself another name: it is never trusted, and never deleted.

    Returns:
        What was wrong with it; None where nothing is.

    Raises:
        NewerError: if it is of a newer version, and nobody's to touch here.
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


def put_pictures_aside(found: Record | None, folder: Path) -> str | None:
    """Give the pictures of a run that is done another name, where they are not as the run left them.

    Returns:
        What is to be said of it; None where nothing is.
    """
    path = folder / ARRAYS
    try:
        if found is not None and path.is_file():
            found.left(path)
    except RecordError as error:
        aside = files.put_aside(path)
        return f"{error.fault}; kept as {aside.name}, the run is shown without pictures; to have them, {error.remedy}"
    return None


def goes_on(run: Run, folder: Path) -> str | None:
    """What a run that was stopped goes on from, in a line; None where it begins.

    Raises:
        NewerSnapshotError: if it was stopped by a newer version.
    """
    said = standing(folder)
    if said is None:
        return None
    return f"run {run.id} goes on from epoch {said['epochs']} of {run.train.epochs}, step {said['steps']}"
