"""Snapshots: what was stopped goes on with the same numbers, in any company, and a bad file harms nothing."""

import logging
import os
import pickle
from pathlib import Path

import pytest
import torch

from vaebench.atomic import WriteError
from vaebench.config import Run, load
from vaebench.packing.snapshot import Snapshot, SnapshotError, read
from vaebench.registry import MODELS
from vaebench.training import snapshots
from vaebench.training.alone import CHECKPOINT, Fitted
from vaebench.training.fitting import fit

STUDY = """
question: Does it come out the same?
model: {name: BetaVAE, latent_dim: 3, network: {name: MLP, hidden: [16]}}
data: {name: Digits, binarize: Dynamic}
train: {epochs: 5, batch_size: 256}
evaluate: {draws: 10}
grid:
  model.beta: [1, 4]
  seed: 0..1
"""


class StoppedError(Exception):
    """What ends a training early."""


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Run, ...]:
    (tmp_path / "tiny.yaml").write_text(STUDY)
    return load(tmp_path / "tiny.yaml").runs


def fitted(runs, folder: Path, stop: int | None = None) -> list[Fitted | Exception]:
    """Runs trained together, with a snapshot every epoch; stopped at the end of an epoch before its snapshot."""

    def watch(epoch, latest) -> None:
        if epoch == stop:
            raise StoppedError

    folders = [folder / run.id for run in runs]
    for own in folders:
        own.mkdir(parents=True, exist_ok=True)
    return fit(runs, folders, [[] for _ in runs], watch, every=0.0)


def assert_same(found: Fitted | Exception, expected: Fitted | Exception) -> None:
    assert isinstance(found, Fitted)
    assert isinstance(expected, Fitted)
    assert found.curve == expected.curve
    state = expected.model.state_dict()
    assert all(torch.equal(t, state[name]) for name, t in found.model.state_dict().items())


@pytest.mark.parametrize("parts", [[[0, 1, 2, 3]], [[3], [1, 0], [2]]], ids=["together", "in other packs"])
def test_what_was_stopped_goes_on_with_the_same_numbers_in_any_company(runs, tmp_path, parts):
    """The first two were stopped after one epoch, the others after three."""
    whole = fitted(runs, tmp_path / "whole")
    for pair, stop in ((runs[:2], 2), (runs[2:], 4)):
        with pytest.raises(StoppedError):
            fitted(pair, tmp_path, stop)
        assert {read(tmp_path / r.id / snapshots.MEMBER, r.id).epochs for r in pair} == {stop - 1}
    for part in parts:
        for i, found in zip(part, fitted([runs[i] for i in part], tmp_path), strict=True):
            assert_same(found, whole[i])


def test_what_was_trained_is_not_trained_again(runs, tmp_path):
    first = fitted(runs, tmp_path)
    for found, expected in zip(fitted(runs, tmp_path, stop=5), first, strict=True):
        assert_same(found, expected)


@pytest.mark.parametrize("stop", [2, 3])
def test_a_member_that_died_stays_dead(tmp_path, stop):
    """A member diverges at the first step; what it died of is told after the stop as it is without one."""
    (tmp_path / "tiny.yaml").write_text(STUDY.replace("model.beta: [1, 4]", "model.learning_rate: [1.0e-3, 1.0e+18]"))
    runs = load(tmp_path / "tiny.yaml").runs
    whole = fitted(runs, tmp_path / "whole")
    with pytest.raises(StoppedError):
        fitted(runs, tmp_path, stop)
    for found, expected in zip(fitted(runs, tmp_path), whole, strict=True):
        if isinstance(expected, Exception):
            assert str(found) == str(expected)
        else:
            assert_same(found, expected)
    assert [isinstance(w, Exception) for w in whole] == [False, False, True, True]


def test_a_model_that_cannot_be_packed_goes_on_as_well(runs, tmp_path, monkeypatch):
    class Own(MODELS["BetaVAE"]):
        """A model that is trained its own way."""

        def training_step(self, batch, index):
            return super().training_step(batch, index)

    monkeypatch.setitem(MODELS._classes, "BetaVAE", Own)
    whole = fitted(runs[:1], tmp_path / "whole")
    with pytest.raises(StoppedError):
        fitted(runs[:1], tmp_path, stop=3)
    assert (tmp_path / runs[0].id / snapshots.TRAINER).is_file()
    assert_same(fitted(runs[:1], tmp_path)[0], whole[0])


class Stranger:
    """A file that would create another when it is unpickled."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self):
        return os.mkdir, (str(self.made),)


@pytest.mark.parametrize("name", [snapshots.MEMBER, snapshots.TRAINER])
@pytest.mark.parametrize("how", ["half", "empty", "zeros", "stranger", "torch's stranger"])
def test_a_bad_file_is_put_aside_and_executes_nothing(runs, tmp_path, caplog, name, how):
    fitted(runs[:1], tmp_path)
    path, made = tmp_path / runs[0].id / name, tmp_path / "made"
    content = (path if path.is_file() else path.with_name(CHECKPOINT)).read_bytes()
    if how == "torch's stranger":
        torch.save({"format": 1, "run": Stranger(made)}, path)
    else:
        stranger = pickle.dumps(Stranger(made), 2)
        wrong = {"half": content[: len(content) // 2], "empty": b"", "zeros": bytes(len(content)), "stranger": stranger}
        path.write_bytes(wrong[how])
    with caplog.at_level(logging.WARNING):
        if name == snapshots.MEMBER:
            assert snapshots.found(runs[0], path.parent) is None
        else:
            assert snapshots.found_of_trainer(path.parent) is None
    assert "begins anew" in caplog.text
    assert "weights_only" not in caplog.text
    assert path.with_suffix(".damaged").is_file()
    assert not path.exists()
    assert not made.exists()


def test_the_snapshot_of_another_run_is_refused_by_name(runs, tmp_path):
    fitted(runs[:1], tmp_path)
    with pytest.raises(SnapshotError, match=f"expected format 1 of run {runs[1].id}, got format 1 of '{runs[0].id}'"):
        read(tmp_path / runs[0].id / snapshots.MEMBER, runs[1].id)


@pytest.mark.parametrize("name", [snapshots.MEMBER, snapshots.TRAINER])
def test_the_snapshot_of_another_kind_of_device_is_put_aside(runs, tmp_path, caplog, name):
    """A GPU's generator has a state of 16 bytes, with which no other can go on."""
    fitted(runs[:1], tmp_path)
    path = tmp_path / runs[0].id / name
    content = torch.load(tmp_path / runs[0].id / snapshots.MEMBER, weights_only=True)
    torch.save(content | {"noise": torch.zeros(16, dtype=torch.uint8)}, path)
    with caplog.at_level(logging.WARNING):
        found = (
            snapshots.found(runs[0], path.parent)
            if name == snapshots.MEMBER
            else snapshots.found_of_trainer(path.parent)
        )
    assert found is None
    assert "its noise is not that of a training on this device, cpu; kept as" in caplog.text


def test_a_full_disk_stops_no_training(runs, tmp_path, monkeypatch, caplog):
    def full(self: Snapshot, path: Path) -> None:
        raise WriteError(f"{path}: no space left")

    expected = fitted(runs, tmp_path / "whole")
    monkeypatch.setattr(Snapshot, "save", full)
    with caplog.at_level(logging.WARNING):
        for found, whole in zip(fitted(runs, tmp_path), expected, strict=True):
            assert_same(found, whole)
    assert "no space left; training goes on" in caplog.text
