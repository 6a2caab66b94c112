"""Heartbeats: while a pack trains, a small file in its first run's folder says how far it is and where it trains.

Workers and the progress display communicate only through this file. So a worker on another machine is shown like one in
this process.
"""

import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from itertools import takewhile
from pathlib import Path
from threading import Event, Thread
from time import monotonic
from typing import NamedTuple

from pydantic import TypeAdapter

from vaebench.records.files import PROGRESS, WriteError, write_atomically
from vaebench.reporting.tables.labels import brief

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
