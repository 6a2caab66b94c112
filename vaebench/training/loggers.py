"""Where the numbers of a run's epochs go: its curve, which its record keeps, and its loggers.

Lightning's own loggers, `--logger csv` and `--logger tensorboard`, write to `runs/<study>/<logger>/<run>/`. When a
run is resumed, its log is written again from the first epoch, so that no epoch stands in it twice.
"""

import logging
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.loggers.logger import Logger

from vaebench.config import Run
from vaebench.records.arrays import Pixels
from vaebench.records.record import UNIT_CURVE

EpochRow = tuple[int, int, dict[str, float]]
"""A finished epoch: its index, the number of steps until its end, and its numbers by name."""


class EpochLogger(Logger):
    """A logger that takes one row of numbers for every epoch, and nothing else."""

    @property
    def name(self) -> str:
        return "epochs"

    @property
    def version(self) -> str:
        return ""

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the record holds the configuration."""


class Curve(EpochLogger):
    """Keeps what Lightning logs, one row per epoch.

    It is a logger like the others, so the curve in a record holds the same numbers that W&B received.

    Attributes:
        rows: the logged numbers, by epoch, counted from zero.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[int, dict[str, float]] = {}
        self._steps: dict[int, int] = {}

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        values = {name: float(value) for name, value in metrics.items() if name != "epoch"}
        epoch = int(metrics["epoch"])
        self.rows.setdefault(epoch, {}).update(values)
        self._steps[epoch] = 1 + (step or 0)

    @property
    def latest(self) -> dict[str, float]:
        """The numbers of the newest epoch."""
        return next(reversed(self.rows.values()), {})

    def finished(self) -> list[EpochRow]:
        """The finished epochs, for a snapshot."""
        return [(epoch, self._steps[epoch], dict(row)) for epoch, row in self.rows.items()]

    @property
    def columns(self) -> dict[str, list[float | None]]:
        """A column for each logged name, except those of single units. None where an epoch has no number.

        `epoch` counts from one.
        """
        names = sorted({name for row in self.rows.values() for name in row if not name.startswith(UNIT_CURVE)})
        columns: dict[str, list[float | None]] = {"epoch": [float(epoch + 1) for epoch in self.rows]}
        return columns | {name: [row.get(name) for row in self.rows.values()] for name in names}


class FunctionLogger(EpochLogger):
    """Passes the numbers of every epoch to a function, for example to a W&B run.

    Epochs count from one, as in records. Lightning's own loggers count from zero.

    Args:
        write: receives the numbers of an epoch, by name.
        show: receives grids of pixels, by name, and the epoch; None if it takes no pictures.
    """

    def __init__(
        self,
        write: Callable[[Mapping[str, Any]], None],
        show: Callable[[Mapping[str, Pixels], int], None] | None = None,
    ) -> None:
        super().__init__()
        self.write, self.show = write, show

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.write({**metrics, "epoch": metrics["epoch"] + 1, "trainer/global_step": step})


class MemberLogs:
    """Where the members of a pack log their epochs. Lightning logs for one model only.

    Args:
        loggers: the other loggers of each member.

    Attributes:
        curves: of each member.
        loggers: of each member, its curve first.
    """

    def __init__(self, loggers: Sequence[Sequence[Logger]]) -> None:
        self.curves = [Curve() for _ in loggers]
        self.loggers = [[curve, *own] for curve, own in zip(self.curves, loggers, strict=True)]
        self._row: list[dict[str, float]] = [{} for _ in loggers]

    def log(self, member: int, name: str, number: float) -> None:
        """Add a number of this epoch."""
        self._row[member][name] = number

    def end_epoch(self, epoch: int, step: int) -> None:
        """Send the numbers of the epoch to the loggers."""
        for row, loggers in zip(self._row, self.loggers, strict=True):
            if row:
                replay([(epoch, step, row)], loggers)
        self._row = [{} for _ in self.loggers]

    def newest(self, member: int) -> dict[str, float]:
        """The newest numbers of a member: of its newest row, and of this epoch as far as they are known."""
        return {**self.curves[member].latest, **self._row[member]}

    def resume(self, rows: Sequence[Sequence[EpochRow]]) -> None:
        """Continue after these rows of each member. Its loggers do not have them yet."""
        for own, loggers in zip(rows, self.loggers, strict=True):
            replay(own, loggers)


def replay(rows: Iterable[EpochRow], loggers: Sequence[Logger]) -> None:
    """Log finished epochs to loggers that do not have them."""
    for epoch, steps, numbers in rows:
        for logger in loggers:
            logger.log_metrics({"epoch": float(epoch), **numbers}, steps - 1)  # Lightning counts steps from zero


# -- files of Lightning's own loggers ----------------------------------------------------------------------------------

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
    """The logs of a run in the folder of its study, open while the block runs.

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
