"""Snapshots: what was stopped goes on with the same numbers, in any company, and a bad file harms nothing."""

import contextlib
import io
import logging
import os
import pickle
import random
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from vaebench.config import Run, load
from vaebench.config.registry import DATASETS, MODELS
from vaebench.records.checksums import sealed
from vaebench.records.files import CHECKPOINT, RESUME, WriteError
from vaebench.training import resume
from vaebench.training.checkpoints import FORMAT, NewerSnapshotError, Snapshot, SnapshotError, contents, read
from vaebench.training.fit import fit
from vaebench.training.packed.loaders import PackedData
from vaebench.training.packed.module import Pack
from vaebench.training.packed.stacked import ALIGNMENT
from vaebench.training.trainer import Fitted

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


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> tuple[Run, ...]:
    path = tmp_path_factory.mktemp("study") / "tiny.yaml"
    path.write_text(STUDY)
    return load(path).runs


@pytest.fixture(scope="module")
def trained(runs, tmp_path_factory) -> Path:
    """Where the runs have left their snapshots and checkpoints after all epochs."""
    return tmp_path_factory.mktemp("whole")


@pytest.fixture(scope="module")
def whole(runs, trained) -> list[Fitted | Exception]:
    """The runs trained without a stop."""
    return fitted(runs, trained)


@pytest.fixture
def snapshot(runs, whole, trained, tmp_path) -> Path:
    """A copy of the snapshot that the first run has left after all epochs, in a folder with its checkpoint."""
    return shutil.copytree(trained / runs[0].id, tmp_path / runs[0].id) / RESUME


def fitted(runs, folder: Path, stop: int | None = None) -> list[Fitted | Exception]:
    """Runs trained together, with a snapshot every epoch; stopped at the end of an epoch before its snapshot."""

    def watch(epoch, latest) -> None:
        if epoch == stop:
            raise StoppedError

    folders = [folder / run.id for run in runs]
    for own in folders:
        own.mkdir(parents=True, exist_ok=True)
    return fit(runs, folders, [[] for _ in runs], watch, save_every=0.0)


def assert_same(found: Fitted | Exception, expected: Fitted | Exception) -> None:
    assert isinstance(found, Fitted)
    assert isinstance(expected, Fitted)
    assert found.curve == expected.curve
    state = expected.model.state_dict()
    assert all(torch.equal(t, state[name]) for name, t in found.model.state_dict().items())


@pytest.mark.parametrize("stopped", [([0, 1], [2, 3]), ([1, 2], [0, 3]), ([3], [0, 1, 2])], ids=str)
@pytest.mark.parametrize("parts", [[[0, 1, 2, 3]], [[3], [1, 0], [2]]], ids=["together", "in other packs"])
def test_what_was_stopped_goes_on_with_the_same_numbers_in_any_company(runs, whole, tmp_path, stopped, parts):
    """Some were stopped after one epoch, the others after three. Their seeds, and the order of these, may differ."""
    for group, stop in zip(stopped, (2, 4), strict=True):
        some = [runs[i] for i in group]
        with pytest.raises(StoppedError):
            fitted(some, tmp_path, stop)
        assert {read(tmp_path / r.id / RESUME, r.id).epochs for r in some} == {stop - 1}
    for part in parts:
        for i, found in zip(part, fitted([runs[i] for i in part], tmp_path), strict=True):
            assert_same(found, whole[i])


def test_what_was_trained_is_not_trained_again(runs, whole, trained):
    for found, expected in zip(fitted(runs, trained, stop=5), whole, strict=True):
        assert_same(found, expected)


@pytest.mark.parametrize("stop", [2, 3])
def test_a_member_that_died_stays_dead(tmp_path, stop):
    """A member diverges at the first step; the reason is the same after the stop as without one."""
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
    snapshot = read(tmp_path / runs[0].id / RESUME, runs[0].id)
    assert (snapshot.epochs, snapshot.optimizer_state) == (2, None)
    assert_same(fitted(runs[:1], tmp_path)[0], whole[0])
    assert_same(fitted(runs[:1], tmp_path, stop=5)[0], whole[0])  # it is trained: no epoch is left


def found(run: Run, folder: Path) -> Snapshot | None:
    data = PackedData(DATASETS.build(run.data), [run.seed], batch_size=run.train.batch_size)
    data.setup("fit")
    return resume.find_snapshot(run, folder, MODELS.build(run.model, data.shape, run.seed), data)


