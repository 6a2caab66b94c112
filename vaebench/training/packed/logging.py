"""The numbers of each member's epochs, for its loggers."""

from collections.abc import Sequence

from lightning.pytorch.loggers.logger import Logger

from vaebench.training.snapshot import Row, replay


class History:
    """The numbers of every member, one row per epoch. Rows are kept, so that a resumed run can log them again.

    Args:
        loggers: the loggers of each member.

    Attributes:
        rows: the rows of each member.
        latest: the numbers of each member's newest row.
    """

    def __init__(self, loggers: Sequence[Sequence[Logger]]) -> None:
        self.loggers = [list(own) for own in loggers]
        self.latest: list[dict[str, float]] = [{} for _ in loggers]
        self.rows: list[list[Row]] = [[] for _ in loggers]
        self._row: list[dict[str, float]] = [{} for _ in loggers]

    def log(self, member: int, name: str, number: float) -> None:
        """Add a number of this epoch."""
        self._row[member][name] = number

    def end(self, epoch: int, step: int) -> None:
        """End the epoch: send its numbers to the loggers."""
        for member, row in enumerate(self._row):
            if row:
                self._send(member, (epoch, step, row))
        self._row = [{} for _ in self.loggers]

    def newest(self, member: int) -> dict[str, float]:
        """The newest numbers of a member: of its newest row, and of this epoch as far as they are known."""
        return {**self.latest[member], **self._row[member]}

    def resume(self, rows: Sequence[Sequence[Row]]) -> None:
        """Continue after these rows of each member. Its loggers do not have them yet."""
        for member, own in enumerate(rows):
            for row in own:
                self._send(member, row)

    def _send(self, member: int, row: Row) -> None:
        self.rows[member].append(row)
        *_, self.latest[member] = row
        replay([row], self.loggers[member])
