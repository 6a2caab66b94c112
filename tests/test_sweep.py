"""Sweeps repeat exactly, resume after any stop, and are not stopped by one failing run."""

import hashlib
import io
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from rich.console import Console

from vaebench.config import Study, load
from vaebench.config.registry import MODELS
from vaebench.records import record
from vaebench.records.files import LOCK
from vaebench.records.record import NewerError, Record
from vaebench.reporting.wandb.runs import Tracker
from vaebench.sweeps.run import Execution, execute_pack
from vaebench.sweeps.status import set_arrays_aside
from vaebench.sweeps.sweep import FILES, OTHER_FILES, Worker, _pending, runs_at_once, sweep
from vaebench.training.packed.capture import Unpackable

QUIET = Execution(wandb="disabled")

STUDY = """
question: Does it come out the same?
model: {latent_dim: 3, network: {name: MLP, hidden: [16]}}
data: {name: Digits, binarize: Dynamic}
train: {epochs: 2, batch_size: 256}
evaluate: {draws: 10}
grid:
  model: [AE, {name: BetaVAE, beta: 4}]
  seed: 0..1
"""


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return written(tmp_path, STUDY)


def written(folder: Path, text: str) -> Study:
    path = folder / "tiny.yaml"
    path.write_text(text)
    return load(path)


def swept(study: Study, folder: Path, how: Execution = QUIET) -> tuple[list[Record], str]:
    heard = io.StringIO()
    outcome = sweep(study, folder, how, Console(file=heard, width=200))
    assert not outcome.missing
    return outcome.records, heard.getvalue()


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[list[Record], Path]:
    """The records of the study, and the folder of its runs."""
    place = tmp_path_factory.mktemp("whole")
    return swept(written(place, STUDY), place / "runs")[0], place / "runs"


@pytest.fixture
def runs(whole, tmp_path) -> Path:
    """A copy of that folder."""
    return Path(shutil.copytree(whole[1], tmp_path / "runs"))


def numbers(one: Record) -> Record:
    """A record without what may differ between two executions: when, how long, on what."""
    return replace(one, provenance={})


def test_twice_the_same_sweep_gives_the_same_records(study, whole, tmp_path):
    first, (second, _) = whole[0], swept(study, tmp_path / "second")
    assert list(map(numbers, first)) == list(map(numbers, second))
    assert {r.status for r in first} == {"done"}


def test_a_run_alone_by_its_id_gives_the_numbers_of_the_sweep(study, whole, tmp_path):
    records, _ = whole
    chosen = study.only(records[2].id)
    (alone,) = execute_pack(
        [chosen], study.name, list(study.axes), [tmp_path / "alone"], QUIET, lambda epoch, latest: None
    )
    assert numbers(alone) == numbers(records[2])


def test_finished_runs_are_not_repeated(study, runs):
    before = {p: p.stat().st_mtime_ns for p in runs.glob("*/record.json")}
    records, heard = swept(study, runs)
    assert before == {p: p.stat().st_mtime_ns for p in runs.glob("*/record.json")}
    assert len(records) == 4
    assert "4 of 4 runs are done; 0 to go" in heard


