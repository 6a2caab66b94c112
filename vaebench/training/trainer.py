"""Lightning's Trainer as every run has it."""

import gc
import io
import logging
import signal
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities.exceptions import SIGTERMException

from vaebench.config import Run
from vaebench.records.archive import sealed
from vaebench.records.files import WriteError, write_atomically
from vaebench.training.curve import Report, Validation
from vaebench.training.packed.snapshot import FORMAT, contents
from vaebench.training.signals import DeferredSignals, handled

ProgressCallback = Callable[[int, Mapping[str, float]], None]
"""Told of every finished epoch: how many, and the latest numbers."""


def trainer(run: Run, watch: ProgressCallback, *callbacks: lightning.Callback, **keywords: Any) -> lightning.Trainer:
    """The Trainer of a run, on one device unless said."""
    keywords = {"devices": 1, "accelerator": accelerator(), **keywords}
    return lightning.Trainer(
        max_epochs=run.train.epochs,
        callbacks=[Validation(), Report(watch), *callbacks],
        check_val_every_n_epoch=run.train.validate_every,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        plugins=[
            LightningEnvironment(),
            SealedCheckpoints(run),
        ],  # Lightning would take a SLURM job's tasks, and its signals, for its own
        log_every_n_steps=1,  # nothing is logged at a step; a larger interval only draws a warning
        **keywords,
    )


def configure_process(threads: int) -> None:
    """Set what belongs to a process that trains: its threads, and what Lightning says unasked."""
    torch.set_num_threads(threads)
    if not gc.get_freeze_count():
        gc.freeze()  # the libraries' objects stay as long as the process: to walk them all takes 0.3 s every time
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.fabric").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", r".isinstance\(treespec, LeafSpec\). is deprecated", FutureWarning)
    warnings.filterwarnings("ignore", r"torch.distributed.nn.functional.all_gather is deprecated", FutureWarning)
    warnings.filterwarnings("ignore", r"The .srun. command is available", UserWarning)  # on a login node of SLURM
    # What is logged is the same number in every process already.
    warnings.filterwarnings("ignore", r"It is recommended to use .*sync_dist=True")


def accelerator() -> str:
    """What there is to compute on, in Lightning's word."""
    return "gpu" if torch.cuda.is_available() else "cpu"


def device() -> torch.device:
    """Where one process computes: what Lightning takes of that."""
    return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")


class DeferSignals(lightning.Callback):
    """While a model trains, a signal waits for the end of a step or an epoch, and is handled as before Lightning.

    What is trained is written before it is let go: `hold` again after `fit`, which lets go of some.

    Args:
        is_one: whether this process trains alone; one of several would end while the others wait for it.

    Attributes:
        waiting: the signals.
    """

    def __init__(self, is_one: bool = True) -> None:
        self.waiting, self.is_one = DeferredSignals(), is_one

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if self.is_one:
            self.waiting.hold()  # only here has Lightning put its own handler in place

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        self.waiting.let_go()


class SealedCheckpoints(TorchCheckpointIO):
    """Lightning's checkpoints, written whole and with a seal, and read only if it is not broken.

    Args:
        run: whose they are.

    Attributes:
        error: why the last one could not be written; raised by whoever saves, for other processes wait meanwhile.
    """

    def __init__(self, run: Run) -> None:
        self.run, self.error = run, None

    error: WriteError | None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        content, self.error = io.BytesIO(), None
        torch.save(checkpoint, content)
        epochs = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
        about = {"format": FORMAT, "run": self.run.id, "epochs": epochs, "steps": checkpoint["global_step"]}
        try:
            write_atomically(Path(path), sealed(content.getvalue(), **about))
        except WriteError as error:
            self.error = error

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> Any:
        return contents(Path(path))


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C as KeyboardInterrupt; Lightning turns it into an exit and leaves the signal ignored."""
    with handled(signal.SIGINT):
        try:
            yield
        except SystemExit as exit_:
            if isinstance(exit_, SIGTERMException) or isinstance(exit_.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from exit_
            raise  # not Lightning's: a cluster's, which queues the job again
