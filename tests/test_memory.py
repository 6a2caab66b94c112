"""Memory: an estimate of the size of what training takes; a pack that does not fit says so."""

import json
import subprocess
import sys
import weakref

import pytest
import torch
from torch import nn

from vaebench.config.registry import LIKELIHOODS, MODELS, NETWORKS, POSTERIORS, PRIORS
from vaebench.models.base import Autoencoder
from vaebench.training import memory
from vaebench.training.memory import TooLargeError, check_fits, meta_model, needs

TRAINED = """
import json, sys
from dataclasses import replace
import vaebench
import lightning, torch
from vaebench.config import Run
from vaebench.training.memory import needs, peak
from vaebench.training.packed.loaders import PackedData
from vaebench.training.packed.module import Pack
from vaebench.config.registry import DATASETS, MODELS

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


LIMITED = """
import json
import vaebench
from vaebench.config import load
from vaebench.training import memory
from vaebench.training.fit import fit
from vaebench.training.memory import TooLargeError, peak
from pathlib import Path

memory.available = memory.capacity = lambda: 3 * 2**30
found, before = [], None
for name in ("wide", "widest"):
    runs = load(Path(f"{name}.yaml"), []).runs
    before = before or peak()["process"]
    try:
        fit(runs, [Path(r.id) for r in runs], [[]] * len(runs), lambda *_: None)
    except TooLargeError as error:
        found.append({"members": len(runs), "most": error.most, "text": str(error)})
print(json.dumps([*found, peak()["process"] - before]))
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
    check_fits(models(1), 64)
    with pytest.raises(TooLargeError, match=r"3 members need about \d+ MiB; \d+ MiB are free, and a pack may use"):
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


@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_model_on_the_meta_device_needs_what_the_model_needs(name):
    """Every model has shapes without numbers: what it takes is known before it is built."""
    spec = {"name": name, "likelihood": "Gaussian"}
    shapes = meta_model(spec, (1, 8, 8))
    assert shapes is not None
    assert {p.device.type for p in shapes.parameters()} == {"meta"}
    assert needs([shapes], 64) == needs([MODELS.build(spec, (1, 8, 8), 0)], 64)


@pytest.mark.parametrize("kind", [NETWORKS, PRIORS, POSTERIORS, LIKELIHOODS], ids=repr)
def test_every_part_of_a_model_can_be_built_on_the_meta_device(kind):
    key = {NETWORKS: "network", PRIORS: "prior", POSTERIORS: "posterior", LIKELIHOODS: "likelihood"}[kind]
    for part in kind:
        spec = {"name": "VAE", key: part}
        shapes = meta_model(spec, (1, 8, 8))
        assert shapes is not None, part
        assert needs([shapes], 64) == needs([MODELS.build(spec, (1, 8, 8), 0)], 64), part


def test_runs_that_do_not_fit_are_parted_or_refused_before_anything_is_built(tmp_path):
    """Where 3 GiB are free: 32 networks of [2048] * 4 take 17 GB and one of [65536] * 4 takes 280 GB."""
    study = "question: Q?\nmodel: {name: VAE, network: {name: MLP, hidden: [WIDE, WIDE, WIDE, WIDE]}}\n"
    study += "data: {name: Digits, binarize: Fixed}\ntrain: {epochs: 1}\ngrid: {seed: 0..31}\n"
    (tmp_path / "wide.yaml").write_text(study.replace("WIDE", "2048"))
    (tmp_path / "widest.yaml").write_text(study.replace("WIDE", "65536"))
    done = subprocess.run(
        [sys.executable, "-c", LIMITED], cwd=tmp_path, capture_output=True, text=True, timeout=100, check=True
    )
    wide, widest, taken = json.loads(done.stdout.splitlines()[-1])
    assert wide["members"] == 32
    assert 1 <= wide["most"] < 32
    assert widest["most"] == 0
    assert "smaller" in widest["text"]
    assert taken < 200


def test_memory_of_an_earlier_pack_counts_as_free(monkeypatch):
    """On a GPU it is held by objects that refer to each other, and then by torch."""
    held, asked = weakref.WeakSet(), []

    class Cycle:
        def __init__(self) -> None:
            self.itself = self

    held.add(Cycle())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: asked.append(len(held)))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (5, 10))
    assert memory.available() == 5
    assert asked == [0]