def test_a_damaged_record_is_renamed_and_its_run_repeated(study, whole, runs):
    records, _ = whole
    path = runs / records[0].id / "record.json"
    half = path.read_bytes()[: path.stat().st_size // 2]
    path.write_bytes(half)
    again, heard = swept(study, runs)
    assert list(map(numbers, again)) == list(map(numbers, records))
    assert path.with_suffix(".damaged").read_bytes() == half
    assert "damaged or half-written" in heard
    assert "kept as record.damaged, the run is repeated" in heard
    path.write_bytes(b"again")
    swept(study, runs)
    assert path.with_suffix(".damaged").read_bytes() == half
    assert path.with_suffix(".damaged1").read_bytes() == b"again"


def resealed(path: Path, **changes) -> bytes:
    """A record with changed entries and a fitting checksum."""
    entries = json.loads(path.read_bytes()) | changes
    del entries["sha256"]
    sealed = {"sha256": hashlib.sha256(json.dumps(entries, sort_keys=True, separators=(",", ":")).encode()).hexdigest()}
    return json.dumps(entries | sealed).encode()


TAMPERED = {
    "the record of another run": lambda own, other: other.read_bytes(),
    "the record of another study": lambda own, other: resealed(own, study="other"),
    "changed after it was written": lambda own, other: own.read_bytes().replace(b'"n": ', b'"n": 1'),
    "is not the hash of its configuration": lambda own, other: resealed(
        own, config=json.loads(other.read_bytes())["config"]
    ),
    "expected n and errors of 0 or more": lambda own, other: resealed(
        own, estimates=[{"name": "elbo", "value": -1.0, "standard_error": 1.0, "n": -5}]
    ),
}


@pytest.mark.parametrize("said", TAMPERED)
def test_a_tampered_record_is_renamed_and_its_run_repeated_once(study, whole, runs, said):
    study = replace(study, runs=study.runs[:2])
    own, other = (runs / run.id / "record.json" for run in study.runs)
    wrong = TAMPERED[said](own, other)
    own.write_bytes(wrong)
    again, heard = swept(study, runs)
    before = {r.id: numbers(r) for r in whole[0]}
    assert [numbers(r) for r in again] == [before[run.id] for run in study.runs]
    (line,) = (line for line in heard.splitlines() if "the run is repeated" in line)
    assert line.startswith(f"{own}: ")
    assert said in line
    assert own.with_suffix(".damaged").read_bytes() == wrong
    assert "2 of 2 runs are done; 0 to go" in swept(study, runs)[1]


def test_a_record_of_a_newer_version_stops_a_sweep_before_it_works(study, tmp_path):
    """Nothing is trained and nothing is renamed, whatever else is unfinished."""
    (tmp_path / study.runs[1].id).mkdir()
    (tmp_path / study.runs[2].id).mkdir()
    (tmp_path / study.runs[1].id / "record.json").write_text("damaged")
    newer = tmp_path / study.runs[2].id / "record.json"
    newer.write_text('{"format": 99, "all": "else"}')
    with pytest.raises(NewerError, match=rf"^{newer}: format 99, .*; update vaebench$"):
        swept(study, tmp_path)
    with pytest.raises(NewerError):
        Worker(study.name, study.axes, tmp_path, QUIET).repeat(study.runs[2])
    assert {p.name for p in tmp_path.glob("*/*")} <= {"record.json", "lock"}
    assert newer.read_text() == '{"format": 99, "all": "else"}'


def test_one_failing_run_stops_no_other_and_says_why(tmp_path):
    study = written(tmp_path, STUDY.replace("seed: 0..1", "model.learning_rate: [1.0e-3, 1.0e+18]"))
    records, heard = swept(study, tmp_path / "runs")
    status = {r.config["model"]["learning_rate"]: r.status for r in records if r.config["model"]["name"] == "BetaVAE"}
    assert status == {1e-3: "done", 1e18: "failed"}
    reason = next(r.reason for r in records if r.status == "failed")
    assert "lower model.learning_rate" in str(reason)
    assert str(reason) in heard


GRID = """
grid:
  model.beta: [1, 4]
  model.learning_rate: [1.0e-3, 1.0e+18]
  train.gradient_clip: [null, 1]
  seed: 0..1
"""


@pytest.mark.slow
def test_packing_changes_no_number(tmp_path):
    """Sixteen runs, half of them diverging, as one pack, in threes and each by itself: the same records."""
    text = STUDY.partition("grid:")[0].replace("model: {", "model: {name: BetaVAE, ")
    study = written(tmp_path, text + GRID)
    (one, heard), (threes, _), (alone, _) = (
        swept(study, tmp_path / str(most), replace(QUIET, max_pack_size=most)) for most in (16, 3, 1)
    )
    assert "16 runs as 1 pack" in heard
    assert list(map(numbers, one)) == list(map(numbers, threes)) == list(map(numbers, alone))
    assert [r.status for r in one].count("failed") == 8


def test_a_pack_that_cannot_train_is_split(study, whole, tmp_path, monkeypatch):
    """Memory is too small for two runs: each has the same numbers as in a pack that fits."""
    monkeypatch.setattr("vaebench.training.memory.available", lambda: 0)
    parted, _ = swept(study, tmp_path / "parted")
    assert list(map(numbers, parted)) == list(map(numbers, whole[0]))


def test_a_model_that_cannot_be_packed_trains_in_a_plain_trainer(study, whole, tmp_path, monkeypatch):
    """Lightning's own loop gives the same numbers up to rounding."""

    def refuse(*_):
        raise Unpackable("for this test")

    monkeypatch.setattr("vaebench.training.packed.module.check_compatible", refuse)
    plain, _ = swept(study, tmp_path / "plain")
    for a, b in zip(plain, whole[0], strict=True):
        assert a.status == b.status == "done"
        assert a.curve["train/objective"] == pytest.approx(b.curve["train/objective"], rel=1e-6)
        assert [e.name for e in a.estimates] == [e.name for e in b.estimates]
        assert a.not_applicable == b.not_applicable


@pytest.mark.parametrize("model", ["PPCA", "VAE"])
def test_each_run_opens_one_wandb_run_also_where_no_pack_can_train(tmp_path, monkeypatch, model):
    seen = []

    def tracked(run, *_):
        seen.append(run.id)
        return nullcontext(Tracker(None, tmp_path))

    monkeypatch.setattr("vaebench.sweeps.run.tracked", tracked)
    text = STUDY.replace("[AE, {name: BetaVAE, beta: 4}]", f"[{model}]").replace("0..1", "0..2")
    study = written(tmp_path, text.replace(", network: {name: MLP, hidden: [16]}", ""))
    swept(study, tmp_path / "runs")
    assert sorted(seen) == sorted(run.id for run in study.runs)


def test_a_pack_is_as_large_as_the_open_files_allow(study, whole, tmp_path, monkeypatch):
    """Each run holds its lock. The numbers are those of one pack."""
    before, sizes = resource.getrlimit(resource.RLIMIT_NOFILE), []

    def executed(runs, *arguments):
        sizes.append(len(runs))
        return execute_pack(runs, *arguments)

    monkeypatch.setattr("vaebench.sweeps.sweep.execute_pack", executed)
    monkeypatch.setattr("vaebench.sweeps.sweep.OTHER_FILES", before[0] - 3)
    monkeypatch.setattr("resource.setrlimit", lambda *_: (_ for _ in ()).throw(ValueError))  # no more can be had
    records, _ = swept(study, tmp_path / "runs")
    assert sizes == [1] * 4
    assert list(map(numbers, records)) == list(map(numbers, whole[0]))


def test_the_limit_of_open_files_is_raised_where_a_pack_needs_it(monkeypatch):
    asked = []
    monkeypatch.setattr("resource.getrlimit", lambda _: (1024, 4096))
    monkeypatch.setattr("resource.setrlimit", lambda _, limits: asked.append(limits))
    assert runs_at_once(100) == 100
    assert not asked
    assert runs_at_once(1024) == 1024
    assert runs_at_once(4096) == (4096 - OTHER_FILES) // FILES
    assert asked == [(1024 * FILES + OTHER_FILES, 4096), (4096, 4096)]


def test_a_failed_run_is_tried_again(tmp_path, monkeypatch):
    study = written(tmp_path, STUDY)
    monkeypatch.setattr("vaebench.sweeps.run.fit", lambda *_: (_ for _ in ()).throw(MemoryError("too large")))
    records, _ = swept(study, tmp_path / "runs")
    assert {(r.status, r.reason) for r in records} == {("failed", "MemoryError: too large")}
    monkeypatch.undo()
    records, _ = swept(study, tmp_path / "runs")
    assert {r.status for r in records} == {"done"}


def test_a_record_that_cannot_be_written_says_why_and_stops_no_other(tmp_path, monkeypatch):
    """A metric of a user may return anything; here the second of four runs has a tensor among its facts."""
    study, calls = written(tmp_path, STUDY), iter(range(4))

    def facts(model):
        return {"odd": torch.zeros(2)} if next(calls) == 1 else {}

    for name in ("AE", "BetaVAE"):
        monkeypatch.setattr(MODELS[name], "facts", facts)
    records, _ = swept(study, tmp_path / "runs")
    assert [r.status for r in records] == ["done", "failed", "done", "done"]
    assert "expected plain numbers" in records[1].reason


@pytest.mark.parametrize("fails", [False, True], ids=["done", "failed"])
def test_a_folder_whose_name_is_not_utf_8_loses_no_record(tmp_path, monkeypatch, fails):
    """The command in a record names the study; the byte E9 stands there as an escape."""
    (run, *_) = written(tmp_path, STUDY).runs
    run = run.named(run.slug, "fr\udce9d/tiny.yaml")
    if fails:
        monkeypatch.setattr(MODELS["AE"], "facts", lambda model: {"odd": torch.zeros(2)})
    (made,) = execute_pack([run], "tiny", [], [tmp_path / run.id], QUIET, lambda epoch, latest: None)
    assert made.status == ("failed" if fails else "done")
    assert record.read(tmp_path / run.id / "record.json").provenance["command"] == made.provenance["command"]
    assert made.provenance["command"].startswith("python -m vaebench train fr\\udce9d/tiny.yaml --id")


def test_a_failed_run_names_the_device_on_which_it_would_have_trained(tmp_path, monkeypatch):
    (run, *_) = written(tmp_path, STUDY).runs
    monkeypatch.setattr("vaebench.sweeps.run.fit", lambda *_: [MemoryError("too large")])
    monkeypatch.setattr("vaebench.sweeps.run.device", lambda: torch.device("cuda", 0))
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: "a large one")
    (made,) = execute_pack([run], "tiny", [], [tmp_path / run.id], QUIET, lambda epoch, latest: None)
    assert (made.status, made.provenance["device"]) == ("failed", "cuda:0: a large one")


