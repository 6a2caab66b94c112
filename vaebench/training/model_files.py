"""The files of a trained model: a checkpoint, and its parameters and buffers as safetensors.

Safetensors are plain numbers by name and cannot hold code: https://github.com/huggingface/safetensors.
"""

import io
from pathlib import Path

import lightning
import torch
from torch import Tensor

from vaebench.models.base import CLASS, Autoencoder
from vaebench.records.checksums import sealed
from vaebench.records.files import write_atomically


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
