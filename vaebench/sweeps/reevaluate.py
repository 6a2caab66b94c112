"""Measure a trained run again: with other draws, bounds or estimators, or on another split."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

from filelock import FileLock

from vaebench.config import ConfigError, Run, imports
from vaebench.config.document import Document
from vaebench.config.registry import MODELS
from vaebench.config.study import IMPORTS
from vaebench.data.datamodule import DataModule
from vaebench.evaluation.measure import Measurement
from vaebench.models.base import Autoencoder
from vaebench.records import provenance, record
from vaebench.records.record import Record
from vaebench.records.run_folder import CHECKPOINT, LOCK, RECORD
from vaebench.reporting import select
from vaebench.sweeps.run import evaluate
from vaebench.training import memory
from vaebench.training.single import data_of
from vaebench.training.snapshot import SnapshotError, contents
from vaebench.training.trainer import device


def reevaluate(
    path: Path,
    draws: int | None = None,
    k: tuple[int, ...] | None = None,
    split: str | None = None,
    estimators: str | None = None,
) -> Measurement:
    """Measure a trained run again. None keeps the setting of the run.

    Only weights are read from the checkpoint, so a checkpoint from elsewhere cannot run code.

    Args:
        path: the run's id or folder, or the checkpoint in it.
        draws: K.
        k: sizes of the IWAE bounds; they are then the only metric.
        split: the data that is measured.
        estimators: as `evaluate.estimators` in a study, without the outer brackets.

    Raises:
        LookupError: if there is no such run.
        FileNotFoundError: if the run has no checkpoint.
        ValueError: if the checkpoint or the record is damaged, or belongs to another run.
        ConfigError: if a setting is wrong.
    """
    folder = folder_of(path)
    checkpoint = folder / CHECKPOINT
    if not checkpoint.is_file():
        raise FileNotFoundError(f"{checkpoint}: no checkpoint; train the run first")
    made = record.read(folder / RECORD)
    made.left(checkpoint)
    Run.of(made.config)  # checks that its imports are here, in their versions; others may add metrics and estimators
    config = {key: value for key, value in made.config.items() if key != IMPORTS}
    asked: dict[str, Any] = {"draws": draws, "split": split, "metrics": [{"name": "IWAE", "k": k}] if k else None}
    if estimators is not None:
        asked["estimators"] = listed(estimators)
    changed = {name: value for name, value in asked.items() if value is not None}
    run = Run.of(config | {"evaluate": config["evaluate"] | changed})
    return evaluate(run, *_on_device(run, made, checkpoint))


def trained(run: Run, folder: Path) -> tuple[Autoencoder, DataModule]:
    """The model that a run left in its folder, and its data.

    Raises:
        FileNotFoundError: if the folder has no record or no checkpoint.
        ValueError: if the checkpoint or the record is damaged, or belongs to another run.
    """
    made = record.read(folder / RECORD)
    if made.id != run.id:
        raise ValueError(f"{folder}: expected the run {run.id}, got {made.id}")
    made.left(folder / CHECKPOINT)
    return _on_device(run, made, folder / CHECKPOINT)


def _on_device(run: Run, made: Record, checkpoint: Path) -> tuple[Autoencoder, DataModule]:
    model = model_of(run, checkpoint, made.provenance.get("command"))
    data = data_of(run).to(device())
    data.setup("test")
    return model.to(device()), data


class Asked(TypedDict):
    """What is measured again; None keeps the setting of the run."""

    draws: int | None
    k: tuple[int, ...] | None
    split: str | None
    estimators: str | None


class Added(NamedTuple):
    """What later numbers brought to a record."""

    names: list[str]  # the estimates that are new in it
    known: list[str]  # the estimates that it had already; they stay as they were


def add_to_record(path: Path, seen: Measurement, asked: Asked) -> Added:
    """Add what was measured later to a run's record, with its provenance, so that tables show it.

    A number of the record is never replaced: one name has one value, measured when the run was executed.

    Args:
        path: the run's folder, or the checkpoint in it.
        seen: what `reevaluate` returned.

    Raises:
        ValueError: if another split was measured: all numbers of a record are of one split.
    """
    file = folder_of(path) / RECORD
    with FileLock(folder_of(path) / LOCK):
        made = record.read(file)
        own = made.config["evaluate"]["split"]
        if (split := asked["split"]) not in (None, own):
            raise ValueError(f"--save: the record has numbers of the {own} split, and these are of the {split} split")
        known = {e.name for e in made.estimates}
        new = [e for e in seen.estimates if e.name not in known]
        names = [e.name for e in new]
        settings = {name: value for name, value in asked.items() if value is not None}
        origin = (
            {"names": names, "settings": settings}
            | provenance.here()
            | ({IMPORTS: sums} if (sums := {k: v for i in imports.given() for k, v in i.checksums.items()}) else {})
        )
        later = [*made.provenance.get("later", []), origin | memory.hardware(str(device()))]
        if new:
            added = replace(
                made,
                estimates=[*made.estimates, *new],
                descriptions=made.descriptions | {n: d.recorded(n) for n, d in seen.descriptions.items() if n in names},
                not_applicable={name: why for name, why in made.not_applicable.items() if name not in names},
                provenance=made.provenance | {"later": later},
            )
            record.write(added, file)
    return Added(names, [e.name for e in seen.estimates if e.name in known])


def folder_of(path: Path) -> Path:
    """The run's folder, given by its id, as it is, or by a file in it.

    Raises:
        LookupError: if there is no such run, or if there are several.
    """
    return select.only(str(path), select.ROOTS).parent


def model_of(run: Run, checkpoint: Path, command: str | None) -> Autoencoder:
    again = f"train the run again: {command}" if command else "train the run again"
    try:
        contents(checkpoint)
        model = MODELS.named(run.model).load_from_checkpoint(checkpoint, "cpu", weights_only=True)
    except SnapshotError as error:
        raise ValueError(f"{error}; {again}") from None
    except (LookupError, RuntimeError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{checkpoint}: not the checkpoint of this run ({reason}); {again}") from None
    wanted, kept = run.config["model"] | {"seed": run.seed}, json.loads(json.dumps(dict(model.hparams)))
    if other := sorted(k for k in wanted.keys() & kept.keys() if kept[k] != wanted[k]):
        different = ", ".join(f"{k} {kept[k]}, not {wanted[k]}" for k in other)
        raise ValueError(f"{checkpoint}: the checkpoint of another run ({different}); {again}")
    return model


def listed(text: str) -> list[Any]:
    """The items of a YAML list without its brackets.

    >>> listed("ELBO, {name: IWAE, k: [1, 5]}")
    ['ELBO', {'name': 'IWAE', 'k': [1, 5]}]
    """
    document = Document(f"items: [{text}]")
    if document.faults:
        raise ConfigError([f"expected names with commas between them, got {text!r}; quote it as YAML would"])
    items: list[Any] = document.value["items"]
    return items
