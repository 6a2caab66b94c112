"""What is running, how far it is, how long it will take: live in a terminal, plain lines in a pipe."""

from collections.abc import Mapping
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from vaebench.config import Run
from vaebench.record import Record

HEADLINE = (("iwae_5000", "IWAE-5000"), ("elbo", "ELBO"), ("active_units", "active units"), ("squared_error", "SE"))
"""What the line of a finished run shows of its record."""


class Display:
    """The progress of a sweep.

    Args:
        study: its name.
        total: how many runs it has.
        done: how many of them were done before.
        console: where to write.
    """

    def __init__(self, study: str, total: int, done: int, console: Console) -> None:
        self.console = console
        self._sweep = Progress(
            TextColumn("[bold]{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("runs"),
            TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
        )  # fmt: skip
        self._epochs = Progress(
            TextColumn("  {task.description}"), BarColumn(bar_width=20), MofNCompleteColumn(), TextColumn("epochs"),
            TextColumn("{task.fields[latest]}"), console=console,
        )  # fmt: skip
        self._task = self._sweep.add_task(study, total=total, completed=done)
        self._live = Live(Group(self._sweep, self._epochs), console=console, refresh_per_second=4, transient=True)
        self._finished = done
        self._total = total

    def __enter__(self) -> "Display":
        if self.console.is_terminal:
            self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.console.is_terminal:
            self._live.__exit__(kind, error, trace)

    def watch(self, *runs: Run) -> "Epochs":
        """A line for a run that starts, or for several that train together; what it returns is told of every epoch."""
        return Epochs(self._epochs, *runs)

    def finished(self, run: Run, outcome: Record | Exception) -> None:
        """A line for a run that has ended."""
        self._sweep.advance(self._task)
        self._finished += 1
        self.console.print(f"[{self._finished}/{self._total}] {run.id} {run.slug}: {summary(outcome)}", soft_wrap=True)


class Epochs:
    """The epochs of one run, or of several that train together. Called as `execute` calls its `watch`."""

    def __init__(self, bars: Progress, *runs: Run) -> None:
        self.bars = bars
        name = runs[0].slug if len(runs) == 1 else f"{len(runs)} runs, {runs[0].slug} … {runs[-1].slug}"
        self.task = bars.add_task(name, total=runs[0].train.epochs, latest="")

    def __call__(self, epoch: int, latest: Mapping[str, float]) -> None:
        known = (name for name in ("val/elbo", "val/objective") if name in latest)
        shown = next((f"{name.partition('/')[2]} {latest[name]:.2f}" for name in known), "")
        self.bars.update(self.task, completed=epoch, latest=shown)

    def close(self) -> None:
        """Take the line away."""
        self.bars.remove_task(self.task)


def summary(outcome: Record | Exception) -> str:
    """One line on how a run ended."""
    if isinstance(outcome, Exception):
        return f"[red]not recorded:[/] {type(outcome).__name__}: {outcome}"
    if outcome.status == "failed":
        return f"[red]failed:[/] {outcome.reason}"
    found = ((label, outcome.estimate(name)) for name, label in HEADLINE)
    numbers = [f"{label} {e.value:.2f}" for label, e in found if e is not None and not isinstance(e.value, list)]
    seconds = outcome.provenance.get("seconds", {})
    return ", ".join([*numbers, f"{sum(seconds.values()):.1f} s"])
