"""A trained model, found by its run's id, its folder or its checkpoint; observations for it, and new measurements.

It may be measured again with other draws, bounds or estimators, or on another split.
"""

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import numpy as np
import torch
from filelock import FileLock

from vaebench.config import ConfigError, Run, imports
from vaebench.config.registry import DATASETS, MODELS
from vaebench.config.study import IMPORTS
from vaebench.config.yaml_document import Document
from vaebench.data.binarization import binarized
from vaebench.data.datamodule import DataModule, data_of
from vaebench.data.datasets import own
from vaebench.data.loaders import Batch
from vaebench.evaluation.measure import Measurement
from vaebench.models.base import CLASS, Autoencoder
from vaebench.records import provenance, record
from vaebench.records.arrays import ArraysError, png, read_arrays, sheet
from vaebench.records.checksums import checksum
from vaebench.records.files import CHECKPOINT, LEFT, LOCK, RECORD, write_atomically
from vaebench.records.record import Record
from vaebench.reporting import select
from vaebench.sweeps.run import evaluate
from vaebench.training import memory
from vaebench.training.checkpoints import contents
from vaebench.training.trainer import device


class Observed(NamedTuple):
    """Observations for a model, and where they come from."""

    batch: Batch
    source: dict[str, Any]


class Trained(NamedTuple):
    """A trained model in evaluation mode. Run and record are None if it was not trained by a sweep."""

    model: Autoencoder
    checkpoint: Path
    run: Run | None = None
    made: Record | None = None

    def observations(self, file: Path | None = None, split: str | None = None) -> Observed:
        """Observations from a file, or from the data of the run, as the model sees them.

        The values of a file are scaled and binarised like the data of the run. Images of any file have the channels
        first.

        Args:
            file: an .npy file, or an .npz file with an array `x`, perhaps with labels.
            split: of the run's own data, if no file is given; None for the split on which the run was measured.

        Raises:
            ValueError: if the file has other observations than the model's, if there is neither file nor run, or if
                the data have changed since the run.
        """
        if file is not None:
            if split is not None:
                raise ValueError(f"expected a file or --split, got both: {file} and {split}; give one of them")
            return self._from_file(file)
        if self.run is None:
            raise ValueError(f"{self.checkpoint}: has no record, so its data are not known; give a file")
        split = split or self.run.evaluate.split
        data = _data(self.run, self.made)
        return Observed(data.on_device(split)[:], {"split": split, **data.comparability})

    def _from_file(self, file: Path) -> Observed:
        spec = {} if self.run is None else self.run.config["data"]
        examples, scale = own.whole(file, self.model.shape, spec.get("scale"))
        if scale == own.WHITE and self.run is not None and spec.get("scale") is None:
            scale = self._white(file, self.run)
        rule = None if self.run is None else DATASETS.build(self.run.data).binarization
        named = rule and rule.name
        x = examples.x
        low, high = float(x.min()) / scale, float(x.max()) / scale
        if rule is not None and (low < 0 or high > 1):
            raise ValueError(f"{file}: expected grey levels in [0, 1] to binarise, got {low:g} to {high:g}; scale them")
        if rule is not None and rule.is_expected:
            self.model.likelihood.expect()
            rule = None
        x = x.float() / scale if rule is None else binarized(rule, x, scale, "new data").float()
        self.model.likelihood.check(x)
        where, label = self.model.device, examples.label
        source = {"file": file.name, "sha256": checksum(file.read_bytes()), "binarize": named}
        return Observed(Batch(x.to(where), None if label is None else label.to(where)), source)

    def _white(self, file: Path, run: Run) -> float:
        """The grey level that becomes 1: that of the run's data, or the usual one if those are floats."""
        try:
            return _data(run, self.made).white or own.WHITE
        except FileNotFoundError as error:
            raise ValueError(
                f"{file}: has grey levels, which are scaled like the data of the run, and these were not found "
                f"({error}); or save floats, in which 1 is white"
            ) from None

    def origin(self, source: dict[str, Any] | None = None, **settings: Any) -> dict[str, Any]:
        """Where numbers of this model come from: the run, the checkpoint, the observations, the settings, the code."""
        run = {} if self.made is None else {"run": self.made.id, "study": self.made.study}
        imported = {} if self.run is None else {k: v for i in self.run.imports for k, v in i.checksums.items()}
        return (
            {"model": type(self.model).__name__, **run, "checkpoint_sha256": checksum(self.checkpoint.read_bytes())}
            | {"imports": imported, "data": source, "settings": settings}
            | provenance.here()
        )


