"""A snapshot: the state of a pack's member between two steps. Training continues from it, alone or in any pack."""

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
"""Version of the file format. Version 1 was always written at the end of an epoch, and had no checksum."""


class SnapshotError(ValueError):
    """No training can continue from this file; the message says why."""


class NewerSnapshotError(ValueError):
    """A newer version of vaebench wrote this file. It must not be put aside or overwritten."""


class Divergence(NamedTuple):
    """The step at which a member's objective was no longer a finite number, and the message for the user."""

    step: int
    reason: str


class Snapshot(NamedTuple):
    """A member's state after some steps.

    Attributes:
        run: the id of its run.
        epochs: the number of finished epochs.
        steps: the number of steps, including those of an unfinished epoch.
        weights: the state of the model, on the CPU.
        moments: what the optimiser remembers of each parameter, e.g. two running means of Adam.
        noise: the state of the generator of its training noise.
        order: the state of its training batches.
        rows: the logged epochs.
        divergence: the end of its training, if it has diverged.
        total: the sum of the objective in the unfinished epoch.
        seen: the number of observations in that sum.
    """

    run: str
    epochs: int
    steps: int
    weights: dict[str, Tensor]
    moments: Float[Tensor, "S P"]
    noise: UInt8[Tensor, " S"]
    order: dict[str, Any]
    rows: list[Row]
    divergence: Divergence | None = None
    total: float = 0.0
    seen: int = 0

    def save(self, path: Path) -> None:
        """Write the snapshot atomically.

        Raises:
            WriteError: if the disk is full or the folder cannot be written.
        """
        content = io.BytesIO()
        fields = self._asdict()
        divergence = fields.pop("divergence")
        # In the file this field has its older name, so that files of earlier versions stay readable.
        fields["death"] = None if divergence is None else tuple(divergence)
        torch.save({"format": FORMAT, **fields}, content)
        header = {"format": FORMAT, "run": self.run, "epochs": self.epochs, "steps": self.steps}
        write_atomically(path, sealed(content.getvalue(), **header))


def read(path: Path, run: str) -> Snapshot:
    """Read the snapshot of a run.

    Raises:
        FileNotFoundError: if there is no such file.
        NewerSnapshotError: if a newer version of vaebench wrote it.
        SnapshotError: if the file is damaged or belongs to another run.
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
    """Read a file of torch that holds only tensors and plain values. Loading it cannot execute code.

    Raises:
        FileNotFoundError: if there is no such file.
        NewerSnapshotError: if a newer version of vaebench wrote it.
        SnapshotError: if it is damaged or holds anything else.
    """
    content = path.read_bytes()
    header_of(path, content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about some foreign files
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:  # torch's own message advises to load it unsafely
        text = "damaged, or it holds more than tensors and plain values; such a file is not read"
        raise SnapshotError(f"{path}: {text}") from None
    except (RuntimeError, ValueError, LookupError, EOFError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise SnapshotError(f"{path}: damaged, or no checkpoint ({type(error).__name__}: {reason})") from None


def header_of(path: Path, content: bytes | None = None) -> dict[str, Any]:
    """The header of a checkpoint: format, run, epochs, steps. Empty for format 1.

    Raises:
        FileNotFoundError: if there is no such file.
        NewerSnapshotError: if a newer version of vaebench wrote it.
        SnapshotError: if it is damaged.
    """
    try:
        header = about(path.read_bytes() if content is None else content, path)
    except SealError as error:
        raise SnapshotError(str(error)) from None
    if header.get("format", FORMAT) > FORMAT:
        raise NewerSnapshotError(
            f"{path}: format {header['format']}, but this version reads up to {FORMAT}; update vaebench"
        )
    return header
