"""A model's parameters and buffers as safetensors: plain numbers by name, which cannot hold code.

https://github.com/huggingface/safetensors
"""

from pathlib import Path

from vaebench.models.base import CLASS, Autoencoder
from vaebench.records.files import write_atomically


def weights(model: Autoencoder, run: str = "") -> bytes:
    """The content of the file; its header has the model's class and the run's id."""
    from safetensors.torch import save

    tensors = {name: t.detach().cpu().contiguous().clone() for name, t in model.state_dict().items()}
    return save(tensors, metadata={"format": "pt", CLASS: type(model).__name__, "run": run})


def write_weights(model: Autoencoder, path: Path, run: str) -> Path:
    """Write the file atomically, and return its path.

    Raises:
        WriteError: if the disk is full or the folder cannot be written.
    """
    write_atomically(path, weights(model, run))
    return path
