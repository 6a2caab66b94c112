"""How far a sweep is: the file by which a worker says it, and the display: bars in a terminal, plain lines in a pipe.

While a pack trains, a small file in its first run's folder says how far it is and where it trains (`Heartbeat`).
Workers and the display communicate only through this file. So a worker on another machine is shown like one here.
"""

import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from itertools import takewhile
from pathlib import Path
from threading import Event, Lock, Thread
from time import monotonic
from typing import Any, NamedTuple

from pydantic import TypeAdapter
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Task, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Column
from rich.text import Text

from vaebench.config import Run
from vaebench.records import record
from vaebench.records.description import Role
from vaebench.records.files import PROGRESS, RECORD, WriteError, write_atomically
from vaebench.records.record import Record, RecordError
from vaebench.reporting.printing import line
from vaebench.reporting.tables.escaping import visible
from vaebench.reporting.tables.labels import brief
from vaebench.reporting.tables.layout import figure
from vaebench.reporting.tables.quantities import MARK, Quantity, quantities, with_role

WRITE_SECONDS = 0.5  # the file is written at most this often

BEAT_SECONDS, SILENT_SECONDS = 10.0, 60.0
"""The time between two heartbeats, and the time without one after which a process counts as dead."""


class Progress(NamedTuple):
    """How far a pack is, as its file says."""

    runs: list[str]  # ids of the members
    name: str  # of the pack, for people
    host: str  # the machine
    pid: int  # the process on that machine
    gpu: str  # the GPU, as CUDA_VISIBLE_DEVICES names it; empty without one
    epoch: int  # finished epochs
    epochs: int  # all epochs
    latest: dict[str, float]  # the newest number that tells how training goes, by its heading, if the pack is one run

    @property
    def where(self) -> str:
        """Host, process and GPU, for people."""
        return f"{self.host}:{self.pid}" + (f" GPU {self.gpu}" if self.gpu else "")


