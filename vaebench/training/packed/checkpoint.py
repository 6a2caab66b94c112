"""The trained model of a member: as a model by itself, and as a checkpoint file."""

import io
from pathlib import Path

import lightning
import torch

from vaebench.models.base import CLASS, Autoencoder
from vaebench.records.archive import sealed
from vaebench.records.files import write_atomically


def unpack(member: Autoencoder, device: torch.device) -> Autoencoder:
    """A member as a model by itself, with memory of its own, on a device and in evaluation mode."""
    model: Autoencoder = type(member)(**member.hparams)
    model.load_state_dict(member.state_dict())
    return model.to(device).eval()


def save_checkpoint(member: Autoencoder, path: Path, epoch: int, step: int) -> None:
    """Write a checkpoint that `Model.load_from_checkpoint` reads. The write is atomic.

    Args:
        member: the model.
        path: of the file.
        epoch: the number of epochs of its training.
        step: the number of steps.

    Raises:
        WriteError: if the disk is full or the folder cannot be written.
    """
    checkpoint = {
        "epoch": epoch,
        "global_step": step,
        "pytorch-lightning_version": lightning.__version__,
        # The tensors are views of the pack's matrix. Without a copy, each would be written with all members.
        "state_dict": {k: t.detach().cpu().contiguous().clone() for k, t in member.state_dict().items()},
        CLASS: type(member).__name__,
        member.CHECKPOINT_HYPER_PARAMS_NAME: "kwargs",
        member.CHECKPOINT_HYPER_PARAMS_KEY: dict(member.hparams),
    }
    content = io.BytesIO()
    torch.save(checkpoint, content)
    write_atomically(path, sealed(content.getvalue()))