def load(what: str | Path, *, imports: Sequence[str] = ()) -> Autoencoder:
    """The trained model of a run, in evaluation mode, on the device that training would choose.

    Only numbers are read from a checkpoint, so a checkpoint from elsewhere cannot run code.

    Args:
        what: a run's id or its beginning, its folder, its record, or a checkpoint, also one of a plain Trainer.
        imports: files or modules with the model's class, if it is not one of this package.

    Raises:
        LookupError: if there is no such run, or the model's class is not known.
        FileNotFoundError: if the run has no checkpoint.
        ValueError: if the checkpoint is damaged, or belongs to another run.
    """
    return find(what, imports).model


def find(what: str | Path, words: Sequence[str] = ()) -> Trained:
    """The trained model of a run with its run and record; see `load`."""
    if words:
        imports.give(words)
    path = select.followed(Path(what))
    is_of_a_run = path.name in LEFT and path.with_name(RECORD).is_file()
    if path.is_file() and path.suffix not in (".json", ".yaml", ".yml") and not is_of_a_run:
        return _alone(path)
    file = select.only(str(path), select.ROOTS)
    made, run, model = _of_record(file)
    return Trained(model, file.with_name(CHECKPOINT), run, made)


def _of_record(file: Path) -> tuple[Record, Run, Autoencoder]:
    """A run's record, the run, and its model; errors as for `load`."""
    made, checkpoint = record.read(file), file.with_name(CHECKPOINT)
    again = made.provenance.get("command") or "its study's sweep"
    if not checkpoint.is_file():
        raise FileNotFoundError(f"{checkpoint}: no checkpoint; train the run first: {again}")
    made.left(checkpoint)
    run = Run.of(made.config)
    imports.use([*imports.given(), *run.imports])
    try:
        model = MODELS.named(run.model).load_from_checkpoint(checkpoint, "cpu", weights_only=True)
    except (LookupError, RuntimeError, TypeError) as error:  # the code of the model has changed since
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{checkpoint}: does not fit its model ({reason}); train the run again: {again}") from None
    return made, run, model.to(device()).eval()


def _alone(checkpoint: Path) -> Trained:
    """The model of a checkpoint without a record: Lightning's own, or a copy of a run's."""
    if checkpoint.suffix == ".safetensors":
        raise ValueError(f"{checkpoint}: weights alone do not say how the model is built; give its run or {CHECKPOINT}")
    held = contents(checkpoint)
    name = held.get(CLASS) if isinstance(held, dict) else None
    if not isinstance(name, str):
        raise ValueError(f"{checkpoint}: does not say the class of its model; use Class.load_from_checkpoint")
    kind = MODELS[name]
    try:
        model = kind.load_from_checkpoint(checkpoint, "cpu", weights_only=True)
    except Exception as error:  # whatever the constructor makes of the arguments in the file
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise ValueError(
            f"{checkpoint}: expected a checkpoint of {name}, which cannot be built from it ({reason})"
        ) from error
    return Trained(model.to(device()).eval(), checkpoint)


def write_npz(path: Path, origin: dict[str, Any], **columns: torch.Tensor | np.ndarray | None) -> Path:
    """Write arrays with their origin, as JSON text in the array `provenance`; no file is overwritten.

    Raises:
        FileExistsError: if there is such a file.
    """

    if path.exists():
        raise FileExistsError(f"{path}: exists already; choose another name by --out")
    found = {k: v.cpu().numpy() if isinstance(v, torch.Tensor) else v for k, v in columns.items() if v is not None}
    content = io.BytesIO()
    np.savez_compressed(content, provenance=np.array(json.dumps(origin)), **found)  # type: ignore[arg-type]
    write_atomically(path, content.getvalue())
    return path


