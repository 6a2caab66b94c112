"""What a member of a pack leaves: the plain model that it is, and a checkpoint from which that model is loaded."""

import io
from pathlib import Path

import lightning
import torch

from vaebench.models.base import Autoencoder
from vaebench.records.archive import sealed
from vaebench.records.files import write_atomically


def unpack(member: Autoencoder, device: torch.device) -> Autoencoder:
    """A member as a model by itself, in memory of its own, ready to be measured on a device."""
    model: Autoencoder = type(member)(**member.hparams)
    model.load_state_dict(member.state_dict())
    return model.to(device).eval()


def save_checkpoint(member: Autoencoder, path: Path, epoch: int, step: int) -> None:
    """Write a checkpoint that `Model.load_from_checkpoint` reads, under its name only once it is whole.

    Args:
        member: the model.
        path: of the file.
        epoch: how many it has been trained.
        step: how many steps.

    Raises:
        WriteError: if the disk is full or the folder cannot be written.
    """
    checkpoint = {
        "epoch": epoch,
        "global_step": step,
        "pytorch-lightning_version": lightning.__version__,
        # Views of the pack's matrix: written as they are, each would carry all members along.
        "state_dict": {k: t.detach().cpu().contiguous().clone() for k, t in member.state_dict().items()},
        member.CHECKPOINT_HYPER_PARAMS_NAME: "kwargs",
        member.CHECKPOINT_HYPER_PARAMS_KEY: dict(member.hparams),
    }
    content = io.BytesIO()
    torch.save(checkpoint, content)
    write_atomically(path, sealed(content.getvalue()))
