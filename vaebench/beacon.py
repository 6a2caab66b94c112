"""How far a pack is and where it trains: a small file beside its first run's record, for whoever looks.

The folder is the only channel between who executes runs and who watches them, so that a worker on another machine is
watched like one in this process.
"""

import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import NamedTuple

from vaebench.atomic import WriteError, write_atomically

NAME = "progress.json"

EVERY = 0.5
"""Seconds between two writings, at least."""


class Sighting(NamedTuple):
    """A pack in training, as it last said.

    Attributes:
        runs: the members' ids.
        name: of the pack, for people.
        where: host and process.
        epoch: how many are over.
        epochs: of how many.
        latest: newest numbers, where the pack is one run.
    """

    runs: list[str]
    name: str
    where: str
    epoch: int
    epochs: int
    latest: dict[str, float]


class Beacon:
    """What a training calls at the end of every epoch.

    Args:
        folders: the members', named by their ids.
        slugs: the members' names.
        epochs: how many there will be.
    """

    def __init__(self, folders: Sequence[Path], slugs: Sequence[str], epochs: int) -> None:
        self.path = folders[0] / NAME
        name = slugs[0] if len(slugs) == 1 else f"{len(slugs)} runs, {slugs[0]} … {slugs[-1]}"
        where = f"{socket.gethostname()}:{os.getpid()}{_accelerator()}"
        self._said = Sighting([f.name for f in folders], name, where, 0, epochs, {})
        self._last = -EVERY

    def __call__(self, epoch: int, latest: Mapping[str, float]) -> None:
        if monotonic() - self._last < EVERY and epoch < self._said.epochs:
            return
        self._last = monotonic()
        said = self._said._replace(epoch=epoch, latest=dict(latest))
        with suppress(WriteError):  # nobody's numbers depend on it
            write_atomically(self.path, json.dumps(said._asdict()).encode())

    def close(self) -> None:
        """Take the file away."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)


def sightings(folders: Sequence[Path]) -> Iterator[Sighting]:
    """What the packs say whose first runs have these folders; a file that is no such thing is passed over."""
    for folder in folders:
        with suppress(OSError, ValueError, TypeError):
            yield Sighting(**json.loads((folder / NAME).read_bytes()))


def _accelerator() -> str:
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return f" GPU {visible}" if visible else ""
