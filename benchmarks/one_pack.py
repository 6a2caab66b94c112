"""A pack trained on a device, with the time of each epoch, for `benchmarks/gpu.py`."""

import json
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import vaebench  # noqa: F401 (before lightning)

# isort: split

import lightning
import torch
from clock import now

from vaebench.config import Run
from vaebench.config.registry import DATASETS, MODELS
from vaebench.data.datasets.base import Dataset, data_root
from vaebench.models.base import Autoencoder
from vaebench.training.packed import cuda_graph
from vaebench.training.packed.loaders import PackedData
from vaebench.training.packed.module import Pack
from vaebench.training.trainer import accelerator, tf32


class Training(NamedTuple):
    """The models, where they were trained, the losses of each by epoch, and when each epoch ended, in seconds."""

    models: list[Autoencoder]
    device: torch.device
    losses: list[list[float]]
    marks: list[float]
    steps: int


class Clock(lightning.Callback):
    """Notes when an epoch ends."""

    def __init__(self) -> None:
        self.marks = [now()]

    def on_train_epoch_end(self, *_: object) -> None:
        self.marks.append(now())


def train(
    runs: Sequence[Run],
    where: str | None = None,
    *,
    make: Callable[..., Autoencoder] = MODELS.build,
    graphs: bool = True,
    fast: bool = False,
) -> Training:
    """Train runs as one pack.

    Args:
        runs: of one pack.
        where: Lightning's name of the device; None for the GPU if there is one.
        make: builds a model from its configuration, the shape of an observation and a seed.
        graphs: whether CUDA graphs are used.
        fast: whether TF32 is.
    """
    data = PackedData(dataset_of(runs[0]), [run.seed for run in runs], batch_size=runs[0].train.batch_size)
    data.setup("fit")
    clock, warm_up = Clock(), cuda_graph.WARM_UP
    trainer = lightning.Trainer(
        max_epochs=runs[0].train.epochs, accelerator=where or accelerator(), devices=1, logger=False, callbacks=[clock],
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
        check_val_every_n_epoch=runs[0].train.validate_every,
    )  # fmt: skip
    pack = Pack([make(run.model, data.shape, run.seed) for run in runs])
    cuda_graph.WARM_UP = warm_up if graphs else 10**9
    try:
        with tf32(fast):
            trainer.fit(pack, datamodule=data)
    finally:
        cuda_graph.WARM_UP = warm_up
    losses = [[float(x) for x in curve.columns["train/objective"] if x is not None] for curve in pack.logs.curves]
    steps = trainer.global_step // runs[0].train.epochs
    return Training(list(pack.members), trainer.strategy.root_device, losses, clock.marks, steps)


def dataset_of(run: Run) -> Dataset:
    """The data set of a run. It is read once."""
    return _read(json.dumps(run.config["data"]))


@cache
def _read(spec: str) -> Dataset:
    dataset: Any = DATASETS.build(json.loads(spec))
    splits = dataset.load(data_root())
    dataset.load = lambda root: splits
    return dataset
