"""What a run goes on from if it is stopped: written now and then where its record will stand, and gone with the record.

A run that packs leaves a snapshot of its own, so that it goes on alone, in another pack or on another engine. One that
does not leaves Lightning's checkpoint, with its curve.
"""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import lightning
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor

from vaebench.atomic import WriteError
from vaebench.config import Run
from vaebench.packing.pack import Pack
from vaebench.packing.snapshot import Snapshot, SnapshotError, contents, read
from vaebench.seeding import generator
from vaebench.training.curve import Curve
from vaebench.training.trainers import device

MEMBER, TRAINER = "resume.ckpt", "trainer.ckpt"
"""The files in a run's folder: a member's snapshot, Lightning's checkpoint of a model trained by itself."""

EVERY = 60.0
"""Seconds from one to the next: what is lost at most, beside the epoch that was not over."""

log = logging.getLogger(__name__)


class Now(Checkpoint):
    """Writes at the end of every epoch but the last when some time has passed; where it cannot, training goes on.

    Args:
        every: seconds.
        write: what is to be done.
    """

    def __init__(self, every: float, write: Callable[[], None]) -> None:
        self.every, self.write = every, write
        self._last = monotonic()

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        assert trainer.max_epochs is not None
        due = monotonic() - self._last >= self.every and trainer.current_epoch + 1 < trainer.max_epochs
        if trainer.strategy.broadcast(due):  # several processes write together or not at all
            self.now()

    def now(self) -> None:
        """Write."""
        try:
            self.write()
        except WriteError as error:
            log.warning("%s; training goes on, and would start again from the last one that could", error)
        self._last = monotonic()


def save(pack: Pack, runs: Sequence[Run], folders: Sequence[Path]) -> None:
    """Write the snapshot of every member.

    Raises:
        WriteError: if one cannot be written.
    """
    for i, (run, folder) in enumerate(zip(runs, folders, strict=True)):
        pack.snapshot(i, run.id).save(folder / MEMBER)


def found(run: Run, folder: Path) -> Snapshot | None:
    """The snapshot of a run, if there is one; one that cannot be used is put aside and the run begins anew."""
    try:
        snapshot = read(folder / MEMBER, run.id)
        _check_noise(folder / MEMBER, snapshot.noise)
        return snapshot
    except FileNotFoundError:
        return None
    except SnapshotError as error:
        _put_aside(folder / MEMBER, error)
        return None


def found_of_trainer(folder: Path) -> Path | None:
    """Lightning's checkpoint of a run trained by itself, if one can be used; another one is put aside."""
    path = folder / TRAINER
    try:
        left = contents(path)
        _check_noise(path, left.get("noise") if isinstance(left, dict) else None)
    except FileNotFoundError:
        return None
    except SnapshotError as error:
        _put_aside(path, error)
        return None
    return path


def forget(folder: Path) -> None:
    """Remove what a finished run would go on from."""
    for name in (MEMBER, TRAINER):
        (folder / name).unlink(missing_ok=True)


class Retold(lightning.Callback):
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
        retell(checkpoint["curve"], self.loggers)


def retell(rows: Mapping[int, Mapping[str, float]], loggers: Sequence[Any]) -> None:
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


def _put_aside(path: Path, error: Exception) -> None:
    aside = path.with_suffix(".damaged")
    os.replace(path, aside)
    log.warning("%s; kept as %s, the run begins anew", error, aside.name)
