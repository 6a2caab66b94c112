"""When a run leaves a snapshot, and whether it can continue from the one that it finds."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import lightning
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor

from vaebench.config import Run
from vaebench.config.registry import OPTIMIZERS
from vaebench.config.seeding import generator
from vaebench.data.datamodule import DataModule
from vaebench.models.base import Autoencoder
from vaebench.models.epoch import TRAINING_OBJECTIVE
from vaebench.records import files
from vaebench.records.files import RESUME, WriteError
from vaebench.training.checkpoints import CHECKSUM, Snapshot, SnapshotError, header_of, read
from vaebench.training.loggers import Curve, replay
from vaebench.training.packed.module import Pack
from vaebench.training.packed.stacked import ALIGNMENT
from vaebench.training.signals import DeferredSignals
from vaebench.training.trainer import device

SAVE_EVERY = 60.0
"""Seconds between snapshots. A crash loses at most this much and the unfinished epoch; a signal loses nothing."""

log = logging.getLogger(__name__)


class PeriodicSnapshot(Checkpoint):
    """Writes a snapshot at the end of an epoch, if enough time has passed. It skips the last epoch.

    A deferred signal is handled after the snapshot is written. If writing fails, training continues with a warning.

    Args:
        save_every: seconds between snapshots.
        write: writes the snapshot.
        signals: the deferred signals.
        must_stop: whether the parent process wants training to stop.
    """

    def __init__(
        self,
        save_every: float,
        write: Callable[[], None],
        signals: DeferredSignals,
        must_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.save_every, self.write, self.signals, self.must_stop = save_every, write, signals, must_stop
        self._last = monotonic()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        assert trainer.max_epochs is not None
        if trainer.current_epoch + 1 == trainer.max_epochs:
            return  # the trained model itself is written next
        due, must_stop = monotonic() - self._last >= self.save_every or self.signals.is_pending, self.must_stop()
        # The first process decides for all of them: either all processes write a snapshot, or none does.
        due, must_stop = trainer.strategy.broadcast((due, must_stop))
        if due or must_stop:
            self.write_now()
        if must_stop:
            raise StoppedError
        self.signals.deliver()

    def between_steps(self) -> None:
        """Between two steps of an epoch: write only if a signal is waiting, and handle the signal."""
        if self.signals.is_pending:
            self.write_now()
            self.signals.deliver()

    def write_now(self) -> None:
        """Write a snapshot, or log a warning if that fails."""
        try:
            self.write()
        except WriteError as error:
            log.warning(
                "%s; training goes on, and after a crash it would continue from the last snapshot that was written",
                error,
            )
        self._last = monotonic()


class StoppedError(Exception):
    """Training was asked to stop, and its snapshot is written."""


def save(pack: Pack, runs: Sequence[Run], folders: Sequence[Path]) -> None:
    """Write the snapshot of every member.

    Raises:
        WriteError: if one cannot be written.
    """
    for i, (run, folder) in enumerate(zip(runs, folders, strict=True)):
        pack.snapshot(i, run.id).save(folder / RESUME)


def find_snapshot(run: Run, folder: Path, model: Autoencoder, data: DataModule) -> Snapshot | None:
    """The snapshot of a run, or None. A file that cannot be used is put aside, and the run starts again.

    Args:
        model: the untrained model that would continue from it.

    Raises:
        NewerSnapshotError: if a newer version of vaebench wrote it.
    """
    path = folder / RESUME
    try:
        snapshot = read(path, run.id)
        _check_noise(path, snapshot.noise)
        _check_architecture(path, snapshot.weights, model)
        if reason := _misfit(snapshot, run, model, data):
            raise SnapshotError(f"{path}: does not fit this run: {reason}")
        return snapshot
    except FileNotFoundError:
        return None
    except SnapshotError as error:
        put_aside(path, error)
        return None


def resume_point(folder: Path) -> dict[str, Any] | None:
    """The epochs and steps after which a stopped run would continue, from the header of its file, or None.

    Raises:
        NewerSnapshotError: if a newer version of vaebench wrote it.
    """
    try:
        return header_of(folder / RESUME) or None
    except (FileNotFoundError, SnapshotError):
        return None


class RestOfSnapshot(lightning.Callback):
    """Puts the curve of a run outside a pack and the checksum of its data into its snapshots.

    It logs the curve again when the run continues.

    Args:
        loggers: of the run; the first is the curve.
    """

    def __init__(self, loggers: Sequence[Any]) -> None:
        self.loggers = list(loggers)
        self.curve: Curve = self.loggers[0]

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        rows = {row[0]: row for row in self.curve.finished()}
        if trainer.training:  # Lightning logs the training objective only after this checkpoint, so it is added here
            epoch = trainer.current_epoch
            *_, numbers = rows.get(epoch, (epoch, 0, {}))
            ended = {TRAINING_OBJECTIVE: float(trainer.callback_metrics[TRAINING_OBJECTIVE])}
            rows[epoch] = epoch, trainer.global_step, numbers | ended
        checkpoint["rows"] = list(rows.values())
        checkpoint[CHECKSUM] = trainer.datamodule.checksum  # type: ignore[attr-defined]

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        replay(checkpoint["rows"], self.loggers)


def _check_noise(path: Path, noise: Tensor | None) -> None:
    """Refuse a file of another kind of device: its random generators cannot continue from a state of this kind.

    Raises:
        SnapshotError: naming the device that is here.
    """
    here = generator(0, "any", device())
    if noise is None or noise.shape != here.get_state().shape:
        raise SnapshotError(f"{path}: its noise is not that of a training on this device, {here.device.type}")


def _check_architecture(path: Path, weights: Any, model: Autoencoder) -> None:
    """Refuse the weights of another architecture.

    Raises:
        SnapshotError: naming the first tensor that differs.
    """
    mine, theirs = _layout(model.state_dict()), _layout(weights)
    if odd := sorted(k for k in mine.keys() | theirs.keys() if mine.get(k) != theirs.get(k)):
        raise SnapshotError(f"{path}: does not fit this run: the model has another {odd[0]}")


def _layout(weights: Any) -> dict[str, Any]:
    """The shape and type of every tensor of a state, by name."""
    items = weights.items() if isinstance(weights, dict) else ()
    return {str(name): (t.shape, t.dtype) if isinstance(t, Tensor) else None for name, t in items}


def _misfit(snapshot: Snapshot, run: Run, model: Autoencoder, data: DataModule) -> str | None:
    """Why a run cannot continue from a snapshot with its id, or None if it can."""
    if snapshot.data not in ("", data.checksum):
        return f"its data have changed since: SHA-256 {snapshot.data[:10]}…, now {data.checksum[:10]}…"
    order, here = _layout(snapshot.order), data.training(run.seed)
    if order != _layout(here.next_epoch()):
        return "the order of its batches is written in another way"
    done, given = snapshot.epochs, int(snapshot.order["given"])
    if not 0 <= done <= run.train.epochs or not 0 <= given < len(here):
        return f"{done} of {run.train.epochs} epochs and {given} of {len(here)} steps"
    if snapshot.optimizer_state is None:
        return None  # a run outside a pack: Lightning checks the rest
    if snapshot.divergence is None and snapshot.steps != done * len(here) + given:
        return f"{snapshot.steps} steps, of {done} epochs of {len(here)} and {given} more"
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    remembered = len(OPTIMIZERS.named(run.train.optimizer).packed.states)
    if snapshot.optimizer_state.shape != (remembered, trained + -trained % ALIGNMENT):
        return f"optimiser state of shape {[*snapshot.optimizer_state.shape]} of {trained} parameters"
    return None


def put_aside(path: Path, error: Exception) -> None:
    """Rename a file from which no training can continue. It is never used again, and never deleted."""
    log.warning("%s; kept as %s, the run begins anew", error, files.put_aside(path).name)
