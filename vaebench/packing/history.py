"""What the epochs of a pack's members came to, told to each one's loggers."""

from collections.abc import Sequence
from typing import Any

from lightning.pytorch.loggers.logger import Logger


class History:
    """Numbers of every member, one row an epoch: told to its loggers once, kept so that a resumed run can tell them.

    Args:
        loggers: for each member, its own.

    Attributes:
        latest: the newest row of each member that has one.
    """

    def __init__(self, loggers: Sequence[Sequence[Logger]]) -> None:
        self.loggers = [list(own) for own in loggers]
        self.latest: list[dict[str, float]] = [{} for _ in loggers]
        self._row: list[dict[str, float]] = [{} for _ in loggers]
        self._epochs: list[tuple[int, int, list[dict[str, float]]]] = []

    def tell(self, member: int, name: str, number: float) -> None:
        """A number of this epoch."""
        self._row[member][name] = number

    def end(self, epoch: int, step: int) -> None:
        """The epoch is over: its numbers go to the loggers."""
        self._epochs.append((epoch, step, self._row))
        self._row = [{} for _ in self.loggers]
        self._log(*self._epochs[-1])

    def state_dict(self) -> dict[str, Any]:
        return {"row": self._row, "epochs": self._epochs}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint: what came before is told again, to loggers that have not heard it."""
        self._row, self._epochs = state["row"], list(state["epochs"])
        for epoch in self._epochs:
            self._log(*epoch)

    def _log(self, epoch: int, step: int, rows: list[dict[str, float]]) -> None:
        for i, (row, loggers) in enumerate(zip(rows, self.loggers, strict=True)):
            self.latest[i] = row or self.latest[i]
            for logger in loggers if row else ():
                logger.log_metrics({"epoch": float(epoch), **row}, step - 1)