def test_nobody_is_told_that_a_run_is_done_before_its_record_stands(tmp_path, monkeypatch):
    study, told = written(tmp_path, STUDY), []

    def conclude(self, outcome):
        told.append(record.read(tmp_path / "runs" / outcome.id / "record.json") == outcome)

    monkeypatch.setattr("vaebench.sweeps.run._Watchers.conclude", conclude)
    swept(study, tmp_path / "runs")
    assert told == [True] * 4


@pytest.mark.parametrize("damage", ["record.json", "arrays.npz"])
def test_a_file_of_a_run_that_another_process_holds_is_left_alone(study, whole, tmp_path, damage):
    """It may be about to write that file anew."""
    place = Path(shutil.copytree(whole[1], tmp_path / "runs")) / study.runs[0].id
    (place / damage).write_bytes(b"half")
    heard = Console(file=io.StringIO(), width=200)
    with FileLock(place / LOCK):
        if damage == "record.json":
            _pending(study, tmp_path / "runs", {place.name}, heard)
        else:
            set_arrays_aside(whole[0], tmp_path / "runs", heard)
    assert (place / damage).read_bytes() == b"half"
    assert not list(place.glob("*.damaged*"))
    _, said = swept(study, tmp_path / "runs")
    assert f"kept as {Path(damage).stem}.damaged" in said


