"""The task that an engine gives to a worker: execute the runs of a pack, except those that another process holds."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from vaebench.config import Run
from vaebench.records import record
from vaebench.records.files import LOCK, RECORD
from vaebench.records.record import Record
from vaebench.sweeps.heartbeat import Heartbeat
from vaebench.sweeps.run import Execution, execute_pack
from vaebench.sweeps.status import intact_record, set_record_aside
from vaebench.training.resume import resume_point

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Worker:
    """Executes packs. It is plain data, so an engine can send it to other processes and machines."""

    study: str  # stem of the study's file
    axes: tuple[str, ...]  # paths of its grid
    folder: Path  # where the study works; every worker must reach it
    how: Execution  # how runs are executed
    # for each run that had failed before the sweep began, when its record was written. Such a run is tried again,
    # unless its record has changed since.
    failed: Mapping[str, int | None] = field(default_factory=dict)

    def __call__(self, pack: Sequence[Run]) -> list[str]:
        """Execute the unfinished runs of a pack and write their records.

        Returns:
            The ids of the runs that another process holds.

        Raises:
            FileNotFoundError: if the study's folder does not exist on this machine.
            NewerError: if a record was written by a newer version.
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
                    mine += [] if self.is_finished(run) else [run]
            if mine:
                self._execute(mine)
        return held

    def is_finished(self, run: Run) -> bool:
        """Whether a run is done, or has failed since the sweep began."""
        path = self.folder / run.id / RECORD
        written, found = record.written_at(path), intact_record(path, self.study)
        return found is not None and (found.status == "done" or written != self.failed.get(run.id))

    def repeat(self, run: Run) -> Record:
        """Execute a run, even if it is done.

        Raises:
            FileExistsError: if another process holds it.
            NewerError: if its record was written by a newer version.
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
            if message := set_record_aside(folder / RECORD, self.study):
                log.warning("%s", message)
        heartbeat = Heartbeat(folders, [run.slug for run in runs], runs[0].train.epochs)
        with heartbeat.beating():
            return list(execute_pack(runs, self.study, list(self.axes), folders, self.how, heartbeat))


def describe_resume(run: Run, folder: Path) -> str | None:
    """One line: where a stopped run continues. None if it starts from the beginning.

    Raises:
        NewerSnapshotError: if a newer version stopped it.
    """
    header = resume_point(folder)
    if header is None:
        return None
    return f"run {run.id} continues from epoch {header['epochs']} of {run.train.epochs}, step {header['steps']}"
