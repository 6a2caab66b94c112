"""A trained run measured again: other draws, other bounds, another split."""

from pathlib import Path

from vaebench import record
from vaebench.config import Run
from vaebench.models.base import Autoencoder
from vaebench.record import Estimate
from vaebench.registry import MODELS
from vaebench.run import CHECKPOINT, data_of, evaluate


def reevaluate(
    path: Path, draws: int | None = None, k: tuple[int, ...] | None = None, split: str | None = None
) -> list[Estimate]:
    """The diagnostics of a run whose folder (or the checkpoint in it) is given; None keeps the run's own choice.

    Weights alone are read from the checkpoint: it cannot execute anything.

    Raises:
        FileNotFoundError: if the folder has no record or no checkpoint.
    """
    folder = path.parent if path.suffix == ".ckpt" else path
    checkpoint = folder / CHECKPOINT
    if not checkpoint.is_file():
        raise FileNotFoundError(f"{checkpoint}: no checkpoint; train the run first (the folder is runs/STUDY/ID)")
    config = record.read(folder / "record.json").config
    asked = {"draws": draws, "split": split, "metrics": [{"name": "IWAE", "k": k}] if k else None}
    changed = {name: value for name, value in asked.items() if value is not None}
    run = Run.of(config | {"evaluate": config["evaluate"] | changed})
    data = data_of(run)
    data.setup("test")
    model: Autoencoder = MODELS[run.model["name"]].load_from_checkpoint(checkpoint, weights_only=True)
    return evaluate(run, model, data).estimates