def write_png(path: Path, images: Sequence[torch.Tensor], columns: int) -> Path:
    """Write images in rows of `columns`. Several arrays stand side by side: the first of each, then the second.

    Raises:
        FileExistsError: if there is such a file.
        ValueError: if they are not images of one or three channels.
    """
    if path.exists():
        raise FileExistsError(f"{path}: exists already; choose another name by --out")
    x = torch.stack(list(images), 1).flatten(0, 1) if columns else torch.zeros(0)
    if x.ndim != 4 or x.shape[1] not in (1, 3):
        raise ValueError(f"{path}: only images of one or three channels can be written as .png; write .npz")
    pixels = (x.float().clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    blank = np.zeros((-len(pixels) % columns, *pixels.shape[1:]), np.uint8)
    grid = np.concatenate([pixels, blank]).reshape(-1, columns, *pixels.shape[1:])
    write_atomically(path, png(sheet(grid)))
    return path


def read_codes(file: Path) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
    """Codes `[N, L]`, labels `[N]` and factors `[N, F]` of any origin.

    Args:
        file: .npz with an array `mean`, `codes`, `code` or `z`, and perhaps `label`, `labels` or `y`, and
            `factors`; or .npy.

    Raises:
        ValueError: if there is no such array, or it does not have these shapes.
    """
    try:
        found = read_arrays(file)
    except ArraysError as error:
        raise ValueError(f"{file}: expected an .npz or .npy file of codes ({error})") from None
    code = next((found[name] for name in ("", "mean", "codes", "code", "z") if name in found), None)
    if code is None or code.ndim != 2 or code.dtype.kind not in "fui" or not code.size:
        got = ", ".join(f"{name or 'one array'} {[*a.shape]}" for name, a in found.items())
        raise ValueError(f"{file}: expected numbers [N, L] under mean, codes, code or z, got {got or 'nothing'}")
    label = next((found[name] for name in ("label", "labels", "y") if name in found), None)
    factors = found.get("factors")
    for name, numbers, axes in (("labels", label, 1), ("factors", factors, 2)):
        if numbers is not None and not (
            numbers.ndim == axes and len(numbers) == len(code) and numbers.dtype.kind in "biu"
        ):
            got = f"{[*numbers.shape]} of {numbers.dtype}"
            raise ValueError(f"{file}: expected whole numbers for {len(code)} codes as {name}, got {got}; number them")
    if not np.isfinite(code).all():
        raise ValueError(f"{file}: expected finite codes, got NaN or infinity; remove these observations")
    if (largest := float(np.abs(code).max())) > (most := float(np.finfo(np.float32).max)):
        raise ValueError(f"{file}: expected codes up to {most:.2g} in magnitude, got {largest:.3g}; divide them")
    numbered = (None if n is None else torch.from_numpy(n.astype(np.int64)) for n in (label, factors))
    return (torch.from_numpy(code.astype(np.float64)), *numbered)  # type: ignore[return-value]


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
        ValueError: if the checkpoint or the record is damaged or belongs to another run, or the data have changed.
        ConfigError: if a setting is wrong.
    """
    made, _, model = _of_record(folder_of(path) / RECORD)
    # Without its own imports, so that `--import` may give other metrics and estimators.
    config = {key: value for key, value in made.config.items() if key != IMPORTS}
    asked: dict[str, Any] = {"draws": draws, "split": split, "metrics": [{"name": "IWAE", "k": k}] if k else None}
    if estimators is not None:
        asked["estimators"] = listed(estimators)
    changed = {name: value for name, value in asked.items() if value is not None}
    run = Run.of(config | {"evaluate": config["evaluate"] | changed})
    return evaluate(run, model, _data(run, made))


def trained(run: Run, folder: Path) -> tuple[Autoencoder, DataModule]:
    """The model that a run left in its folder, and its data.

    Raises:
        FileNotFoundError: if the folder has no record or no checkpoint.
        ValueError: if the checkpoint or the record is damaged or belongs to another run, or the data have changed.
    """
    made, _, model = _of_record(folder / RECORD)
    if made.id != run.id:
        raise ValueError(f"{folder}: expected the run {run.id}, got {made.id}")
    return model, _data(run, made)


def _data(run: Run, made: Record | None) -> DataModule:
    """The data of a run, loaded.

    Raises:
        ValueError: if they are not those of its record.
    """
    data = data_of(run).to(device())
    data.setup("test")
    recorded = None if made is None else made.comparability.get("checksum")
    if recorded not in (None, data.checksum):
        raise ValueError(
            f"{data.dataset.name}: expected the data of run {run.id if made is None else made.id} "
            f"(SHA-256 {str(recorded)[:10]}…), got others ({data.checksum[:10]}…): they have changed since; restore "
            "them, or train the run again"
        )
    return data


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
