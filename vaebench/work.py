"""What an engine is given to do, wherever that is: the runs of a pack, but for those that somebody else works on."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from vaebench import record
from vaebench.beacon import NAME, Beacon
from vaebench.config import Run
from vaebench.record import Record, RecordError
from vaebench.run import Execution, execute_pack

LOCK = "lock"
"""The file in a run's folder that whoever executes the run holds; a process that dies lets go of it."""


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
        path = self.folder / run.id / "record.json"
        stamp, found = record.stamp(path), existing(path.parent)
        return found is not None and (found.status == "done" or stamp != self.failed.get(run.id))

    def again(self, run: Run) -> Record:
        """Execute a run, done before or not.

        Raises:
            FileExistsError: if another process holds it.
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
        beacon = Beacon(folders, [run.slug for run in runs], runs[0].train.epochs)
        with beacon.beating():
            return list(execute_pack(runs, self.study, list(self.axes), folders, self.how, beacon))


def forget_dead(folder: Path) -> None:
    """Remove what a process that died in a run's training has left for those who watch it."""
    if (folder / NAME).exists():
        with suppress(Timeout, OSError), FileLock(folder / LOCK, timeout=0):  # its lock went with it
            (folder / NAME).unlink(missing_ok=True)


def existing(folder: Path) -> Record | None:
    """The record in a run's folder, or None where there is none that can be read."""
    try:
        return record.read(folder / "record.json")
    except (FileNotFoundError, RecordError):
        return None


def is_done(folder: Path) -> bool:
    """Whether a run's record is there and says so."""
    found = existing(folder)
    return found is not None and found.status == "done"
