"""Files of strangers: no verb executes what they contain, and one line says what is wrong."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from vaebench.__main__ import app
from vaebench.models.base import CLASS


class Stranger:
    """Makes a folder where it is unpickled."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.made),)


@pytest.fixture
def strange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of files that make the folder `made` where they are unpickled."""
    monkeypatch.chdir(tmp_path)
    evil = Stranger(tmp_path / "made")
    objects = np.array([evil, 1], dtype=object)
    np.save("x.npy", objects, allow_pickle=True)
    np.savez("x.npz", x=objects)
    np.savez("codes.npz", codes=objects)
    np.savez("mixed.npz", x=np.zeros((200, 4), np.float32), label=objects)
    for name in ("model.ckpt", "old.ckpt"):
        content = {
            CLASS: "VAE",
            "state_dict": evil,
            "hyper_parameters": {"shape": (4,)},
            "pytorch-lightning_version": "2",
        }
        torch.save(content, name, _use_new_zipfile_serialization=name == "model.ckpt")
    Path("plain.ckpt").write_bytes(pickle.dumps(evil))
    for name, own in {"default": False, "own": True, "empty": False}.items():
        folder = tmp_path / name
        folder.mkdir()
        config = {"name": "VAEConfig", "input_dim": [4], "latent_dim": 2, "reconstruction_loss": "mse"}
        config |= {"uses_default_encoder": not own, "uses_default_decoder": True}
        (folder / "model_config.json").write_text(json.dumps(config))
        (folder / "encoder.pkl").write_bytes(pickle.dumps(evil))
        torch.save({"model_state_dict": evil if name == "default" else {}}, folder / "model.pt")
    np.savez("good.npz", x=np.zeros((40, 4), np.float32))
    Path("study.yaml").write_text(
        "question: Is it run?\nmodel: {name: AE, latent_dim: 1, likelihood: Gaussian}\n"
        "data: {name: Arrays, path: x.npz}\ntrain: {epochs: 1}\n"
    )
    return tmp_path


COMMANDS = (
    *("audit default --data good.npz", "audit own --data good.npz", "audit empty --data x.npz"),
    *("sample model.ckpt", "encode old.ckpt", "show plain.ckpt", "reconstruct plain.ckpt good.npz"),
    *("interpolate old.ckpt good.npz", "score model.ckpt good.npz", "evaluate model.ckpt"),
    *("export model.ckpt --to onnx --out out", "export model.ckpt --to huggingface --out out"),
    *("evaluate --codes x.npy", "evaluate --codes codes.npz", "forecast --data x.npz", "forecast --data x.npy"),
)


@pytest.mark.parametrize("command", COMMANDS)
def test_no_verb_executes_what_a_file_contains(strange: Path, command: str) -> None:
    done = CliRunner().invoke(app, command.split())
    assert not (strange / "made").exists()
    assert done.exit_code == 1, done.output
    assert isinstance(done.exception, SystemExit), done.exception
    assert done.output.startswith("error: "), done.output
    for advice in ("allow_pickle", "weights_only"):
        assert advice not in done.output, "no advice to read it all the same"


@pytest.mark.parametrize("command", ["sweep study.yaml --wandb disabled", "train study.yaml data.path=mixed.npz"])
def test_a_run_on_such_data_fails_with_its_reason(strange: Path, command: str) -> None:
    done = CliRunner().invoke(app, command.split())
    assert not (strange / "made").exists()
    assert done.exit_code == 1
    assert "Python objects, written by pickle" in done.output


def test_the_stranger_would_do_it(strange: Path) -> None:
    pickle.loads((strange / "plain.ckpt").read_bytes())
    assert (strange / "made").exists()
