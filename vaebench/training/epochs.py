"""The numbers of the epochs of a run: kept for its record, sent to its loggers, and sent again when it continues."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from lightning.pytorch.loggers.logger import Logger

from vaebench.records.images import Pixels
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
