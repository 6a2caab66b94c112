"""A model trained by itself: a LightningModule in a Trainer, on one device or on several (DistributedDataParallel).

Several devices share every batch: each takes its part of the examples, the pixels and the noise of the one batch, and
the gradient is that of the whole. So the number of devices moves a number by rounding alone.
"""

import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from time import sleep
from typing import Any, NamedTuple

import lightning
import torch
from lightning.pytorch.loggers.logger import Logger
from torch.multiprocessing.spawn import ProcessRaisedException, start_processes

from vaebench.config import Run
from vaebench.config.registry import DATASETS, MODELS
from vaebench.data.datamodule import DataModule
from vaebench.models.base import Autoencoder, Diverged
from vaebench.models.epoch import REMEDY
from vaebench.records import provenance
from vaebench.records.run_folder import CHECKPOINT, TRAINER
from vaebench.training.curve import Curve
from vaebench.training.memory import check_fits, outline
from vaebench.training.packed.snapshot import SnapshotError, contents
from vaebench.training.resume import (
    CurveReplay,
    PeriodicCheckpoint,
    StoppedError,
    find_trainer_checkpoint,
    put_aside,
    replay,
)
from vaebench.training.signals import DeferredSignals
from vaebench.training.trainer import (
    DeferSignals,
    ProgressCallback,
    SealedCheckpoints,
    accelerator,
    configure_process,
    device,
    interruptible,
    trainer,
)


class Fitted(NamedTuple):
    """A run's trained model, the data that it was trained on, and the columns of its curve."""

    model: Autoencoder
    data: DataModule
    curve: dict[str, list[float | None]]


def advised(error: Diverged, data: DataModule) -> Diverged:
    """The error, with other advice where the cause is the data: no learning rate would help."""
    return error if data.too_large is None else Diverged(f"{str(error).partition(';')[0]}; {data.too_large}")


def data_of(run: Run) -> DataModule:
    """The data of a run, not yet loaded."""
    return DataModule(DATASETS.build(run.data), run.seed, batch_size=run.train.batch_size)


def fit_single(run: Run, folder: Path, loggers: Sequence[Logger], watch: ProgressCallback, every: float) -> Fitted:
    """Train a run on `train.devices` devices and leave its checkpoint; it goes on from Lightning's, if one was left.

    Raises:
        ValueError: if so many devices are not there, or the likelihood needs whole batches.
        Diverged: if the objective is no longer a finite number.
        WriteError: if a checkpoint cannot be written.
        NewerSnapshotError: if what it would go on from is of a newer version.
    """
    data = data_of(run)
    data.setup("fit")
    left = find_trainer_checkpoint(run, folder, lambda: MODELS.build(run.model, data.shape, run.seed))
    try:
        return _fitted(run, data, folder, loggers, watch, every, left)
    except StoppedError:  # by a signal that is no reason to stop
        return fit_single(run, folder, loggers, watch, every)
    except SnapshotError as error:
        if left is None:
            raise
        put_aside(left, error)
        return _fitted(run, data_of(run), folder, loggers, watch, every, None)


def _fitted(
    run: Run,
    data: DataModule,
    folder: Path,
    loggers: Sequence[Logger],
    watch: ProgressCallback,
    every: float,
    left: Path | None,
) -> Fitted:
    curve = Curve()
    data.setup("fit")
    loggers = [curve, *loggers]
    try:
        if run.train.devices == 1:
            model = _train(run, data, folder, loggers, watch, every, left, {})
        else:
            model = _of_several(run, data, folder, loggers, watch, every, left)
    except Diverged as error:
        raise advised(error, data) from error
    return Fitted(model, data, curve.columns)


def _of_several(
    run: Run,
    data: DataModule,
    folder: Path,
    loggers: Sequence[Logger],
    watch: ProgressCallback,
    every: float,
    left: Path | None,
) -> Autoencoder:
    """The model that several devices have trained, on the one of this process."""
    if (shapes := outline(run.model, data.shape)) is not None:
        check_fits([shapes], run.train.batch_size)
    model = MODELS.build(run.model, data.shape, run.seed)
    if model.likelihood.refits:
        raise ValueError(
            f"train.devices: {type(model.likelihood).__name__} takes its variance from a whole batch, "
            f"of which each of {run.train.devices} devices sees a part; use devices: 1"
        )
    _on_several(run, folder, watch, every, left)
    trained = contents(folder / CHECKPOINT)
    replay(trained["curve"], loggers)
    model.load_state_dict(trained["state_dict"])
    data.to(device())
    return model.to(device())