@pytest.mark.parametrize("leaves", ["nothing", "a record"])
def test_a_run_held_by_another_process_is_waited_for(study, whole, tmp_path, leaves):
    """A run that it did not finish is executed; a run that it finished is not repeated."""
    expected, done = whole
    first = study.runs[0]
    folder = tmp_path / "runs" / first.id
    folder.mkdir(parents=True)
    content = (done / first.id / "record.json").read_bytes()
    with ThreadPoolExecutor() as pool:
        with FileLock(folder / LOCK):
            ours = pool.submit(swept, study, tmp_path / "runs")
            while len(list(tmp_path.glob("runs/*/record.json"))) < 3:
                time.sleep(0.02)
            if leaves == "a record":
                (folder / "record.json").write_bytes(content)
        records, heard = ours.result()
    assert "waiting for 1 runs that another process works on" in heard
    assert list(map(numbers, records)) == list(map(numbers, expected))
    assert ((folder / "record.json").read_bytes() == content) == (leaves == "a record")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "status"),
    [(signal.SIGKILL, -9), (signal.SIGINT, 130), (signal.SIGTERM, 130)],
    ids=["killed", "interrupted", "terminated"],
)
def test_a_sweep_stopped_anywhere_is_completed_by_the_same_command(tmp_path, sent, status):
    """The sweep runs as a user runs it and is stopped after its first record; finished runs are not repeated."""
    (tmp_path / "tiny.yaml").write_text(STUDY.replace("epochs: 2", "epochs: 20"))
    command = [sys.executable, "-m", "vaebench", "sweep", "tiny.yaml", "--wandb", "disabled"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL) as process:
        while not (done := list(tmp_path.glob("runs/tiny/*/record.json"))):
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(sent)
    assert process.returncode == status
    assert len(list(tmp_path.glob("runs/tiny/*/record.json"))) < 4
    before = {p: p.read_bytes() for p in done}
    again = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100)
    assert again.returncode == 0, again.stdout + again.stderr
    assert {p: p.read_bytes() for p in done} == before
    assert len(record.read_all(tmp_path / "runs/tiny")) == 4
    assert (tmp_path / "runs/tiny/table.md").is_file()