class Stranger:
    """A file that would create another when it is unpickled."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self):
        return os.mkdir, (str(self.made),)


@pytest.mark.parametrize("how", ["half", "empty", "zeros", "stranger", "torch's stranger"])
def test_a_bad_file_is_put_aside_and_executes_nothing(runs, snapshot, tmp_path, caplog, how):
    path, made = snapshot, tmp_path / "made"
    content = path.read_bytes()
    if how == "torch's stranger":
        torch.save({"format": 1, "run": Stranger(made)}, path)
    else:
        stranger = pickle.dumps(Stranger(made), 2)
        wrong = {"half": content[: len(content) // 2], "empty": b"", "zeros": bytes(len(content)), "stranger": stranger}
        path.write_bytes(wrong[how])
    with caplog.at_level(logging.WARNING):
        assert found(runs[0], path.parent) is None
    assert "begins anew" in caplog.text
    assert "weights_only" not in caplog.text
    assert path.with_suffix(".damaged").is_file()
    assert not path.exists()
    assert not made.exists()


def test_the_snapshot_of_another_run_is_refused_by_name(runs, snapshot):
    with pytest.raises(
        SnapshotError, match=f"expected format {FORMAT} of run {runs[1].id}, got format {FORMAT} of '{runs[0].id}'"
    ):
        read(snapshot, runs[1].id)


def test_the_snapshot_of_another_kind_of_device_is_put_aside(runs, snapshot, caplog):
    """A GPU's generator has a state of 16 bytes, with which no other can go on."""
    content = torch.load(snapshot, weights_only=True)
    torch.save(content | {"noise": torch.zeros(16, dtype=torch.uint8)}, snapshot)
    with caplog.at_level(logging.WARNING):
        assert found(runs[0], snapshot.parent) is None
    assert "its noise is not that of a training on this device, cpu; kept as" in caplog.text


def test_a_full_disk_stops_no_training(runs, whole, tmp_path, monkeypatch, caplog):
    def full(self: Snapshot, path: Path) -> None:
        raise WriteError(f"{path}: no space left")

    monkeypatch.setattr(Snapshot, "save", full)
    with caplog.at_level(logging.WARNING):
        for found, expected in zip(fitted(runs, tmp_path), whole, strict=True):
            assert_same(found, expected)
    assert "no space left; training goes on" in caplog.text


# -- what is kept proves itself ---------------------------------------------------------------------------------------


