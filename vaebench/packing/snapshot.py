"""A member of a pack at the end of an epoch: all that its training goes on from, alone or in any other pack."""

import io
import pickle
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from vaebench.atomic import write_atomically
from vaebench.packing.history import Row

FORMAT = 1
"""Version of the file; another one is not read."""


class SnapshotError(ValueError):
    """A file that no training can go on from, and why."""


class Death(NamedTuple):
    """The end of a member's training: the step whose objective was no finite number, and what to do about it."""

    step: int
    reason: str


class Snapshot(NamedTuple):
    """A member's state after some epochs.

    Attributes:
        run: what it is a member for, as whoever saves it names it.
        epochs: how many are over.
        steps: how many were done in them.
        weights: the model's own state, on the CPU.
        moments: of Adam.
        noise: the state of the generator of its training noise.
        order: the state of its training batches.
        rows: its history.
        death: the end of its training, if that was before this.
    """

    run: str
    epochs: int
    steps: int
    weights: dict[str, Tensor]
    moments: Float[Tensor, "2 P"]
    noise: UInt8[Tensor, " S"]
    order: dict[str, Any]
    rows: list[Row]
    death: Death | None = None

    def save(self, path: Path) -> None:
        """Write the snapshot so that the file is whole or unchanged.

        Raises:
            WriteError: if the disk is full or the folder cannot be written.
        """
        content = io.BytesIO()
        death = None if self.death is None else tuple(self.death)
        torch.save({"format": FORMAT, **self._asdict(), "death": death}, content)
        write_atomically(path, content.getvalue())


def read(path: Path, run: str) -> Snapshot:
    """The snapshot of a run.

    Raises:
        FileNotFoundError: if there is none.
        SnapshotError: if the file is damaged, of another version or of another run.
    """
    content = contents(path)
    try:
        version, death = content.pop("format"), content.pop("death")
        found = Snapshot(**content, death=None if death is None else Death(*death))
    except (AttributeError, LookupError, TypeError) as error:
        raise SnapshotError(f"{path}: no snapshot ({type(error).__name__}: {error})") from None
    if version != FORMAT or found.run != run:
        raise SnapshotError(f"{path}: expected format {FORMAT} of run {run}, got format {version} of {found.run!r}")
    return found


def contents(path: Path) -> Any:
    """What torch wrote to a file: tensors and plain values and nothing else, so that it cannot execute anything.

    Raises:
        FileNotFoundError: if there is none.
        SnapshotError: if it is damaged, or holds something else.
    """
    content = path.read_bytes()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's, on whatever a stranger's file may be
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:  # torch's own text advises to let the file execute what it likes
        text = "damaged, or of more than tensors and plain values, and such a file is not read"
        raise SnapshotError(f"{path}: {text}") from None
    except (RuntimeError, ValueError, LookupError, EOFError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise SnapshotError(f"{path}: damaged, or no checkpoint ({type(error).__name__}: {reason})") from None
