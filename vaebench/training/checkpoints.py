"""The files of a training: those of a trained model, and the snapshot from which a stopped run continues.

A snapshot is the state of a run between two steps of its training. One format serves all runs. A member of a pack may
continue in any other pack, of one or of many. A run that a Trainer trains by itself takes its snapshots at the end of
epochs, and also keeps the rest of Lightning's checkpoint in it.

Weights are safetensors: plain numbers by name, which cannot hold code (https://github.com/huggingface/safetensors).
"""

import io
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import lightning
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from vaebench.models.base import CLASS, Autoencoder
from vaebench.records.checksums import SealError, about, sealed
from vaebench.records.files import write_atomically
from vaebench.training.loggers import EpochRow


def unpack(member: Autoencoder, device: torch.device) -> Autoencoder:
    """A member as a model by itself, with memory of its own, on a device and in evaluation mode."""
    model: Autoencoder = type(member)(**member.hparams)
    model.load_state_dict(member.state_dict())
    return model.to(device).eval()


def save_checkpoint(model: Autoencoder, path: Path, epoch: int, step: int) -> None:
    """Write a checkpoint that `Model.load_from_checkpoint` reads, atomically, with the epochs and steps of training.

    Raises:
        WriteError: if the disk is full or the folder cannot be written.
    """
    checkpoint = {
        "epoch": epoch,
        "global_step": step,
        "pytorch-lightning_version": lightning.__version__,
        "state_dict": tensors(model),
        CLASS: type(model).__name__,
        model.CHECKPOINT_HYPER_PARAMS_NAME: "kwargs",
        model.CHECKPOINT_HYPER_PARAMS_KEY: dict(model.hparams),
    }
    content = io.BytesIO()
    torch.save(checkpoint, content)
    write_atomically(path, sealed(content.getvalue()))


def weights(model: Autoencoder, run: str = "") -> bytes:
    """The content of the file; its header has the model's class and the run's id."""
    from safetensors.torch import save

    return save(tensors(model), metadata={"format": "pt", CLASS: type(model).__name__, "run": run})


def write_weights(model: Autoencoder, path: Path, run: str) -> Path:
    """Write the file atomically, and return its path.

    Raises:
        WriteError: if the disk is full or the folder cannot be written.
    """
    write_atomically(path, weights(model, run))
    return path


def tensors(model: Autoencoder) -> dict[str, Tensor]:
    """Copies of parameters and buffers, by name. Those of a pack's member are views of the matrix of all members."""
    return {name: t.detach().cpu().contiguous().clone() for name, t in model.state_dict().items()}


# -- snapshots ---------------------------------------------------------------------------------------------------------

FORMAT = 4  # version of the file format that is written
READABLE = (3, FORMAT)  # those that are read; format 3 has no checksum of the data

FILE_KEYS = {
    "divergence": "death",
    "optimizer_state": "moments",
    "objective_sum": "total",
    "examples_seen": "seen",
}
"""What the file calls these fields of a `Snapshot`: older names, so that old files can be read."""

CHECKSUM = "data"  # where a Trainer's snapshot has the checksum of its data
DATA = "DataModule"  # where Lightning's checkpoint has the state of the training batches


class SnapshotError(ValueError):
    """No training can continue from this file; the message says why."""


class NewerSnapshotError(ValueError):
    """A newer version of vaebench wrote this file. It must not be put aside or overwritten."""


class Divergence(NamedTuple):
    """Where a member's objective was no longer a finite number, and which number it was."""

    step: int  # the number of steps of the training before that
    reason: str


class Snapshot(NamedTuple):
    """The state of a run after some steps."""

    run: str  # the id of its run
    epochs: int  # the number of finished epochs
    steps: int  # the number of steps, including those of an unfinished epoch
    weights: dict[str, Tensor]  # the state of the model, on the CPU
    # what the optimiser of a pack remembers of each parameter, for Adam the running means of its gradient and of its
    # square; None for a run outside a pack, whose optimiser is in `trainer`
    optimizer_state: Float[Tensor, "S P"] | None
    noise: UInt8[Tensor, " S"]  # the state of the generator of its training noise
    order: dict[str, Any]  # the state of its training batches
    rows: list[EpochRow]  # the logged epochs
    divergence: Divergence | None = None  # the end of its training, if it has diverged
    objective_sum: float = 0.0  # the sum of the objective in the unfinished epoch
    examples_seen: int = 0  # the number of observations in that sum
    # for a run outside a pack, the rest of Lightning's checkpoint: the optimiser, the loops and the callbacks
    trainer: dict[str, Any] | None = None
    data: str = ""  # the checksum of its data (`DataModule.checksum`); empty in a file from before there was one

    @classmethod
    def of_trainer(cls, run: str, checkpoint: Mapping[str, Any]) -> "Snapshot":
        """The snapshot of a run outside a pack, from Lightning's checkpoint with what `RestOfSnapshot` adds."""
        rest = dict(checkpoint)
        return cls(
            run,
            rest["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"],
            rest["global_step"],
            rest.pop("state_dict"),
            None,
            rest.pop("noise"),
            rest.pop(DATA),
            rest.pop("rows"),
            data=rest.pop(CHECKSUM),
            trainer=rest,
        )

    def checkpoint(self) -> dict[str, Any]:
        """Lightning's checkpoint, from which a Trainer continues: the inverse of `of_trainer`."""
        own = {
            "state_dict": self.weights,
            "noise": self.noise,
            DATA: self.order,
            "rows": self.rows,
            CHECKSUM: self.data,
        }
        return {**(self.trainer or {}), **own}

    def save(self, path: Path) -> None:
        """Write the snapshot atomically.

        Raises:
            WriteError: if the disk is full or the folder cannot be written.
        """
        content = io.BytesIO()
        fields = self._asdict() | {"divergence": None if self.divergence is None else tuple(self.divergence)}
        torch.save({"format": FORMAT, **{FILE_KEYS.get(name, name): value for name, value in fields.items()}}, content)
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
        names = {key: name for name, key in FILE_KEYS.items()}
        fields = {names.get(key, key): value for key, value in content.items()}
        version, diverged = fields.pop("format"), fields.pop("divergence")
        found = Snapshot(**fields, divergence=None if diverged is None else Divergence(*diverged))
    except (AttributeError, LookupError, TypeError) as error:
        raise SnapshotError(f"{path}: no snapshot ({type(error).__name__}: {error})") from None
    if version not in READABLE or found.run != run:
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
    """The header of a checkpoint: format, run, epochs, steps. Empty for a file without one, as Lightning's own.

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
