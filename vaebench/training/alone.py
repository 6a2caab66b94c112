"""A model trained by itself: a LightningModule in a Trainer, on one device or on several (DistributedDataParallel).

Several devices share every batch: each takes its part of the examples, the pixels and the noise of the one batch, and
the gradient is that of the whole. So the number of devices moves a number by rounding alone.
"""

import os
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from time import sleep
from typing import Any, NamedTuple

import lightning
import torch
from lightning.pytorch.loggers.logger import Logger
from torch.multiprocessing.spawn import ProcessRaisedException, start_processes

from vaebench import provenance
from vaebench.atomic import WriteError
from vaebench.config import Run
from vaebench.datamodule import DataModule
from vaebench.models.base import Autoencoder, Diverged
from vaebench.packing.snapshot import contents
from vaebench.registry import DATASETS, MODELS
from vaebench.training.curve import Curve
from vaebench.training.memory import check_fits, outline
from vaebench.training.snapshots import TRAINER, Now, Retold, found_of_trainer, retell
from vaebench.training.trainers import Watch, accelerator, device, interruptible, settle, trainer

CHECKPOINT = "model.ckpt"
"""The trained model's file in a run's folder; `Model.load_from_checkpoint` reads it."""


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


def fit_alone(run: Run, folder: Path, loggers: Sequence[Logger], watch: Watch, every: float) -> Fitted:
    """Train a run on `train.devices` devices and leave its checkpoint; it goes on from Lightning's, if one was left.

    Raises:
        ValueError: if so many devices are not there, or the likelihood needs whole batches.
        Diverged: if the objective is no longer a finite number.
        WriteError: if a checkpoint cannot be written.
    """
    data, curve = data_of(run), Curve()
    data.setup("fit")
    loggers = [curve, *loggers]
    try:
        if run.train.devices == 1:
            model = _train(run, data, folder, loggers, watch, every, {})
        else:
            model = _of_several(run, data, folder, loggers, watch, every)
    except Diverged as error:
        raise advised(error, data) from error
    return Fitted(model, data, curve.columns)


def _of_several(
    run: Run, data: DataModule, folder: Path, loggers: Sequence[Logger], watch: Watch, every: float
) -> Autoencoder:
    """The model that several devices have trained, on the one of this process."""
    if (shapes := outline(run.model, data.shape)) is not None:
        check_fits([shapes], run.train.batch_size)
    model: Autoencoder = MODELS.build(run.model, data.shape, run.seed)
    if model.likelihood.refits:
        raise ValueError(
            f"train.devices: {type(model.likelihood).__name__} takes its variance from a whole batch, "
            f"of which each of {run.train.devices} devices sees a part; use devices: 1"
        )
    _on_several(run, folder, watch, every)
    left = contents(folder / CHECKPOINT)
    retell(left["curve"], loggers)
    model.load_state_dict(left["state_dict"])
    data.to(device())
    return model.to(device())


def _train(
    run: Run,
    data: DataModule,
    folder: Path,
    loggers: Sequence[Logger],
    watch: Watch,
    every: float,
    devices: dict[str, Any],
) -> Autoencoder:
    model: Autoencoder = MODELS.build(run.model, data.shape, run.seed)
    saving = Now(every, lambda: _save(training, folder / TRAINER))
    retold = Retold(loggers)
    clip = run.train.gradient_clip
    training = trainer(run, watch, saving, retold, logger=list(loggers), gradient_clip_val=clip, **devices)
    try:
        with interruptible():
            training.fit(model, datamodule=data, ckpt_path=found_of_trainer(folder), weights_only=True)
    except ValueError as error:
        if all(bool(p.isfinite().all()) for p in model.parameters()):
            raise
        text = f"a parameter is no longer a finite number in epoch {training.current_epoch}"
        raise Diverged(f"{text}; lower model.learning_rate, or set train.gradient_clip") from error
    _save(training, folder / CHECKPOINT)
    return model.to(training.strategy.root_device)


def _on_several(run: Run, folder: Path, watch: Watch, every: float) -> None:
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
    try:
        arguments = (run, folder, watch, every, port, torch.get_num_threads(), os.getpid())
        start_processes(_rank, arguments, nprocs=n, start_method="spawn")
    except ProcessRaisedException as error:
        last = str(error).strip().rpartition("\n")[2]
        kind, _, text = last.partition(": ")
        raise (Diverged(text) if kind.endswith("Diverged") else RuntimeError(last)) from None


def _rank(rank: int, run: Run, folder: Path, watch: Watch, every: float, port: int, threads: int, parent: int) -> None:
    """What each process does."""
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    settle(threads)
    os.environ |= {"LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    data = data_of(run)
    data.setup("fit")
    devices = {"devices": run.train.devices, "strategy": "ddp", "accelerator": accelerator()}
    _train(run, data, folder, [Curve()], watch if rank == 0 else _nobody, every, devices)


def _end_with(parent: int) -> None:
    """End this process with the one that started it, however that ends: it would go on, and the run be begun again."""
    while os.getppid() == parent:
        sleep(0.2)
    os._exit(1)


def _nobody(epoch: int, latest: object) -> None:
    """Only the first process tells of its epochs."""


def _save(training: lightning.Trainer, path: Path) -> None:
    temporary = path.with_suffix(".part")
    try:
        training.save_checkpoint(temporary, weights_only=False)
        if training.is_global_zero:
            os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        temporary.unlink(missing_ok=True)
        raise WriteError(f"{path}: cannot be written ({error}); make room, then run the same command again") from error
