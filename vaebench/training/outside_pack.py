"""One run outside a pack: a LightningModule in a Trainer, on one device or on several (DistributedDataParallel).

Most runs train in a pack, even one alone. `vaebench.training.fit` trains a run here only if it has several devices or
early stopping (`Train.why_not_packed`), or if its model cannot be stacked (`Unpackable`): PPCA, AggressiveVAE, models
that learn from labels, and models of users with training hooks of their own.

Several devices share every batch: each takes its part of the examples, of the random pixels and of the noise, and the
gradient is that of the whole batch. So the number of devices changes results by rounding only.
"""

import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from math import nan
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import lightning
import torch
from lightning.pytorch.loggers.logger import Logger
from torch.multiprocessing.spawn import ProcessRaisedException, start_processes

from vaebench.config import Run, imports
from vaebench.config.registry import MODELS, OPTIMIZERS
from vaebench.data.datamodule import DataModule, data_of
from vaebench.models.base import Autoencoder
from vaebench.models.epoch import PARAMETER, Diverged, describe_divergence
from vaebench.records import provenance
from vaebench.records.files import CHECKPOINT, RESUME
from vaebench.training.callbacks import LearningRateStages, StopEarly
from vaebench.training.checkpoints import SnapshotError, read, save_checkpoint
from vaebench.training.loggers import Curve, replay
from vaebench.training.memory import check_fits, meta_model
from vaebench.training.resume import PeriodicSnapshot, RestOfSnapshot, StoppedError, find_snapshot, put_aside
from vaebench.training.signals import DeferredSignals, exit_with_parent
from vaebench.training.trainer import (
    DeferSignals,
    Fitted,
    ProgressCallback,
    Snapshots,
    accelerator,
    configure_process,
    device,
    interruptible,
    is_tf32_allowed,
    tf32,
    trainer,
    validation,
)


class Job(NamedTuple):
    """What it takes to train a run."""

    run: Run
    folder: Path  # of the run
    on_epoch: ProgressCallback  # called after every epoch
    save_every: float  # seconds between snapshots
    resume: Path | None  # the file of the snapshot from which training continues, or None


def fit_outside_pack(
    run: Run, folder: Path, loggers: Sequence[Logger], on_epoch: ProgressCallback, save_every: float
) -> Fitted:
    """Train a run on `train.devices` devices and write its checkpoint. It continues from its snapshot, if any.

    Raises:
        ValueError: if this machine has fewer devices, or the likelihood needs whole batches.
        Diverged: if the objective is no longer a finite number.
        WriteError: if a checkpoint cannot be written.
        NewerSnapshotError: if a newer version of vaebench wrote the snapshot.
    """
    data = data_of(run)
    data.setup("fit")
    job = Job(run, folder, on_epoch, save_every, resume := _resume(run, folder, data))
    try:
        return _fitted(job, data, loggers)
    except StoppedError:
        # A signal stopped the processes of several devices after a snapshot. Its own handler has been called meanwhile,
        # and did not end this process (a cluster may only want the snapshot). So training continues from there.
        return fit_outside_pack(run, folder, loggers, on_epoch, save_every)
    except SnapshotError as error:
        if resume is None:
            raise
        put_aside(resume, error)
        return _fitted(job._replace(resume=None), data_of(run), loggers)


def _resume(run: Run, folder: Path, data: DataModule) -> Path | None:
    """The file of the run's snapshot, or None.

    A pack's snapshot holds the state of the optimiser (for Adam, running means of gradients) as a matrix, which a
    Trainer cannot read. It is renamed, and the run starts again.
    """
    snapshot, path = find_snapshot(run, folder, MODELS.build(run.model, data.shape, run.seed), data), folder / RESUME
    if snapshot is not None and snapshot.optimizer_state is not None:
        put_aside(path, SnapshotError(f"{path}: a pack trained the run until now, and now a Trainer trains it"))
        return None
    return None if snapshot is None else path


def _fitted(job: Job, data: DataModule, loggers: Sequence[Logger]) -> Fitted:
    curve = Curve()
    data.setup("fit")
    train = _train if job.run.train.devices == 1 else _train_on_several
    try:
        model = train(job, data, [curve, *loggers])
    except Diverged as error:
        raise Diverged(error.what, data.values_too_large or error.remedy) from error
    return Fitted(model, data, curve.columns)


