"""What is running and where, how far it is, how long it will take: live in a terminal, plain lines in a pipe."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Event, Lock, Thread
from time import monotonic
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from vaebench.config import Run
from vaebench.records import record
from vaebench.records.record import Record, RecordError
from vaebench.records.run_folder import PROGRESS, RECORD
from vaebench.reporting.tables.layout import figure
from vaebench.reporting.tables.quantities import Quantity
from vaebench.reporting.tables.reliability import MARK
from vaebench.reporting.terminal.printing import line
from vaebench.sweeps.heartbeat import SILENT, Sighting, sightings

HEADLINE = (("iwae_5000", "IWAE-5000"), ("elbo", "ELBO"), ("active_units", "active units"), ("squared_error", "SE"))
"""What the line of a finished run shows of its record."""

LOOK = 0.5
"""Seconds from one look at the runs' folders to the next."""

LINE = 60.0
"""Seconds from one line on what is running to the next, in a pipe."""


class Display:
    """The progress of a sweep, read from its folder, whoever writes there.

    Args:
        study: its name.
        runs: those that are to be done.
        folder: where they work.
        total: how many runs the study has.
        console: where to write.
    """

    def __init__(self, study: str, runs: Sequence[Run], folder: Path, total: int, console: Console) -> None:
        self.console, self.folder, self.total = console, folder, total
        self._sweep = Progress(
            _said("{task.description}", "bold"), BarColumn(), MofNCompleteColumn(), TextColumn("runs"),
            TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
        )  # fmt: skip
        self._epochs = Progress(
            _said("  {task.description}"), BarColumn(bar_width=20), MofNCompleteColumn(), TextColumn("epochs"),
            _said("{task.fields[rate]}"), TextColumn("left"), TimeRemainingColumn(),
            _said("{task.fields[latest]}"), console=console,
        )  # fmt: skip
        self._task = self._sweep.add_task(study, total=total, completed=total - len(runs))
        self._live = Live(Group(self._sweep, self._epochs), console=console, refresh_per_second=4, transient=True)
        self._left = {run.id: run for run in runs}
        self._before = {run.id: record.stamp(folder / run.id / RECORD) for run in runs}
        self._bars: dict[str, TaskID] = {}
        self._heard: dict[str, tuple[int | None, float]] = {}
        self._said = monotonic()
        self._over, self._mutex = Event(), Lock()
        self._thread = Thread(target=self._watch, name="progress", daemon=True)

    def __enter__(self) -> "Display":
        if self.console.is_terminal:
            self._live.__enter__()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self.look()
        if self.console.is_terminal:
            self._live.__exit__(kind, error, trace)

    def look(self) -> None:
        """Tell what has changed in the folder since the last look."""
        with self._mutex:
            for run, outcome in list(self._ended()):
                self._finished(run, outcome)
            seen = [one for one in sightings([self.folder / id for id in self._left]) if self._is_heard(one)]
            self._draw(seen)
            if seen and not self.console.is_terminal and monotonic() - self._said >= LINE:
                self._said = monotonic()
                for one in seen:
                    told = f"{one.name}: epoch {one.epoch} of {one.epochs}, {one.where}"
                    self.console.print(line(told), soft_wrap=True)

    def _is_heard(self, one: Sighting) -> bool:
        """Whether a process has given a sign of life, by this machine's clock alone."""
        stamp, now = record.stamp(self.folder / one.runs[0] / PROGRESS), monotonic()
        known, since = self._heard.get(one.runs[0], (None, now))
        if stamp != known:
            self._heard[one.runs[0]] = (stamp, now)
        return stamp != known or now - since < SILENT

    def stopped(self, runs: Sequence[Run], error: Exception) -> None:
        """Tell of runs that ended without a record."""
        self.look()
        with self._mutex:
            for run in runs:
                if run.id in self._left:
                    self._finished(run, error)

    def _watch(self) -> None:
        while not self._over.wait(LOOK):
            self.look()

    def _ended(self) -> Iterator[tuple[Run, Record]]:
        """The runs that have a record since the last look."""
        for id, run in self._left.items():
            path = self.folder / id / RECORD
            if record.stamp(path) != self._before[id]:
                try:
                    yield run, record.read(path)
                except (OSError, RecordError):
                    continue

    def _finished(self, run: Run, outcome: Record | Exception) -> None:
        del self._left[run.id]
        self._sweep.advance(self._task)
        place = f"[{self.total - len(self._left)}/{self.total}]"
        self.console.print(line(f"{place} {run.id} {run.slug}: ") + summary(outcome), soft_wrap=True)

    def _draw(self, seen: Sequence[Sighting]) -> None:
        """A bar for every pack that is seen, and none for the others."""
        for one in seen:
            name = one.runs[0]
            if name not in self._bars:
                text = f"{one.where}: {one.name}"
                self._bars[name] = self._epochs.add_task(text, total=one.epochs, rate="", latest="")
            bar = self._epochs.tasks[self._epochs.task_ids.index(self._bars[name])]
            rate = f"{bar.speed:.1f} a second" if bar.speed else ""
            self._epochs.update(bar.id, completed=one.epoch, rate=rate, latest=_latest(one))
        for name in self._bars.keys() - {one.runs[0] for one in seen}:
            self._epochs.remove_task(self._bars.pop(name))


def _said(text: str, style: str = "none") -> TextColumn:
    """A column of a user's words, as they stand."""
    return TextColumn(text, style=style, markup=False)


def summary(outcome: Record | Exception) -> Text:
    """One line on how a run ended."""
    if isinstance(outcome, Exception):
        return line(("not recorded:", "red"), f" {type(outcome).__name__}: {outcome}")
    if outcome.status == "failed":
        return line(("failed:", "red"), f" {outcome.reason}")
    numbers = [text for name, label in HEADLINE if (text := _number(outcome, name, label)) is not None]
    seconds = outcome.provenance.get("seconds", {})
    return line(", ".join([*numbers, f"{sum(seconds.values()):.1f} s"]))


def _number(outcome: Record, name: str, label: str) -> str | None:
    """A number of the record under its label, with its mark and what that says."""
    reading = Quantity(name).read(outcome)
    if reading.value is None:
        return None
    caution = reading.caution(name)
    return f"{label} {figure(reading.value, 2)}" + (f"{MARK} ({caution.removeprefix(f'{MARK} ')})" if caution else "")


def _latest(one: Sighting) -> str:
    known = (name for name in ("val/elbo", "val/objective") if name in one.latest)
    return next((f"{name.partition('/')[2]} {one.latest[name]:.2f}" for name in known), "")
