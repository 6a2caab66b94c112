"""Without the private interfaces of torch that packs use, every run trains outside a pack, and says so."""

import importlib
import logging
import re
from pathlib import Path

import pytest
import torch

from vaebench.config import Run
from vaebench.records.record import Record
from vaebench.sweeps.run import Execution, execute_pack
from vaebench.training.packed import torch_private


def records(folder: Path) -> list[Record]:
    """Of two runs that train together if they can."""
    model = {"name": "BetaVAE", "latent_dim": 2, "network": {"name": "MLP", "hidden": [8]}}
    config = {
        "model": model,
        "data": {"name": "Digits", "binarize": "Dynamic"},
        "train": {"epochs": 2, "batch_size": 200, "gradient_clip": 1},
        "evaluate": {"draws": 100},
    }
    runs = [Run.of(config | {"seed": seed}) for seed in range(2)]
    folders = [folder / str(seed) for seed in range(2)]
    quiet = Execution(wandb="disabled")
    return list(execute_pack(runs, "study", [], folders, quiet, lambda epoch, latest: None))


def test_a_sweep_without_private_interfaces_has_the_same_numbers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    importlib.import_module("torch._dynamo.exc")  # its import needs them, and half of it would stay
    packed = records(tmp_path / "packed")
    torch_private._warn.cache_clear()
    for name in torch_private.NAMES:
        if name not in ("torch._ops.OpOverload", "torch._C._functorch.is_batchedtensor"):  # torch itself uses these
            monkeypatch.delattr(name)
    with caplog.at_level(logging.WARNING):
        alone = records(tmp_path / "alone")
    (message,) = [r.message for r in caplog.records if "every run trains outside a pack" in r.message]
    assert message.startswith(f"torch {torch.__version__} lacks torch.utils._python_dispatch.TorchDispatchMode, ")
    for one, other in zip(packed, alone, strict=True):
        assert one.status == other.status == "done"
        assert [e.name for e in one.estimates] == [e.name for e in other.estimates]
        for a, b in zip(one.estimates, other.estimates, strict=True):
            assert a.value == pytest.approx(b.value, rel=1e-4, abs=1e-6), a.name
        assert one.curve["train/objective"] == pytest.approx(other.curve["train/objective"], rel=1e-6)


def test_this_torch_has_them_all() -> None:
    assert torch_private.missing() == []


def test_no_other_file_of_training_uses_a_private_name_of_torch() -> None:
    package = Path(torch_private.__file__).parents[1]
    for path in package.rglob("*.py"):
        if path.name != "torch_private.py":
            assert not re.search(r"torch\._(?!_)", path.read_text(encoding="utf-8")), path
