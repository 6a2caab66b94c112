"""Small trainings on any number of devices, all in one group of processes: `trained(devices, folder)`."""

import os
import socket
from pathlib import Path

import torch
from torch.multiprocessing.spawn import start_processes

from vaebench.config import Run
from vaebench.config.registry import MODELS, POSTERIORS, PRIORS
from vaebench.data.datamodule import DataModule
from vaebench.data.datasets.base import Dataset, Examples, Splits
from vaebench.training.loggers import Curve
from vaebench.training.trainer import configure_process, trainer

SIZES = ((1, 1), (5, 4), (8, 3))
"""Numbers of observations and batch sizes: N mod batch is 0, 1 and 2, and both are below and above 3 devices.

A VAE is trained at all of them, and the others take turns.
"""

SPECS = [
    *({"name": name} for name in MODELS if MODELS[name].trained_by_gradient and MODELS[name].why_one_device is None),
    *({"name": "VAE", "prior": prior} for prior in PRIORS if prior != "StandardNormal"),
    *({"name": "VAE", "posterior": posterior} for posterior in POSTERIORS if posterior != "Diagonal"),
    {"name": "VAE", "network": "Conv"},
]


class Grey(Dataset):
    """N grey images to train on, and splits of odd sizes to validate and evaluate with."""

    def __init__(self, n: int) -> None:
        super().__init__(binarize="Dynamic")
        self.n = n

    def load(self, root: Path) -> Splits:
        stream = torch.Generator().manual_seed(self.n)
        parts = [Examples(torch.rand(n, 1, 8, 8, generator=stream)) for n in (self.n, self.n % 3 + 1, 5)]
        return Splits(*parts, scale=1.0)


Outcome = dict[str, tuple[dict, dict]]
"""A training's curve and parameters, by its name."""


def all_of_them(keywords: dict) -> Outcome:
    """Every model, in this process or in this process's part."""
    found = {}
    for i, spec in enumerate(SPECS):
        for n, batch_size in SIZES if spec == {"name": "VAE"} else [SIZES[i % len(SIZES)]]:
            config = {"model": {"latent_dim": 2, **spec}, "train": {"epochs": 2, "batch_size": batch_size}}
            run = Run.of({**config, "data": {"name": "Digits", "binarize": "Dynamic"}})
            data, curve = DataModule(Grey(n), batch_size=batch_size), Curve()
            data.setup("fit")
            model = MODELS.build(run.model, data.shape, run.seed)
            trainer(run, lambda *_: None, logger=[curve], enable_checkpointing=False, **keywords).fit(
                model, datamodule=data
            )
            found[f"{spec}, {batch_size} of {n}"] = curve.columns, model.state_dict()
    return found


def process(rank: int, devices: int, folder: Path, port: int) -> None:
    """One of them; the first writes down what came out."""
    configure_process(1)
    os.environ |= {"LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    found = all_of_them({"devices": devices, "strategy": "ddp", "accelerator": "cpu"})
    if rank == 0:
        torch.save(found, folder / "found")


def trained(devices: int, folder: Path) -> Outcome:
    """Everything that is trained here, on so many devices."""
    folder.mkdir()
    if devices == 1:
        configure_process(1)
        return all_of_them({"accelerator": "cpu"})
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start_processes(process, (devices, folder, port), nprocs=devices, start_method="spawn")
    return torch.load(folder / "found", weights_only=False)
