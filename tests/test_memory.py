"""Memory: an estimate of the size of what training takes; a pack that does not fit says so."""

import json
import subprocess
import sys

import pytest
import torch
from torch import nn

from vaebench.models.base import Autoencoder
from vaebench.registry import MODELS, NETWORKS
from vaebench.training import memory
from vaebench.training.memory import TooLargeError, check_fits, needs

TRAINED = """
import json, sys
from dataclasses import replace
import vaebench
import lightning, torch
from vaebench.config import Run
from vaebench.training.memory import needs, peak
from vaebench.packing.data import PackedData
from vaebench.packing.pack import Pack
from vaebench.registry import DATASETS, MODELS

torch.set_num_threads(1)
data = PackedData(DATASETS.build({"name": "Digits", "binarize": "Dynamic"}), [0], batch_size=1000)
data.setup("fit")
network = {"name": "MLP", "hidden": [512, 512]}
models = [MODELS.build({"name": "BetaVAE", "network": network}, data.shape, 0) for _ in range(8)]
before, expected = peak()["process"], needs(models, 1000)
trainer = lightning.Trainer(max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False,
    enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0)
trainer.fit(Pack(models), datamodule=data)
print(json.dumps([expected / 2**20, peak()["process"] - before]))
"""


def models(n: int = 2, network: str = "MLP") -> list[Autoencoder]:
    return [MODELS.build({"name": "BetaVAE", "network": network}, (1, 8, 8), seed) for seed in range(n)]


@pytest.mark.parametrize("network", sorted(NETWORKS))
def test_the_estimate_grows_with_members_and_batches(network):
    one, batch = needs(models(1, network), 64), needs(models(1, network), 128) - needs(models(1, network), 64)
    assert needs(models(3, network), 64) == 3 * one
    assert needs(models(1, network), 640) == one + 9 * batch
    assert one > batch > 0


def test_a_pack_that_does_not_fit_says_what_it_needs(monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 2 * needs(models(2), 64))
    check_fits(models(2), 64)
    check_fits(models(1), 10**9)  # nothing is left to be parted
    with pytest.raises(TooLargeError, match=r"3 members need about \d+ MiB, of \d+ MiB that are free a pack takes"):
        check_fits(models(3), 64)


def test_the_estimate_leaves_a_model_as_it_was():
    """Statistics of batches are neither needed, of one example, nor moved."""
    (model,) = models(1)
    model.encoder.append(nn.BatchNorm1d(2 * model.latent_dim))
    model.train()
    before = {name: t.clone() for name, t in model.state_dict().items()}
    assert needs([model], 64) > 0
    assert model.training
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())


def test_the_peak_is_this_process_s_own():
    """A parent that holds a gigabyte when it starts a process has no part in what that process held."""
    held = bytearray(2**30)
    held[:: 2**12] = bytes([1]) * 2**18
    program = "import vaebench; from vaebench.training.memory import peak; print(peak()['process'])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=True)
    assert 100 < int(done.stdout) < 1000


@pytest.mark.slow
def test_the_estimate_is_what_training_takes():
    """To a factor of two, where activations and parameters both count."""
    done = subprocess.run([sys.executable, "-c", TRAINED], capture_output=True, text=True, timeout=100, check=True)
    estimated, taken = json.loads(done.stdout.splitlines()[-1])
    assert estimated / 2 < taken < 2 * estimated
