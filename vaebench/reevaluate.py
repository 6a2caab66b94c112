"""A trained run measured again: other draws, other bounds, another split, estimators of the evidence."""

from pathlib import Path
from typing import Any

from vaebench import record
from vaebench.config import ConfigError, Run
from vaebench.config.lines import Document
from vaebench.evaluation import Measurement
from vaebench.models.base import Autoencoder
from vaebench.registry import MODELS
from vaebench.run import evaluate
from vaebench.training.alone import CHECKPOINT, data_of
from vaebench.training.trainers import device


def reevaluate(
    path: Path,
    draws: int | None = None,
    k: tuple[int, ...] | None = None,
    split: str | None = None,
    estimators: str | None = None,
) -> Measurement:
    """A run whose folder (or the checkpoint in it) is given, measured; None keeps the run's own choice.

    Weights alone are read from the checkpoint: it cannot execute anything.

    Args:
        path: of the folder or of the checkpoint.
        draws: K.
        k: sizes of the IWAE bounds, which are then the only diagnostic.
        split: what is measured.
        estimators: as `evaluate.estimators` in a study, without the outer brackets.

    Raises:
        FileNotFoundError: if the folder has no record or no checkpoint.
        ConfigError: if what is asked for cannot be asked.
    """
    folder = path.parent if path.suffix == ".ckpt" else path
    checkpoint = folder / CHECKPOINT
    if not checkpoint.is_file():
        raise FileNotFoundError(f"{checkpoint}: no checkpoint; train the run first (the folder is runs/STUDY/ID)")
    config = record.read(folder / "record.json").config
    asked: dict[str, Any] = {"draws": draws, "split": split, "metrics": [{"name": "IWAE", "k": k}] if k else None}
    if estimators is not None:
        asked["estimators"] = listed(estimators)
    changed = {name: value for name, value in asked.items() if value is not None}
    run = Run.of(config | {"evaluate": config["evaluate"] | changed})
    data = data_of(run).to(device())
    data.setup("test")
    model: Autoencoder = MODELS.named(run.model).load_from_checkpoint(checkpoint, "cpu", weights_only=True)
    return evaluate(run, model.to(device()), data)


def listed(text: str) -> list[Any]:
    """The items of a YAML list whose brackets are left out."""
    document = Document(f"items: [{text}]")
    if document.faults:
        raise ConfigError([f"expected names with commas between them, got {text!r}; quote it as YAML would"])
    items: list[Any] = document.value["items"]
    return items
