"""How far a pack is and where it trains: a small file beside its first run's record, for whoever looks.

The folder is the only channel between who executes runs and who watches them, so that a worker on another machine is
watched like one in this process.
"""

import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from threading import Event, Thread
from time import monotonic
from typing import NamedTuple

from pydantic import TypeAdapter

from vaebench.records.files import WriteError, write_atomically
from vaebench.records.run_folder import PROGRESS

EVERY = 0.5
"""Seconds between two writings, at least."""

PULSE, SILENT = 10.0, 60.0
"""Seconds between two signs of life, and after how many without one a process is taken for dead."""


class Sighting(NamedTuple):
    """A pack in training, as it last said.

    Attributes:
        runs: the members' ids.
        name: of the pack, for people.
        host: the machine.
        pid: the process there.
        gpu: which GPU, in CUDA's words; empty without one.
        epoch: how many are over.
        epochs: of how many.
        latest: newest numbers, where the pack is one run.
    """

    runs: list[str]
    name: str
    host: str
    pid: int
    gpu: str
    epoch: int
    epochs: int
    latest: dict[str, float]

    @property
    def where(self) -> str:
        """Host, process and GPU, for people."""
        return f"{self.host}:{self.pid}" + (f" GPU {self.gpu}" if self.gpu else "")


class Beacon:
    """What a training calls at the end of every epoch.

    Args:
        folders: the members', named by their ids.
        slugs: the members' names.
        epochs: how many there will be.
    """

    def __init__(self, folders: Sequence[Path], slugs: Sequence[str], epochs: int) -> None:
        self.path = folders[0] / PROGRESS
        name = slugs[0] if len(slugs) == 1 else f"{len(slugs)} runs, {slugs[0]} … {slugs[-1]}"
        here = (socket.gethostname(), os.getpid(), os.environ.get("CUDA_VISIBLE_DEVICES", ""))
        self._said = Sighting([f.name for f in folders], name, *here, 0, epochs, {})
        self._last = -EVERY
        for folder in folders:  # what a process that died has left
            with suppress(OSError):
                (folder / PROGRESS).unlink(missing_ok=True)

    def __call__(self, epoch: int, latest: Mapping[str, float]) -> None:
        if monotonic() - self._last < EVERY and epoch < self._said.epochs:
            return
        self._last = monotonic()
        said = self._said._replace(epoch=epoch, latest=dict(latest))
        with suppress(WriteError):  # nobody's numbers depend on it
            write_atomically(self.path, json.dumps(said._asdict()).encode())

    @contextmanager
    def beating(self) -> Iterator[None]:
        """A block in which the file shows that its process lives, however long an epoch is; it is gone afterwards."""
        over = Event()
        pulse = Thread(target=self._beat, args=(over,), name="beacon", daemon=True)
        pulse.start()
        try:
            yield
        finally:
            over.set()
            pulse.join()
            self.close()

    def _beat(self, over: Event) -> None:
        while not over.wait(PULSE):
            with suppress(OSError):
                os.utime(self.path)

    def close(self) -> None:
        """Take the file away."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)


def sightings(folders: Sequence[Path]) -> Iterator[Sighting]:
    """What the packs say whose first runs have these folders.

    A file that is no such thing, or whose process on this machine has died, is passed over.
    """
    for folder in folders:
        with suppress(OSError, ValueError):
            said = _adapter().validate_json((folder / PROGRESS).read_bytes())
            if said.runs[:1] == [folder.name] and _may_live(said):
                yield said


@cache
def _adapter() -> TypeAdapter:
    return TypeAdapter(Sighting)


def _may_live(said: Sighting) -> bool:
    if said.host != socket.gethostname() or said.pid <= 0:
        return said.pid > 0
    try:
        os.kill(said.pid, 0)  # asks alone
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass  # another user's
    return True
