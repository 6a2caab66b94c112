"""Memory: an estimate of the size of what training takes; a pack that does not fit says so."""

import json
import subprocess
import sys

import pytest

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


@pytest.mark.slow
def test_the_estimate_is_what_training_takes():
    """Hardly less, and not four times as much, where activations and parameters both count."""
    done = subprocess.run([sys.executable, "-c", TRAINED], capture_output=True, text=True, timeout=100, check=True)
    estimated, taken = json.loads(done.stdout.splitlines()[-1])
    assert taken < 1.25 * estimated
    assert estimated < 4 * taken
