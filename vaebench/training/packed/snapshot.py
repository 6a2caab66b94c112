"""A member of a pack between two steps: all that its training goes on from, alone or in any other pack."""

import io
import pickle
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from vaebench.records.archive import SealError, about, sealed
from vaebench.records.files import write_atomically
from vaebench.training.packed.logging import Row

FORMAT = 2
"""Version of the file; 1 was always of the end of an epoch, and had no seal."""


class SnapshotError(ValueError):
    """A file that no training can go on from, and why."""


class NewerSnapshotError(ValueError):
    """A file of a newer version of vaebench: nobody's to put aside or to write over."""


class Divergence(NamedTuple):
    """The step at which a member's objective was no longer a finite number, and the message for the user."""

    step: int
    reason: str


class Snapshot(NamedTuple):
    """A member's state after some steps.

    Attributes:
        run: what it is a member for, as whoever saves it names it.
        epochs: how many are over.
        steps: how many were done, those of the epoch that is not over included.
        weights: the model's own state, on the CPU.
        moments: of Adam.
        noise: the state of the generator of its training noise.
        order: the state of its training batches.
        rows: its history.
        divergence: the end of its training, if it has diverged.
        total: of the epoch that is not over, the sum of the objective.
        seen: and over how many observations.
    """

    run: str
    epochs: int
    steps: int
    weights: dict[str, Tensor]
    moments: Float[Tensor, "2 P"]
    noise: UInt8[Tensor, " S"]
    order: dict[str, Any]
    rows: list[Row]
    divergence: Divergence | None = None
    total: float = 0.0
    seen: int = 0

    def save(self, path: Path) -> None:
        """Write the snapshot so that the file is whole or unchanged.

        Raises:
            WriteError: if the disk is full or the folder cannot be written.
        """
        content = io.BytesIO()
        fields = self._asdict()
        divergence = fields.pop("divergence")
        # In the file this field has its older name, so that files of earlier versions stay readable.
        fields["death"] = None if divergence is None else tuple(divergence)
        torch.save({"format": FORMAT, **fields}, content)
        said = {"format": FORMAT, "run": self.run, "epochs": self.epochs, "steps": self.steps}
        write_atomically(path, sealed(content.getvalue(), **said))


def read(path: Path, run: str) -> Snapshot:
    """The snapshot of a run.

    Raises:
        FileNotFoundError: if there is none.
        NewerSnapshotError: if it is of a newer version.
        SnapshotError: if the file is damaged or of another run.
    """
    content = contents(path)
    try:
        version, diverged = content.pop("format"), content.pop("death")
        found = Snapshot(**content, divergence=None if diverged is None else Divergence(*diverged))
    except (AttributeError, LookupError, TypeError) as error:
        raise SnapshotError(f"{path}: no snapshot ({type(error).__name__}: {error})") from None
    if version not in range(1, FORMAT + 1) or found.run != run:
        raise SnapshotError(f"{path}: expected format {FORMAT} of run {run}, got format {version} of {found.run!r}")
    return found


def contents(path: Path) -> Any:
    """What torch wrote to a file: tensors and plain values and nothing else, so that it cannot execute anything.

    Raises:
        FileNotFoundError: if there is none.
        NewerSnapshotError: if it is of a newer version.
        SnapshotError: if it is damaged, or holds something else.
    """
    content = path.read_bytes()
    header_of(path, content)
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


def header_of(path: Path, content: bytes | None = None) -> dict[str, Any]:
    """What a checkpoint says of itself without being loaded: format, run, epochs, steps; nothing, if of format 1.

    Raises:
        FileNotFoundError: if there is none.
        NewerSnapshotError: if it is of a newer version.
        SnapshotError: if it is damaged.
    """
    try:
        said = about(path.read_bytes() if content is None else content, path)
    except SealError as error:
        raise SnapshotError(str(error)) from None
    if said.get("format", FORMAT) > FORMAT:
        raise NewerSnapshotError(
            f"{path}: format {said['format']}, but this version reads up to {FORMAT}; update vaebench"
        )
    return said