def _train(
    job: Job,
    data: DataModule,
    loggers: Sequence[Logger],
    devices: Mapping[str, Any] = MappingProxyType({}),
    must_stop: Callable[[], bool] = lambda: False,
) -> Autoencoder:
    """Train in this process: on one device, or as one of several processes with `devices` for the Trainer."""
    run, folder = job.run, job.folder
    model = MODELS.build(run.model, data.shape, run.seed)
    model.optimizer = OPTIMIZERS.build(run.train.optimizer)
    signals, started = DeferredSignals(), TrainingStarted()
    saving = PeriodicSnapshot(job.save_every, lambda: _save(training, folder / RESUME), signals, must_stop)
    early = [] if run.train.early_stopping is None else [StopEarly(run.train.early_stopping)]
    callbacks = [started, LearningRateStages(run.train), *early, saving, RestOfSnapshot(loggers)]
    # One of several processes must not stop at a signal while others wait for it: their parent tells all to stop.
    callbacks = callbacks if devices else [DeferSignals(signals), *callbacks]
    clip = run.train.gradient_clip if model.trained_by_gradient else None
    keywords = {"gradient_clip_val": clip, **validation(data), **devices}
    training = trainer(run, job.on_epoch, *callbacks, logger=list(loggers), **keywords)
    with signals.until_saved():
        try:
            with interruptible():
                training.fit(model, datamodule=data, ckpt_path=job.resume, weights_only=True)
            if not devices:
                signals.defer()
            _save(training, folder / RESUME)  # several processes hand over the curve in it
            if training.is_global_zero:
                save_checkpoint(model, folder / CHECKPOINT, training.current_epoch, training.global_step)
        except (RuntimeError, ValueError, LookupError, TypeError, AttributeError) as error:
            if job.resume is not None and not started.has_started:
                reason = " ".join(str(error).split())[:200]
                raise SnapshotError(f"{job.resume}: does not fit this run ({type(error).__name__}: {reason})") from None
            # torch.distributions raises a ValueError for a parameter that is not finite.
            if not isinstance(error, ValueError) or all(bool(p.isfinite().all()) for p in model.parameters()):
                raise
            where = f"epoch {training.current_epoch + 1}"
            raise Diverged(describe_divergence(PARAMETER, nan, where)) from error
    return model.to(training.strategy.root_device)


class TrainingStarted(lightning.Callback):
    """Whether training has started. Until then, an error may come from the snapshot."""

    has_started = False

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.has_started = True


def _train_on_several(job: Job, data: DataModule, loggers: Sequence[Logger]) -> Autoencoder:
    """Train with one process per device; the trained model is on the device of this process."""
    run = job.run
    if (shapes := meta_model(run.model, data.shape)) is not None:
        check_fits([shapes], run.train.batch_size)
    model = MODELS.build(run.model, data.shape, run.seed)
    if model.why_one_device is not None:
        raise ValueError(
            f"train.devices: {type(model).__name__} trains on one device: {model.why_one_device}; use devices: 1"
        )
    if model.likelihood.refits:  # it computes its variance from the errors of the data, as OptimalGaussian
        raise ValueError(
            f"train.devices: {type(model.likelihood).__name__} takes its variance from a whole batch, "
            f"but each of {run.train.devices} devices has only a part of it; use devices: 1"
        )
    _check_devices(run.train.devices)
    _run_processes(job)
    trained = read(job.folder / RESUME, run.id)
    replay(trained.rows, loggers)
    model.load_state_dict(trained.weights)
    data.to(device())
    return model.to(device())


def _check_devices(n: int) -> None:
    there = torch.cuda.device_count()
    if there and n > there:
        raise ValueError(
            f"train.devices: expected at most {there}, the GPUs that are visible here, got {n}; "
            f"with an engine that has workers, --gpus {n} gives a pack that many"
        )
    if not there and n > (cores := provenance.cores()):
        raise ValueError(f"train.devices: expected at most {cores}, the cores of this machine without a GPU, got {n}")


def _run_processes(job: Job) -> None:
    """Train with one process per device. The first process writes the checkpoint, with the curve."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spawn, signals = multiprocessing.get_context("spawn"), DeferredSignals()
    stop, errors = spawn.Event(), spawn.SimpleQueue()
    arguments = (job, stop, errors, port, torch.get_num_threads(), os.getpid(), is_tf32_allowed())
    context = start_processes(_rank, arguments, nprocs=job.run.train.devices, join=False, start_method="spawn")
    with signals.until_saved():
        signals.defer()
        try:
            while not context.join(timeout=0.2):
                if signals.is_pending:
                    stop.set()  # the processes write a snapshot together, and then raise StoppedError
        except ProcessRaisedException as raised:
            error = raised if errors.empty() else errors.get()
            if isinstance(error, StoppedError):
                signals.deliver()
            raise error from None
        finally:
            for process in context.processes:
                process.kill()


def _rank(
    rank: int, job: Job, stop: Any, errors: Any, port: int, threads: int, parent: int, tf32_allowed: bool
) -> None:
    """One of the processes. It ignores Ctrl-C, which reaches all of them: their parent tells them to stop."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=exit_with_parent, args=(parent,), daemon=True).start()
    configure_process(threads)
    imports.use(job.run.imports)
    os.environ |= {"LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    job = job if rank == 0 else job._replace(on_epoch=lambda epoch, latest: None)  # only the first reports progress
    try:
        data = data_of(job.run)
        data.setup("fit")
        devices = {"devices": job.run.train.devices, "strategy": "ddp", "accelerator": accelerator()}
        with tf32(tf32_allowed):
            _train(job, data, [Curve()], devices, stop.is_set)
    except Exception as error:
        # `_run_processes` raises the first error of all processes. One of an unknown kind may not be picklable.
        known = isinstance(error, Diverged | SnapshotError | StoppedError)
        errors.put(error if known else RuntimeError(f"{type(error).__name__}: {error}"))
        raise


def _save(training: lightning.Trainer, path: Path) -> None:
    """Write a snapshot. All processes must call this together.

    Raises:
        WriteError: in the process that writes.
    """
    training.save_checkpoint(path, weights_only=False)
    writer = training.strategy.checkpoint_io
    if isinstance(writer, Snapshots) and writer.error is not None:
        raise writer.error
