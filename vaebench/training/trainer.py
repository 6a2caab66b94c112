"""Lightning's Trainer, as every run uses it."""

import gc
import logging
import signal
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import lightning
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities.exceptions import SIGTERMException

from vaebench.config import Run
from vaebench.data.datamodule import DataModule
from vaebench.models.base import Autoencoder
from vaebench.records.files import WriteError
from vaebench.training.callbacks import EpochPictures, ReportProgress, Validation
from vaebench.training.checkpoints import Snapshot, read
from vaebench.training.signals import DeferredSignals, handled

ProgressCallback = Callable[[int, Mapping[str, float]], None]
"""Called after every epoch with the number of finished epochs and the newest number of the curve, by its heading."""


class Fitted(NamedTuple):
    """The trained model of a run, its data, the columns of its curve, and how many of its steps were compiled."""

    model: Autoencoder
    data: DataModule
    curve: dict[str, list[float | None]]
    compiled_steps: int = 0


def trainer(run: Run, on_epoch: ProgressCallback, *callbacks: lightning.Callback, **keywords: Any) -> lightning.Trainer:
    """The Trainer of a run; on one device, unless `keywords` say otherwise."""
    keywords = {"devices": 1, "accelerator": accelerator(), **keywords}
    return lightning.Trainer(
        max_epochs=run.train.epochs,
        callbacks=[Validation(), ReportProgress(on_epoch), EpochPictures(), *callbacks],
        check_val_every_n_epoch=run.train.validate_every,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        # Without LightningEnvironment, Lightning inside a SLURM job would use the job's tasks and signals for itself.
        plugins=[LightningEnvironment(), Snapshots(run)],
        log_every_n_steps=1,  # no step logs anything; a larger interval only causes a warning
        **keywords,
    )


def validation(data: DataModule) -> dict[str, Any]:
    """Keywords of the Trainer: it validates nothing if the data has no validation split."""
    return {} if data.sizes["validation"] else {"limit_val_batches": 0}


def configure_process(threads: int) -> None:
    """Prepare a process for training: set its threads and precision, and silence what Lightning logs by default."""
    torch.set_num_threads(threads)
    allow_tf32(False)  # by default torch allows it in convolutions
    if not gc.get_freeze_count():
        gc.freeze()  # libraries' objects live as long as the process; a garbage collection over them takes 0.3 s
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", r".isinstance\(treespec, LeafSpec\). is deprecated", FutureWarning)
    warnings.filterwarnings("ignore", r"torch.distributed.nn.functional.all_gather is deprecated", FutureWarning)
    warnings.filterwarnings("ignore", r"The .srun. command is available", UserWarning)  # on a login node of SLURM
    # Every process logs the same number already.
    warnings.filterwarnings("ignore", r"It is recommended to use .*sync_dist=True")


def accelerator() -> str:
    """Lightning's name for the available device."""
    return "gpu" if torch.cuda.is_available() else "cpu"


def device() -> torch.device:
    """The device that Lightning chooses for one process."""
    return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")


class DeferSignals(lightning.Callback):
    """Lets signals wait while a model trains.

    Lightning puts some handlers back when `fit` ends, so call `signals.defer()` again after it.
    """

    def __init__(self, signals: DeferredSignals) -> None:
        self.signals = signals

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.signals.defer()  # Lightning installs its own handlers just before this call, and would replace ours

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        self.signals.restore()


class Snapshots(TorchCheckpointIO):
    """Lets Lightning write its checkpoints as snapshots of a run, and continue from them.

    Args:
        run: the run that they belong to.

    Attributes:
        error: why the last snapshot could not be written. The caller raises it later: other processes wait here.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.error: WriteError | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        self.error = None
        try:
            Snapshot.of_trainer(self.run.id, checkpoint).save(Path(path))
        except WriteError as error:
            self.error = error

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> Any:
        return read(Path(path), self.run.id).checkpoint()


@contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C raise KeyboardInterrupt. Lightning would turn it into an exit and ignore the signal afterwards."""
    with handled(signal.SIGINT):
        try:
            yield
        except SystemExit as exit_:
            if isinstance(exit_, SIGTERMException) or isinstance(exit_.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from exit_
            raise  # not by Lightning, but by a cluster that queues the job again


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """A block in which TF32 is allowed or not. After it, TF32 is not allowed.

    With TF32, matrix products and convolutions on a CUDA device have 10 bits of mantissa instead of 23. On an H200 a
    large product is eight times as fast. Training may use it if the user asks for it. Evaluation never does, so bounds
    are always computed in float32. On a CPU nothing changes.
    """
    allow_tf32(allowed)
    try:
        yield
    finally:
        allow_tf32(False)


def is_tf32_allowed() -> bool:
    """Whether TF32 is allowed now."""
    return torch.backends.cudnn.allow_tf32


def allow_tf32(allowed: bool) -> None:
    """Allow TF32, or compute in float32 alone."""
    # On some CPUs "high" would change the products too.
    torch.set_float32_matmul_precision("high" if allowed and torch.cuda.is_available() else "highest")
    torch.backends.cudnn.allow_tf32 = allowed