def test_whichever_bit_is_flipped_a_checkpoint_is_refused(snapshot):
    """At 400 places drawn over each file, and at every bit of its last 200 bytes, where the archive's index ends."""
    chance = random.Random(0)
    for path in (snapshot, snapshot.with_name(CHECKPOINT)):
        whole = path.read_bytes()
        contents(path)
        last = range(8 * (len(whole) - 200), 8 * len(whole))
        for bit in [*(chance.randrange(8 * len(whole)) for _ in range(400)), *last]:
            flipped = bytearray(whole)
            flipped[bit // 8] ^= 1 << bit % 8
            path.write_bytes(flipped)
            with pytest.raises(SnapshotError, match=rf"^{path}: damaged"):
                contents(path)


def test_wherever_it_is_cut_a_checkpoint_is_refused(snapshot):
    path, whole = snapshot, snapshot.read_bytes()
    for length in [*range(0, len(whole), len(whole) // 50), *range(len(whole) - 50, len(whole))]:
        path.write_bytes(whole[:length])
        with pytest.raises(SnapshotError, match=rf"^{path}: damaged"):
            contents(path)


def rewritten(path: Path, **changes) -> None:
    """A snapshot with other entries."""
    content = io.BytesIO()
    torch.save(torch.load(path, weights_only=True) | changes, content)
    path.write_bytes(sealed(content.getvalue(), format=FORMAT))


MISFITS = {
    "the model has another extra": lambda s: {"weights": s.weights | {"extra": torch.zeros(2)}},
    "the model has another": lambda s: {"weights": {n: t.double() for n, t in s.weights.items()}},
    "optimiser state of shape": lambda s: {"moments": torch.zeros(2, s.optimizer_state.shape[1] + ALIGNMENT)},
    "the order of its batches": lambda s: {"order": {"given": 0}},
    "7 of 5 epochs": lambda s: {"epochs": 7},
    "5 epochs and 99 of 5 steps": lambda s: {"order": s.order | {"given": 99}},
    "26 steps, of 5 epochs of 5": lambda s: {"steps": 26},
    "no snapshot": lambda s: {"another": 1},
    f"expected format {FORMAT}": lambda s: {"run": "another"},
    "its data have changed since: SHA-256 aaaaaaaaaa": lambda s: {"data": "a" * 64},
    "got format 2": lambda s: {"format": 2},
}


@pytest.mark.parametrize("said", MISFITS)
def test_a_snapshot_that_does_not_fit_is_put_aside(runs, snapshot, caplog, said):
    """Each can be read, and is as some other version might have written it."""
    rewritten(snapshot, **MISFITS[said](read(snapshot, runs[0].id)))
    wrong = snapshot.read_bytes()
    with caplog.at_level(logging.WARNING):
        assert found(runs[0], snapshot.parent) is None
    assert said in caplog.text
    assert "kept as resume.damaged, the run begins anew" in caplog.text
    assert snapshot.with_suffix(".damaged").read_bytes() == wrong


def test_a_snapshot_from_before_there_were_checksums_of_data_is_read(runs, snapshot):
    content = torch.load(snapshot, weights_only=True)
    assert len(content.pop("data")) == 64
    changed = io.BytesIO()
    torch.save(content | {"format": 3}, changed)
    snapshot.write_bytes(sealed(changed.getvalue(), format=3))
    assert found(runs[0], snapshot.parent).data == ""


@pytest.mark.parametrize("more", ["", ", early_stopping: {patience: 9}"], ids=["pack", "Trainer"])
def test_a_stopped_run_does_not_go_on_with_other_data(tmp_path, monkeypatch, caplog, more):
    monkeypatch.chdir(tmp_path)
    np.save("mine.npy", np.random.RandomState(0).random_sample((60, 4)))
    text = "question: Whose data?\nmodel: {name: VAE, likelihood: Gaussian}\ndata: {name: Arrays, path: mine.npy}\n"
    Path("own.yaml").write_text(f"{text}train: {{epochs: 3, batch_size: 40{more}}}\n")
    runs = load(Path("own.yaml")).runs
    with contextlib.suppress(StoppedError):  # of a run outside a pack it is an outcome
        fitted(runs, tmp_path, stop=2)
    assert (tmp_path / runs[0].id / RESUME).is_file()
    np.save("mine.npy", np.random.RandomState(1).random_sample((60, 4)))
    with caplog.at_level(logging.WARNING):
        again = fitted(runs, tmp_path)
    assert "its data have changed since" in caplog.text
    assert_same(again[0], fitted(runs, tmp_path / "fresh")[0])


def test_a_run_whose_snapshot_does_not_fit_begins_anew(runs, whole, snapshot):
    rewritten(snapshot, steps=26)
    assert_same(fitted(runs[:1], snapshot.parents[1])[0], whole[0])


def test_a_snapshot_of_a_newer_version_is_nobodys_to_touch(runs, snapshot, tmp_path):
    path = snapshot
    newer = sealed(b"PK\x05\x06" + bytes(18), format=FORMAT + 1, run=runs[0].id)
    path.write_bytes(newer)
    with pytest.raises(NewerSnapshotError, match=f"^{path}: format {FORMAT + 1}, .* up to {FORMAT}; update vaebench$"):
        fitted(runs, tmp_path)
    assert path.read_bytes() == newer


# -- signals ----------------------------------------------------------------------------------------------------------


EVERYWHERE = [1, 50, 51, 79, 128, 130, 157, 158]
"""Of 79 steps an epoch Lightning is given 50 at a time: within, at the ends of either, at the last step."""


@pytest.mark.parametrize(
    ("sent", "stops"), [(signal.SIGINT, EVERYWHERE), (signal.SIGTERM, [51])], ids=["Ctrl-C", "SIGTERM"]
)
def test_what_a_signal_stops_goes_on_from_the_step_it_came_in(tmp_path, monkeypatch, sent, stops):
    (tmp_path / "tiny.yaml").write_text(STUDY.replace("epochs: 5, batch_size: 256", "epochs: 2, batch_size: 16"))
    runs = load(tmp_path / "tiny.yaml").runs[:2]
    whole = fitted(runs, tmp_path / "whole")
    step, left = Pack._step, list(stops)

    def interrupted(self: Pack, x) -> None:
        step(self, x)
        if left and self.steps_done == left[0]:
            left.pop(0)
            os.kill(os.getpid(), sent)

    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folders, seen = [tmp_path / run.id for run in runs], []
    for folder in folders:
        folder.mkdir()
    monkeypatch.setattr(Pack, "_step", interrupted)
    try:
        for _ in stops:
            with pytest.raises(KeyboardInterrupt):
                fit(runs, folders, [[] for _ in runs], lambda *_: None, save_every=1e9)
            seen += {resume.resume_point(folder)["steps"] for folder in folders}
        found = fit(runs, folders, [[] for _ in runs], lambda *_: None, save_every=1e9)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert seen == stops
    for one, expected in zip(found, whole, strict=True):
        assert_same(one, expected)


def test_a_second_signal_is_handled_at_once():
    from vaebench.training.signals import DeferredSignals

    before, waiting = signal.getsignal(signal.SIGINT), DeferredSignals()
    waiting.defer()
    try:
        os.kill(os.getpid(), signal.SIGINT)
        assert waiting.is_pending
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        waiting.restore()
    assert signal.getsignal(signal.SIGINT) is before
