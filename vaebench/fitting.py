"""Models of runs trained: as one program where that can be, else by Lightning's own loop."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import lightning
import torch
from lightning.pytorch.loggers.logger import Logger

from vaebench.atomic import WriteError
from vaebench.config import Run
from vaebench.curve import Curve, Report, Validation
from vaebench.datamodule import DataModule
from vaebench.models.base import Autoencoder, Diverged
from vaebench.packing.checkpoint import leave, plain
from vaebench.packing.data import PackedData
from vaebench.packing.pack import Pack
from vaebench.packing.program import Unpackable
from vaebench.packing.snapshot import Snapshot
from vaebench.registry import DATASETS, MODELS
from vaebench.snapshots import EVERY, TRAINER, Now, Retold, found, found_of_trainer, save

CHECKPOINT = "model.ckpt"
"""The trained model's file in a run's folder; `Model.load_from_checkpoint` reads it."""

LARGEST = 2**25
"""Parameters of all members of a pack: four numbers each (value, gradient, two moments) are half a gigabyte."""

Watch = Callable[[int, Mapping[str, float]], None]
"""Told of every finished epoch: how many, and the latest numbers."""


class Fitted(NamedTuple):
    """A run's trained model, the data that it was trained on, and the columns of its curve."""

    model: Autoencoder
    data: DataModule
    curve: dict[str, list[float | None]]


def fit(
    runs: Sequence[Run],
    folders: Sequence[Path],
    loggers: Sequence[Sequence[Logger]],
    watch: Watch,
    every: float = EVERY,
) -> list[Fitted | Exception]:
    """Train runs as a pack, and leave the checkpoint of each in its folder.

    Each goes on from the snapshot in its folder, if one was left; those that were left at different epochs train one
    after the other.

    Args:
        runs: that share what `vaebench.plan.shared` says.
        folders: of each.
        loggers: of each.
        watch: told of every epoch.
        every: seconds from one snapshot to the next.

    Returns:
        For each its model, or why it has none: an impossible hyper-parameter, a divergence.

    Raises:
        Unpackable: if one program cannot train several.
        WriteError: if a checkpoint cannot be written.
        Exception: whatever else keeps all of them from being trained together.
    """
    data = PackedData(DATASETS.build(runs[0].data), [r.seed for r in runs], batch_size=runs[0].train.batch_size)
    data.setup("fit")
    fitted: list[Fitted | Exception | None] = [None] * len(runs)
    standing: dict[int, list[tuple[int, Member]]] = {}
    for i, (run, folder, own) in enumerate(zip(runs, folders, loggers, strict=True)):
        try:
            member = Member(run, folder, own, MODELS.build(run.model, data.shape, run.seed), found(run, folder))
        except Exception as error:
            fitted[i] = error
        else:
            standing.setdefault(member.epochs, []).append((i, member))
    for places, members in (zip(*alike, strict=True) for alike in standing.values()):
        for i, outcome in zip(places, _together(members, data, watch, every), strict=True):
            fitted[i] = outcome
    return [f for f in fitted if f is not None]


def data_of(run: Run) -> DataModule:
    """The data of a run, not yet loaded."""
    return DataModule(DATASETS.build(run.data), run.seed, batch_size=run.train.batch_size)


class Member(NamedTuple):
    """A run that is to be trained with others."""

    run: Run
    folder: Path
    loggers: Sequence[Logger]
    model: Autoencoder
    start: Snapshot | None = None

    @property
    def epochs(self) -> int:
        """How many it has behind it."""
        return 0 if self.start is None else self.start.epochs


def _together(members: Sequence[Member], data: PackedData, watch: Watch, every: float) -> list[Fitted | Exception]:
    if len(members) > 1 and sum(p.numel() for m in members for p in m.model.parameters()) > LARGEST:
        raise MemoryError(f"expected at most {LARGEST} parameters in a pack; its parts are trained one after the other")
    first, curves = members[0], [Curve() for _ in members]
    told = [[curve, *m.loggers] for curve, m in zip(curves, members, strict=True)]
    try:
        clips, start = [m.run.train.gradient_clip for m in members], [m.start for m in members if m.start is not None]
        pack = Pack([m.model for m in members], clips=clips, loggers=told, start=start or None)
        saving = Now(every, lambda: save(pack, [m.run for m in members], [m.folder for m in members]))
        trainer = _trainer(first.run, watch, saving, logger=False)
        with interruptible():
            trainer.fit(pack, datamodule=data)
        saving.now()
    except Unpackable:
        if len(members) > 1:
            raise
        return [_by_itself(first.run, first.folder, first.loggers, watch, every)]
    fitted: list[Fitted | Exception] = []
    for m, death, curve in zip(members, pack.deaths, curves, strict=True):
        if death is None:
            leave(m.model, m.folder / CHECKPOINT, pack.current_epoch, pack.steps_done)
        fitted.append(Fitted(plain(m.model), data, curve.columns) if death is None else Diverged(death.reason))
    return fitted


def _by_itself(run: Run, folder: Path, loggers: Sequence[Logger], watch: Watch, every: float) -> Fitted:
    """A model that cannot be packed: a LightningModule in a Trainer, as ever."""
    data, curve = data_of(run), Curve()
    data.setup("fit")
    model: Autoencoder = MODELS.build(run.model, data.shape, run.seed)
    saving = Now(every, lambda: _save(trainer, folder / TRAINER))
    told = [curve, *loggers]
    clip = run.train.gradient_clip
    trainer = _trainer(run, watch, saving, Retold(curve, loggers), logger=told, gradient_clip_val=clip)
    with interruptible():
        trainer.fit(model, datamodule=data, ckpt_path=found_of_trainer(folder), weights_only=True)
    _save(trainer, folder / CHECKPOINT)
    return Fitted(model.to(trainer.strategy.root_device), data, curve.columns)


def _save(trainer: lightning.Trainer, path: Path) -> None:
    temporary = path.with_suffix(".part")
    try:
        trainer.save_checkpoint(temporary, weights_only=False)
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        temporary.unlink(missing_ok=True)
        raise WriteError(f"{path}: cannot be written ({error}); make room, then run the same command again") from error


def _trainer(run: Run, watch: Watch, *callbacks: lightning.Callback, **keywords: Any) -> lightning.Trainer:
    return lightning.Trainer(
        max_epochs=run.train.epochs,
        accelerator="gpu" if torch.cuda.is_available() else "cpu",
        devices=1,
        callbacks=[Validation(), Report(watch), *callbacks],
        check_val_every_n_epoch=run.train.validate_every,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,  # nothing is logged at a step; a larger interval only draws a warning
        **keywords,
    )


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C as KeyboardInterrupt; Lightning turns it into an exit and leaves the signal ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as exit_:
        raise KeyboardInterrupt from exit_
    finally:
        signal.signal(signal.SIGINT, handler)