class Heartbeat:
    """The progress callback of a training: writes the file at the end of an epoch.

    Args:
        folders: of the members, named by their ids.
        slugs: names of the members, for people.
        epochs: how many the training has.
    """

    def __init__(self, folders: Sequence[Path], slugs: Sequence[str], epochs: int) -> None:
        self.path = folders[0] / PROGRESS
        name = slugs[0] if len(slugs) == 1 else f"{len(slugs)} runs, {slugs[0]} … {_rest(slugs[0], slugs[-1])}"
        name = brief(name)  # it stands in one line of a terminal
        here = (socket.gethostname(), os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES", ""))
        self._start = Progress([f.name for f in folders], name, *here, 0, epochs, {})
        self._written = -WRITE_SECONDS
        for folder in folders:  # files of processes that died
            with suppress(OSError):
                (folder / PROGRESS).unlink(missing_ok=True)

    def __call__(self, epoch: int, latest: Mapping[str, float]) -> None:
        if monotonic() - self._written < WRITE_SECONDS and epoch < self._start.epochs:
            return
        self._written = monotonic()
        progress = self._start._replace(epoch=epoch, latest=dict(latest))
        with suppress(WriteError):  # the display misses an epoch; the run loses nothing
            write_atomically(self.path, json.dumps(progress._asdict()).encode())

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Touch the file regularly while the block runs, however long an epoch takes; remove it at the end."""
        over = Event()
        thread = Thread(target=self._beat, args=(over,), name="heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self.close()

    def _beat(self, over: Event) -> None:
        while not over.wait(BEAT_SECONDS):
            with suppress(OSError):
                os.utime(self.path)

    def close(self) -> None:
        """Remove the file."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)


def _rest(first: str, last: str) -> str:
    """A run's name without the settings at its front that another run has as well.

    >>> _rest("model=VAE,seed=0", "model=VAE,seed=4")
    'seed=4'
    """
    pairs = zip(first.split(","), last.split(","), strict=False)
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    return ",".join(last.split(",")[same:])


def read_progress(folders: Sequence[Path]) -> Iterator[Progress]:
    """The progress of every pack whose first run has one of these folders.

    A file with other content is skipped, and so is the file of a process that died on this machine.
    """
    for folder in folders:
        with suppress(OSError, ValueError):
            progress = _adapter().validate_json((folder / PROGRESS).read_bytes())
            if progress.runs[:1] == [folder.name] and _may_be_alive(progress):
                yield progress


@cache
def _adapter() -> TypeAdapter:
    return TypeAdapter(Progress)


def _may_be_alive(progress: Progress) -> bool:
    if progress.host != socket.gethostname() or progress.pid <= 0:
        return progress.pid > 0
    try:
        os.kill(progress.pid, 0)  # signal 0 only asks whether the process exists
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass  # it exists and belongs to another user
    return True


# -- the display -------------------------------------------------------------------------------------------------------

REST = (Role.ACTIVE_UNITS, Role.RECONSTRUCTION_ERROR)  # what the line of a finished run shows after its bounds
BAR = 20  # characters of the bar of the whole sweep
POLL_SECONDS = 0.5  # seconds between two looks at the runs' folders
LINE_SECONDS = 60.0  # seconds between two lines about the running packs, in a pipe


class Display:
    """Shows the progress of a sweep. It reads the sweep's folder only, so it does not matter which process works there.

    Args:
        runs: the unfinished runs.
        folder: of the study; each run works in a folder below it.
        total: how many runs the study has.
    """

    def __init__(self, study: str, runs: Sequence[Run], folder: Path, total: int, console: Console) -> None:
        self.console, self.study, self.folder, self.total = console, study, folder, total
        self._sweep = Bars(
            _text("{task.description}", "bold"), BarColumn(bar_width=BAR), _text("{task.completed}/{task.total} runs"),
            TimeElapsedColumn(_whole()), TimeRemainingColumn(elapsed_when_finished=True, table_column=_whole()),
            _text("left"), console=console,
        )  # fmt: skip
        self._epochs = Bars(
            _text("  {task.fields[where]}"), _text("{task.completed}/{task.total} epochs"),
            _text("{task.fields[rate]}"), TimeRemainingColumn(table_column=_whole()), _text("left"),
            _Rest("{task.description}{task.fields[latest]}"), console=console,
        )  # fmt: skip
        self._task = self._sweep.add_task(visible(study), total=total, completed=total - len(runs))
        self._live = Live(Group(self._sweep, self._epochs), console=console, refresh_per_second=4, transient=True)
        self._left = {run.id: run for run in runs}
        self._before = {run.id: record.written_at(folder / run.id / RECORD) for run in runs}
        self._bars: dict[str, TaskID] = {}
        self._last_beat: dict[str, tuple[int | None, float]] = {}
        self._last_line = monotonic()
        self._over, self._mutex = Event(), Lock()
        self._thread = Thread(target=self._poll, name="progress", daemon=True)

    def __enter__(self) -> "Display":
        if self.console.is_terminal:
            self._live.__enter__()
        self._thread.start()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._over.set()
        self._thread.join()
        self.update()
        if self.console.is_terminal:
            self._live.__exit__(*raised)

    def update(self) -> None:
        """Show what has changed in the folder since the last update."""
        with self._mutex:
            for run, outcome in list(self._new_records()):
                self._finish(run, outcome)
            packs = [pack for pack in read_progress([self.folder / id for id in self._left]) if self._is_alive(pack)]
            self._draw(packs)
            if packs and not self.console.is_terminal and monotonic() - self._last_line >= LINE_SECONDS:
                self._last_line = monotonic()
                for pack in packs:
                    text = f"{pack.name}: epoch {pack.epoch} of {pack.epochs}, {pack.where}"
                    self.console.print(line(text), soft_wrap=True)

    def _is_alive(self, pack: Progress) -> bool:
        """Whether a pack's process gave a heartbeat lately.

        Another machine's clock may be wrong. So the time of the file is only compared with itself, and the seconds
        since it last changed are counted here.
        """
        first = pack.runs[0]
        beat, now = record.written_at(self.folder / first / PROGRESS), monotonic()
        known, since = self._last_beat.get(first, (None, now))
        if beat != known:
            self._last_beat[first] = (beat, now)
        return beat != known or now - since < SILENT_SECONDS

    def fail(self, runs: Sequence[Run], error: Exception) -> None:
        """Show runs that ended without a record."""
        self.update()
        with self._mutex:
            for run in runs:
                if run.id in self._left:
                    self._finish(run, error)

    def _poll(self) -> None:
        while not self._over.wait(POLL_SECONDS):
            self.update()

    def _new_records(self) -> Iterator[tuple[Run, Record]]:
        for id, run in self._left.items():
            path = self.folder / id / RECORD
            if record.written_at(path) != self._before[id]:
                with suppress(OSError, RecordError):
                    yield run, record.read(path)

    def _finish(self, run: Run, outcome: Record | Exception) -> None:
        del self._left[run.id]
        self._sweep.advance(self._task)
        place = f"[{self.total - len(self._left)}/{self.total}]"
        # In a terminal, words are kept whole; in a file, a run is one line.
        text = line(f"{place} {run.id} {run.slug}: ") + summary(outcome)
        self.console.print(text, soft_wrap=not self.console.is_terminal)

    def _draw(self, packs: Sequence[Progress]) -> None:
        """One line for each pack that trains, as many as the terminal has room for; the lines of others are removed."""
        room = max(1, self.console.height - 4)
        for pack in packs:
            name = pack.runs[0]
            if name not in self._bars:
                there: dict[str, Any] = {"where": visible(pack.where), "rate": "", "latest": ""}
                self._bars[name] = self._epochs.add_task(visible(pack.name), total=pack.epochs, **there)
            bar = self._epochs.tasks[self._epochs.task_ids.index(self._bars[name])]
            rate = f"{bar.speed:.1f}/s" if bar.speed else ""
            latest = "".join(f", {visible(heading)} {value:.2f}" for heading, value in pack.latest.items())
            shown = list(self._bars).index(name) < room
            self._epochs.update(bar.id, completed=pack.epoch, rate=rate, latest=latest, visible=shown)
        hidden = f", {len(packs) - room} packs not shown" if len(packs) > room else ""
        self._sweep.update(self._task, description=visible(self.study) + hidden)
        for name in self._bars.keys() - {pack.runs[0] for pack in packs}:
            self._epochs.remove_task(self._bars.pop(name))


def _whole() -> Column:
    return Column(no_wrap=True)


def _text(text: str, style: str = "none") -> TextColumn:
    """A column that is never cut, with text that is not read as markup."""
    return TextColumn(text, style=style, markup=False, table_column=_whole())


class _Rest(TextColumn):
    """The last column: it gets the room that the others leave, on one line."""

    def __init__(self, text: str) -> None:
        super().__init__(text, markup=False, table_column=Column(ratio=1))

    def render(self, task: Task) -> Text:
        text = super().render(task)
        text.no_wrap, text.overflow = True, "ellipsis"
        return text


def summary(outcome: Record | Exception) -> Text:
    """One line: how a run ended."""
    if isinstance(outcome, Exception):
        return line(("not recorded:", "red"), f" {type(outcome).__name__}: {outcome}")
    if outcome.status == "failed":
        return line(("failed:", "red"), f" {outcome.reason}")
    numbers = [text for quantity in headline(outcome) if (text := _number(outcome, quantity)) is not None]
    seconds = outcome.provenance.get("seconds", {})
    return line(", ".join([*numbers, f"{sum(seconds.values()):.1f} s"]))


def headline(outcome: Record) -> list[Quantity]:
    """The tightest and the loosest bound, then the active units and the error of reconstruction."""
    found = quantities([outcome])
    bounds = with_role(found, Role.BOUND)
    return [*reversed(dict.fromkeys((*bounds[:1], *bounds[-1:]))), *with_role(found, *REST)]


def _number(outcome: Record, quantity: Quantity) -> str | None:
    """A number of the record under its heading, with its mark and what the mark means."""
    reading = quantity.read(outcome)
    if reading.value is None:
        return None
    caution = reading.caution(quantity.description)
    said = f"{MARK} ({caution.removeprefix(f'{MARK} ')})" if caution else ""
    places = None if reading.value.is_integer() else 2
    return f"{quantity.heading} {figure(reading.value, places)}{said}"
