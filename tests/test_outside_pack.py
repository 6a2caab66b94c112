"""A model trained by itself, on one device or on several: the same numbers to rounding."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from vaebench.config import Run
from vaebench.models.epoch import Diverged
from vaebench.records.files import RESUME
from vaebench.sweeps.packs import packs_of
from vaebench.training.outside_pack import fit_outside_pack
from vaebench.training.trainer import Fitted


def run(devices: int, **changes) -> Run:
    """Batches of odd size, the last of one example: 1257 = 157 · 8 + 1."""
    model = {"name": "BetaVAE", "latent_dim": 3, "network": {"name": "MLP", "hidden": [16]}, **changes}
    train = {"epochs": 2, "batch_size": 157, "devices": devices}
    return Run.of({"model": model, "data": {"name": "Digits", "binarize": "Dynamic"}, "train": train})


def fitted(one: Run, folder: Path, save_every: float = 60.0) -> Fitted:
    folder.mkdir(exist_ok=True)
    return fit_outside_pack(one, folder, [], print, save_every)


def test_the_number_of_devices_is_no_part_of_the_id_and_packs_with_nobody():
    assert run(2).id == run(1).id
    assert "devices" not in run(2).config["train"]
    others = [replace(run(n), seed=seed) for n in (1, 2) for seed in range(2)]
    assert list(map(len, packs_of(others))) == [2, 1, 1]


def test_a_likelihood_of_whole_batches_is_refused_on_parts_of_them(tmp_path):
    with pytest.raises(ValueError, match=r"train\.devices: OptimalGaussian takes its variance from a whole batch"):
        fitted(replace(run(2, likelihood="OptimalGaussian"), data={"name": "Digits", "binarize": None}), tmp_path)


@pytest.mark.parametrize("name", ["FreeBitsVAE", "AggressiveVAE"])
def test_a_model_of_one_device_is_refused_on_several(name, tmp_path):
    with pytest.raises(ValueError, match=rf"train\.devices: {name} trains on one device: .*; use devices: 1"):
        fitted(replace(run(2), model={"name": name}), tmp_path)


def test_more_devices_than_cores_are_refused(tmp_path):
    cores = len(os.sched_getaffinity(0))
    with pytest.raises(ValueError, match=rf"train\.devices: expected at most {cores}, .* got {cores + 1}"):
        fitted(run(cores + 1), tmp_path)


PROGRAM = """
import sys
from pathlib import Path
import vaebench
from vaebench.config import Run
from vaebench.training.outside_pack import fit_outside_pack

if __name__ == "__main__":
    fit_outside_pack(Run.of(eval(sys.argv[1])), Path(sys.argv[2]), [], print, 0.0)
"""


@pytest.mark.slow
def test_processes_end_with_the_one_that_started_them(tmp_path):
    """They would train on, beside those of whoever begins the run again."""
    (tmp_path / "program.py").write_text(PROGRAM)
    config = run(2).config
    config["train"] |= {"devices": 2, "epochs": 100_000}
    command = [sys.executable, str(tmp_path / "program.py"), repr(config), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    started = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
    while not (tmp_path / RESUME).is_file():
        assert started.poll() is None
        time.sleep(0.1)
    started.kill()
    started.wait()
    for _ in range(100):
        try:
            os.killpg(started.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    os.killpg(started.pid, signal.SIGKILL)
    pytest.fail("processes of the run trained on for ten seconds")


@pytest.mark.slow
def test_two_devices_give_the_numbers_of_one(tmp_path):
    one, two = (fitted(run(n), tmp_path / str(n)) for n in (1, 2))
    assert one.curve.keys() == two.curve.keys()
    for name, column in one.curve.items():
        assert two.curve[name] == pytest.approx(column, rel=1e-5), name
    state = two.model.state_dict()
    for name, expected in one.model.state_dict().items():
        torch.testing.assert_close(state[name], expected, rtol=1e-3, atol=1e-5, msg=lambda text, n=name: f"{n}: {text}")


class KeepFirst(NamedTuple):
    """Copies the snapshot of the first epoch from `whole` to `again` when the second epoch ends."""

    folder: Path

    def __call__(self, epoch: int, latest: object) -> None:
        if epoch == 2:
            shutil.copy(self.folder / "whole" / RESUME, self.folder / "again" / RESUME)


@pytest.mark.slow
def test_two_devices_go_on_where_two_stopped(tmp_path):
    """The snapshot is of the end of the first of two epochs."""
    for name in ("whole", "again"):
        (tmp_path / name).mkdir()
    whole = fit_outside_pack(run(2), tmp_path / "whole", [], KeepFirst(tmp_path), 0.0)
    again = fitted(run(2), tmp_path / "again", save_every=0.0)
    assert again.curve == whole.curve
    state = again.model.state_dict()
    assert all(torch.equal(t, state[name]) for name, t in whole.model.state_dict().items())


@pytest.mark.slow
def test_a_divergence_on_two_devices_is_told_as_on_one(tmp_path):
    told = []
    for n in (1, 2):
        with pytest.raises(Diverged, match=r"lower model\.learning_rate") as caught:
            fitted(run(n, learning_rate=1e18), tmp_path / str(n))
        told.append(str(caught.value))
    assert told[0] == told[1]
