"""What a run goes on from if it is stopped: written now and then where its record will stand, and gone with the record.

A run that packs leaves a snapshot of its own, so that it goes on alone, in another pack or on another engine. One that
does not leaves Lightning's checkpoint, with its curve.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import lightning
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor

from vaebench.config import Run
from vaebench.config.seeding import generator
from vaebench.models.base import Autoencoder
from vaebench.records import files
from vaebench.records.files import WriteError
from vaebench.records.run_folder import RESUME, TRAINER
from vaebench.training.curve import Curve
from vaebench.training.packed.adam import ALIGNMENT
from vaebench.training.packed.loaders import PackedData
from vaebench.training.packed.module import Pack
from vaebench.training.packed.snapshot import Snapshot, SnapshotError, contents, header_of, read
from vaebench.training.signals import DeferredSignals
from vaebench.training.trainer import device

EVERY = 60.0
"""Seconds from one to the next: what is lost at most, beside the epoch that was not over; a signal loses nothing."""

log = logging.getLogger(__name__)


class PeriodicCheckpoint(Checkpoint):
    """Writes at the end of every epoch but the last when some time has passed; where it cannot, training goes on.

    A signal that waits is handled when what it would lose is written.

    Args:
        every: seconds.
        write: what is to be done.
        waiting: the signals.
        asked: whether somebody else wants training to stop.
    """

    def __init__(
        self,
        every: float,
        write: Callable[[], None],
        waiting: DeferredSignals,
        asked: Callable[[], bool] = lambda: False,
    ) -> None:
        self.every, self.write, self.waiting, self.asked = every, write, waiting, asked
        self._last = monotonic()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        assert trainer.max_epochs is not None
        if trainer.current_epoch + 1 == trainer.max_epochs:
            return  # what is written then is the trained model
        due, asked = monotonic() - self._last >= self.every, self.asked()
        due, asked = trainer.strategy.broadcast((due or self.waiting.is_asked, asked))  # all processes write, or none
        if due or asked:
            self.now()
        if asked:
            raise StoppedError
        self.waiting.deliver()

    def between(self) -> None:
        """Between two steps: nothing but what a signal asks for."""
        if self.waiting.is_asked:
            self.now()
            self.waiting.deliver()

    def now(self) -> None:
        """Write."""
        try:
            self.write()
        except WriteError as error:
            log.warning("%s; training goes on, and would start again from the last one that could", error)
        self._last = monotonic()


class StoppedError(Exception):
    """The end of a training whose snapshot is written and that somebody else wants to stop."""


def save(pack: Pack, runs: Sequence[Run], folders: Sequence[Path]) -> None:
    """Write the snapshot of every member.

    Raises:
        WriteError: if one cannot be written.
    """
    for i, (run, folder) in enumerate(zip(runs, folders, strict=True)):
        pack.snapshot(i, run.id).save(folder / RESUME)


def found(run: Run, folder: Path, model: Autoencoder, data: PackedData) -> Snapshot | None:
    """The snapshot of a run, if there is one; one that cannot be used is put aside and the run begins anew.

    Args:
        run: whose it is.
        folder: of the run.
        model: not yet trained, that is to go on from it.
        data: that it is trained on.

    Raises:
        NewerSnapshotError: if it is of a newer version.
    """
    path = folder / RESUME
    try:
        snapshot = read(path, run.id)
        _check_noise(path, snapshot.noise)
        _check_alike(path, snapshot.weights, model)
        if reason := _misfit(snapshot, run, model, data):
            raise SnapshotError(f"{path}: does not fit this run: {reason}")
        return snapshot
    except FileNotFoundError:
        return None
    except SnapshotError as error:
        put_aside(path, error)
        return None


def find_trainer_checkpoint(run: Run, folder: Path, build: Callable[[], Autoencoder]) -> Path | None:
    """Lightning's checkpoint of a run trained by itself, if one can be used; another one is put aside.

    Raises:
        NewerSnapshotError: if it is of a newer version.
    """
    path = folder / TRAINER
    try:
        left = contents(path)
        if not isinstance(left, dict):
            raise SnapshotError(f"{path}: no checkpoint of a Trainer")
        if (other := header_of(path).get("run", run.id)) != run.id:
            raise SnapshotError(f"{path}: of another run, {other}")
        _check_noise(path, left.get("noise"))
        _check_alike(path, left.get("state_dict"), build())
        if not isinstance(left.get("curve"), dict) or not 0 <= left.get("epoch", -1) < run.train.epochs:
            raise SnapshotError(f"{path}: its epochs are not this run's")
    except FileNotFoundError:
        return None
    except SnapshotError as error:
        put_aside(path, error)
        return None
    return path


def standing(folder: Path) -> dict[str, Any] | None:
    """What a run that was stopped would go on from, as its file says: epochs and steps; None where there is nothing.

    Raises:
        NewerSnapshotError: if it is of a newer version.
    """
    for name in (RESUME, TRAINER):
        try:
            return header_of(folder / name) or None
        except (FileNotFoundError, SnapshotError):
            continue
    return None


def forget(folder: Path) -> None:
    """Remove what a finished run would go on from."""
    for name in (RESUME, TRAINER):
        (folder / name).unlink(missing_ok=True)


class CurveReplay(lightning.Callback):
    """The curve of a model trained by itself, kept in Lightning's checkpoint and told again when it goes on.

    Args:
        loggers: that hear of every epoch; the first is the curve.
    """

    def __init__(self, loggers: Sequence[Any]) -> None:
        self.loggers = list(loggers)
        self.curve: Curve = self.loggers[0]

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        rows = {epoch: dict(row) for epoch, row in self.curve.rows.items()}
        if trainer.training:  # loggers hear of the training epoch only after its checkpoint
            ended = {k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("train/")}
            rows.setdefault(trainer.current_epoch, {}).update(ended)
        checkpoint["curve"] = rows

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        replay(checkpoint["curve"], self.loggers)


def replay(rows: Mapping[int, Mapping[str, float]], loggers: Sequence[Any]) -> None:
    """Tell loggers the rows of a curve that they have not heard, by epoch."""
    for epoch, row in rows.items():
        for logger in loggers:
            logger.log_metrics({"epoch": float(epoch), **row}, epoch)


def _check_noise(path: Path, noise: Tensor | None) -> None:
    """Refuse what was left on another kind of device: the generators of one cannot go on with the states of the other.

    Raises:
        SnapshotError: naming the device that is here.
    """
    here = generator(0, "any", device())
    if noise is None or noise.shape != here.get_state().shape:
        raise SnapshotError(f"{path}: its noise is not that of a training on this device, {here.device.type}")


def _check_alike(path: Path, weights: Any, model: Autoencoder) -> None:
    """Refuse the weights of another architecture.

    Raises:
        SnapshotError: naming the first that differs.
    """
    mine, theirs = _laid_out(model.state_dict()), _laid_out(weights)
    if odd := sorted(k for k in mine.keys() | theirs.keys() if mine.get(k) != theirs.get(k)):
        raise SnapshotError(f"{path}: does not fit this run: the model has another {odd[0]}")


def _laid_out(weights: Any) -> dict[str, Any]:
    """What has to be the same of two states: names, shapes and kinds of numbers."""
    items = weights.items() if isinstance(weights, dict) else ()
    return {str(name): (t.shape, t.dtype) if isinstance(t, Tensor) else None for name, t in items}


def _misfit(snapshot: Snapshot, run: Run, model: Autoencoder, data: PackedData) -> str | None:
    """Why a run cannot go on from a snapshot of its own name; None where it can."""
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    if snapshot.moments.shape != (2, trained + -trained % ALIGNMENT):
        return f"moments of shape {[*snapshot.moments.shape]} of {trained} parameters"
    order, here = _laid_out(snapshot.order), data.training(run.seed)
    if order != _laid_out(here.next_epoch()):
        return "the order of its batches is written in another way"
    done, given = snapshot.epochs, int(snapshot.order["given"])
    if not 0 <= done <= run.train.epochs or not 0 <= given < len(here):
        return f"{done} of {run.train.epochs} epochs and {given} of {len(here)} steps"
    if snapshot.divergence is None and snapshot.steps != done * len(here) + given:
        return f"{snapshot.steps} steps, of {done} epochs of {len(here)} and {given} more"
    return None


def put_aside(path: Path, error: Exception) -> None:
    """Give a file that no training can go on from another name: it is never used, and never deleted."""
    log.warning("%s; kept as %s, the run begins anew", error, files.put_aside(path).name)
