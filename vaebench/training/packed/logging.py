"""What the epochs of a pack's members came to, told to each one's loggers."""

from collections.abc import Sequence

from lightning.pytorch.loggers.logger import Logger

Row = tuple[int, int, dict[str, float]]
"""An epoch that is over, the steps done by then, and the numbers."""


class History:
    """Numbers of every member, one row an epoch: told to its loggers once, kept so that a resumed run can tell them.

    Args:
        loggers: for each member, its own.

    Attributes:
        rows: of each member, those that have numbers.
        latest: the numbers of each one's newest row.
    """

    def __init__(self, loggers: Sequence[Sequence[Logger]]) -> None:
        self.loggers = [list(own) for own in loggers]
        self.latest: list[dict[str, float]] = [{} for _ in loggers]
        self.rows: list[list[Row]] = [[] for _ in loggers]
        self._row: list[dict[str, float]] = [{} for _ in loggers]

    def log(self, member: int, name: str, number: float) -> None:
        """A number of this epoch."""
        self._row[member][name] = number

    def end(self, epoch: int, step: int) -> None:
        """The epoch is over: its numbers go to the loggers."""
        for member, row in enumerate(self._row):
            if row:
                self._log(member, (epoch, step, row))
        self._row = [{} for _ in self.loggers]

    def resume(self, rows: Sequence[Sequence[Row]]) -> None:
        """Go on after these rows of each member, which its loggers have not heard."""
        for member, told in enumerate(rows):
            for row in told:
                self._log(member, row)

    def _log(self, member: int, row: Row) -> None:
        epoch, step, numbers = row
        self.rows[member].append(row)
        self.latest[member] = numbers
        for logger in self.loggers[member]:
            logger.log_metrics({"epoch": float(epoch), **numbers}, step - 1)
