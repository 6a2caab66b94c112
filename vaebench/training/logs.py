"""Logs of Lightning's own loggers, beside W&B: `--logger csv` and `--logger tensorboard`.

They lie in `runs/<study>/<logger>/<run>/`. A resumed run sends its earlier epochs again, so its log begins anew, and no
epoch stands in it twice.
"""

import logging
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.loggers.logger import Logger

from vaebench.config import Run

LoggerName = Literal["csv", "tensorboard"]

LONGEST = 100  # characters of a run's name in the name of its folder

log = logging.getLogger(__name__)


def _csv(root: Path, run: str) -> Logger:
    return CSVLogger(root, name=run, version="", flush_logs_every_n_steps=1)


def _tensorboard(root: Path, run: str) -> Logger:
    return TensorBoardLogger(root, name=run, version="", default_hp_metric=False)


BUILDERS: Mapping[LoggerName, Callable[[Path, str], Logger]] = {"csv": _csv, "tensorboard": _tensorboard}


def check(names: Sequence[str]) -> None:
    """Refuse an unknown logger, and one whose library is missing.

    Raises:
        ValueError: with what to do.
    """
    if unknown := [name for name in names if name not in BUILDERS]:
        raise ValueError(f"--logger: expected {' or '.join(BUILDERS)}, got {unknown[0][:40]!r}")
    if "tensorboard" in names and find_spec("tensorboard") is None:
        raise ValueError("--logger tensorboard needs tensorboard: pip install 'vaebench[tensorboard]'")


class FileLog:
    """The CSV or TensorBoard log of a run, with one line for each epoch, counted from one.

    If the log cannot be written, that is a warning, and training goes on: the record has the curve.

    Args:
        logger: of Lightning.
        run: whose numbers these are.
    """

    def __init__(self, logger: Logger, run: Run) -> None:
        self.logger, self.run = logger, run
        self._row: dict[str, Any] = {}
        self._has_failed = False

    def write(self, numbers: Mapping[str, Any]) -> None:
        """Take numbers of an epoch. Lightning may send those of one epoch in several parts."""
        if self._row and self._row["epoch"] != numbers["epoch"]:
            self._end_epoch()
        kept = {name: number for name, number in numbers.items() if name != "trainer/global_step"}
        self._row |= kept | {"epoch": int(numbers["epoch"])}

    def conclude(self, numbers: Mapping[str, float]) -> None:
        """Log the run's configuration, for TensorBoard with its final numbers, and close the log."""
        self._end_epoch()
        final = (dict(numbers), self.run.train.epochs) if isinstance(self.logger, TensorBoardLogger) else ()
        self._try(lambda: self.logger.log_hyperparams(self.run.config, *final))

    def close(self) -> None:
        """Write what is left."""
        self._end_epoch()
        self._try(lambda: self.logger.finalize("success"))

    def _end_epoch(self) -> None:
        row, self._row = self._row, {}
        if row:
            self._try(lambda: self.logger.log_metrics(row, int(row["epoch"])))

    def _try(self, action: Callable[[], object]) -> None:
        if self._has_failed:
            return
        try:
            action()
        except OSError as error:
            self._has_failed = True
            kind = type(self.logger).__name__
            log.warning("%s of run %s cannot be written (%s); its record has the curve", kind, self.run.id, error)


@contextmanager
def logged(run: Run, study: Path, names: Sequence[LoggerName]) -> Iterator[list[FileLog]]:
    """The logs of a run, open while the block runs.

    Args:
        run: the run.
        study: the folder of its study.
        names: of the loggers.

    Raises:
        ValueError: if a library is missing.
    """
    check(names)
    logs = []
    for name in dict.fromkeys(names):
        shutil.rmtree(study / name / folder_name(run), ignore_errors=True)
        logs.append(FileLog(BUILDERS[name](study / name, folder_name(run)), run))
    try:
        yield logs
    finally:
        for each in logs:
            each.close()


def folder_name(run: Run) -> str:
    """The name and the id of a run as the name of a folder: letters, digits and a few signs."""
    return f"{re.sub(r'[^A-Za-z0-9=.,()_-]+', '-', run.slug)[:LONGEST]}-{run.id}"