def _train(
    run: Run,
    data: DataModule,
    folder: Path,
    loggers: Sequence[Logger],
    watch: ProgressCallback,
    every: float,
    left: Path | None,
    devices: dict[str, Any],
    asked: Callable[[], bool] = lambda: False,
) -> Autoencoder:
    model = MODELS.build(run.model, data.shape, run.seed)
    patient, begun = DeferSignals(is_one=not devices), TrainingStarted()
    saving = PeriodicCheckpoint(every, lambda: _save(training, folder / TRAINER), patient.waiting, asked)
    callbacks, clip = (patient, begun, saving, CurveReplay(loggers)), run.train.gradient_clip
    training = trainer(run, watch, *callbacks, logger=list(loggers), gradient_clip_val=clip, **devices)
    try:
        with interruptible():
            training.fit(model, datamodule=data, ckpt_path=left, weights_only=True)
        if patient.is_one:
            patient.waiting.hold()
        _save(training, folder / CHECKPOINT)
    except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
        if left is not None and not begun.has:
            reason = " ".join(str(error).split())[:200]
            raise SnapshotError(f"{left}: does not fit this run ({type(error).__name__}: {reason})") from None
        if not isinstance(error, ValueError) or all(bool(p.isfinite().all()) for p in model.parameters()):
            raise
        text = f"a parameter is no longer a finite number in epoch {training.current_epoch}"
        raise Diverged(f"{text}; {REMEDY}") from error
    finally:
        patient.waiting.let_go()
    patient.waiting.deliver()
    return model.to(training.strategy.root_device)


class TrainingStarted(lightning.Callback):
    """Whether training has begun, and all that it goes on from was taken over."""

    has = False

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.has = True


def _on_several(run: Run, folder: Path, watch: ProgressCallback, every: float, left: Path | None) -> None:
    """Train in a process a device; the first leaves the checkpoint, with the curve."""
    n, there = run.train.devices, torch.cuda.device_count()
    if there and n > there:
        raise ValueError(
            f"train.devices: expected at most {there}, the GPUs that are visible here, got {n}; "
            f"an engine with workers gives a pack as many by --gpus {n}"
        )
    if not there and n > (cores := provenance.cores()):
        raise ValueError(f"train.devices: expected at most {cores}, the cores of this machine without a GPU, got {n}")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    asked, waiting = multiprocessing.get_context("spawn").Event(), DeferredSignals()
    arguments = (run, folder, watch, every, left, asked, port, torch.get_num_threads(), os.getpid())
    context = start_processes(_rank, arguments, nprocs=n, join=False, start_method="spawn")
    waiting.hold()
    try:
        while not context.join(timeout=0.2):
            if waiting.is_asked:
                asked.set()
    except ProcessRaisedException as error:
        last = str(error).strip().rpartition("\n")[2]
        kind, _, text = last.partition(": ")
        if kind.endswith(StoppedError.__name__):
            waiting.deliver()
        known = next((k for k in (Diverged, SnapshotError, StoppedError) if kind.endswith(k.__name__)), None)
        raise (RuntimeError(last) if known is None else known(text)) from None
    finally:
        waiting.let_go()
        for process in context.processes:
            process.kill()
    waiting.deliver()


def _rank(
    rank: int,
    run: Run,
    folder: Path,
    watch: ProgressCallback,
    every: float,
    left: Path | None,
    asked: Any,
    port: int,
    threads: int,
    parent: int,
) -> None:
    """What each process does. Ctrl-C comes to all of them, and the one that started them asks them to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    configure_process(threads)
    os.environ |= {"LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    data = data_of(run)
    data.setup("fit")
    devices = {"devices": run.train.devices, "strategy": "ddp", "accelerator": accelerator()}
    _train(run, data, folder, [Curve()], watch if rank == 0 else _nobody, every, left, devices, asked.is_set)


def _end_with(parent: int) -> None:
    """End this process with the one that started it, however that ends: it would go on, and the run be begun again."""
    while os.getppid() == parent:
        sleep(0.2)
    os._exit(1)


def _nobody(epoch: int, latest: object) -> None:
    """Only the first process tells of its epochs."""


def _save(training: lightning.Trainer, path: Path) -> None:
    """Write Lightning's checkpoint, in all processes at once.

    Raises:
        WriteError: in the process that writes.
    """
    training.save_checkpoint(path, weights_only=False)
    writer = training.strategy.checkpoint_io
    if isinstance(writer, SealedCheckpoints) and writer.error is not None:
        raise writer.error
