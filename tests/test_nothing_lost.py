"""Sweeps that are killed, started twice, or out of room: the same command ends in the records of a quiet one."""

import io
import multiprocessing
import os
import random
import resource
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from vaebench.config import Study, load
from vaebench.records.files import ARRAYS, CHECKPOINT, PROGRESS, RECORD, RESUME, WriteError
from vaebench.records.record import Record
from vaebench.reporting.wandb.runs import Mode
from vaebench.sweeps.run import Execution
from vaebench.sweeps.sweep import Worker, sweep

STUDY = """
question: Does it come out the same?
model: {latent_dim: 3}
data: {name: Digits, binarize: Dynamic}
train: {epochs: 12, batch_size: 256}
evaluate: {draws: 10}
grid:
  model:
    - {name: BetaVAE, network: {name: MLP, hidden: [16]}, beta: 0}
    - {name: BetaVAE, network: {name: MLP, hidden: [16]}, beta: 1.0e+4}
    - {name: BetaVAE, network: {name: MLP, hidden: [16]}, learning_rate: 1.0e+18}
    - {name: BetaVAE, network: {name: MLP, hidden: [8]}, latent_dim: 5, learning_rate: 1.0e-2}
    - {name: VAE, network: {name: Conv, channels: [4, 4, 4, 4]}}
    - {name: AE, network: {name: MLP, hidden: [16]}}
  seed: 0..1
"""
"""Shapes, learning rates and β of all kinds; one diverges at once, one network halves 8 pixels four times."""

OFTEN = Execution(wandb="disabled", save_every=0.0)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    path = tmp_path_factory.mktemp("study") / "tiny.yaml"
    path.write_text(STUDY)
    return load(path)


@pytest.fixture(scope="module")
def expected(study, tmp_path_factory) -> list[Record]:
    """The records of a sweep that nothing happens to."""
    records = swept(study, tmp_path_factory.mktemp("quiet"))
    assert Counter(r.status for r in records) == {"done": 8, "failed": 4}
    return records


def swept(study: Study, folder: Path, how: Execution = OFTEN) -> list[Record]:
    heard = io.StringIO()
    outcome = sweep(study, folder, how, Console(file=heard, width=200))
    assert not outcome.missing, heard.getvalue()
    return [replace(record, provenance={}) for record in outcome.records]


def beside(act: Callable[[], object]) -> multiprocessing.Process:
    """A process of its own, begun."""
    process = multiprocessing.get_context("fork").Process(target=act)
    process.start()
    return process


@pytest.mark.parametrize(("most", "wandb", "seed"), [(32, "offline", 0), (2, "disabled", 1)])
def test_killed_at_any_moment_again_and_again(study, expected, tmp_path, most: int, wandb: Mode, seed: int):
    """Each time in packs of another size; the delays are drawn, so that a moment is now in training, now in a write."""
    chance, how = random.Random(seed), Execution(wandb, max_pack_size=most, save_every=0.0)
    for _ in range(4):
        process = beside(lambda: swept(study, tmp_path, replace(how, max_pack_size=chance.choice([1, 3, most]))))
        process.join(chance.uniform(0.05, 2.5))
        process.kill()
        process.join()
    assert swept(study, tmp_path, how) == expected


def test_two_sweeps_begun_at_once_train_no_run_twice(study, expected, tmp_path, monkeypatch):
    """Both end with all records."""
    execute, start = Worker._execute, multiprocessing.get_context("fork").Barrier(2)

    def noted(work: Worker, runs) -> list[Record]:
        with (tmp_path / "trained").open("a") as file:
            file.write("".join(f"{run.id}\n" for run in runs))
        return execute(work, runs)

    def one() -> None:
        start.wait()
        os._exit(0 if swept(study, tmp_path / "runs", replace(OFTEN, max_pack_size=2)) == expected else 1)

    monkeypatch.setattr(Worker, "_execute", noted)
    both = [beside(one) for _ in range(2)]
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert Counter((tmp_path / "trained").read_text().split()) == {run.id: 1 for run in study.runs}


@pytest.mark.parametrize("room", [100, 9000], ids=["for nothing", "for records"])
def test_a_full_disk_is_one_error_and_the_rest_is_done_when_there_is_room(study, expected, tmp_path, room):
    """No file may be larger than so many bytes; a checkpoint is."""
    few = replace(study, runs=study.runs[:4])

    def cramped() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
        heard = io.StringIO()
        outcome = sweep(few, tmp_path / "runs", OFTEN, Console(file=heard, width=1000))
        lines = [line for line in heard.getvalue().splitlines() if "not recorded" in line]
        clear = all("cannot be written (File too large)" in line and "same command again" in line for line in lines)
        os._exit(0 if clear and len(lines) == len(outcome.missing) > 0 else 1)

    process = beside(cramped)
    process.join()
    assert process.exitcode == 0
    ids = {run.id for run in few.runs}
    assert not list(tmp_path.glob("runs/*/.*"))
    assert swept(few, tmp_path / "runs") == [record for record in expected if record.id in ids]


def test_weights_that_find_no_room_leave_no_record_and_no_new_training(study, expected, tmp_path, monkeypatch):
    """The checkpoint could be written, and then the disk was full. The next sweep only measures."""

    def full(model: object, path: Path, id: str) -> None:
        raise WriteError(f"{path}: cannot be written (no space); then run the same command again")

    few, heard = replace(study, runs=study.runs[:1]), io.StringIO()
    with monkeypatch.context() as patched:
        patched.setattr("vaebench.sweeps.run.write_weights", full)
        outcome = sweep(few, tmp_path / "runs", OFTEN, Console(file=heard, width=1000))
    assert [run.id for run in outcome.missing] == [study.runs[0].id]
    assert "not recorded" in heard.getvalue()
    monkeypatch.setattr("vaebench.training.packed.module.Pack._step", lambda *_: pytest.fail("trained again"))
    assert swept(few, tmp_path / "runs") == [record for record in expected if record.id == study.runs[0].id]


@pytest.mark.parametrize("content", [b"\x80\x04half of it", bytes(1000)], ids=["half", "zeros"])
def test_whatever_lies_in_a_runs_folder_it_is_done(study, expected, tmp_path, content):
    """Five runs, with another file in the folder of each."""
    names = (CHECKPOINT, RESUME, RECORD, ARRAYS, PROGRESS)
    few = study.runs[: len(names)]
    for run, name in zip(few, names, strict=True):
        (tmp_path / run.id).mkdir()
        (tmp_path / run.id / name).write_bytes(content)
    ids = {run.id for run in few}
    assert swept(replace(study, runs=few), tmp_path) == [r for r in expected if r.id in ids]
