"""The progress display shows what is in the sweep's folder: each run once, and nothing else."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from time import sleep

import pytest
from filelock import FileLock
from rich.console import Console

from vaebench.config import Run, load
from vaebench.records import record
from vaebench.records.files import LOCK, PROGRESS
from vaebench.records.record import Record
from vaebench.sweeps import progress
from vaebench.sweeps.progress import Display, Heartbeat, read_progress
from vaebench.sweeps.status import remove_stale_progress

STUDY = (
    "question: Is it shown?\nmodel: AE\ndata: {name: Digits, binarize: Fixed}\ntrain: {epochs: 9}\ngrid: {seed: 0..2}\n"
)


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Run, ...]:
    (tmp_path / "tiny.yaml").write_text(STUDY)
    return load(tmp_path / "tiny.yaml").runs


def ended(run: Run, folder: Path, reason: str | None = None) -> None:
    status = "done" if reason is None else "failed"
    seconds = {"seconds": {"fit": 1.5, "evaluate": 0.5}}
    one = Record(id=run.id, study="tiny", status=status, reason=reason, config=run.config, provenance=seconds)
    record.write(one, folder / run.id / "record.json")


def lines(heard: io.StringIO) -> list[str]:
    return heard.getvalue().splitlines()


def test_a_run_is_shown_once_when_its_record_appears(runs, tmp_path):
    """The failed record of an earlier sweep is not shown; the record that replaces it is."""
    heard = io.StringIO()
    ended(runs[0], tmp_path, "an earlier sweep")
    with Display("tiny", runs, tmp_path, 5, Console(file=heard, width=200)) as display:
        display.update()
        assert lines(heard) == []
        ended(runs[1], tmp_path)
        display.update()
        display.update()
        assert lines(heard) == [f"[3/5] {runs[1].id} seed=1: 2.0 s"]
        ended(runs[0], tmp_path, "again")
        display.fail(runs, RuntimeError("the worker died"))
    assert lines(heard)[1:] == [
        f"[4/5] {runs[0].id} seed=0: failed: again",
        f"[5/5] {runs[2].id} seed=2: not recorded: RuntimeError: the worker died",
    ]


def test_a_pipe_gets_a_line_about_running_packs_and_where_they_run(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    heard, folders = io.StringIO(), [tmp_path / run.id for run in runs]
    beat = Heartbeat(folders, [run.slug for run in runs], 9)
    with Display("tiny", runs, tmp_path, 3, Console(file=heard, width=200)) as display:
        beat(4, {})
        display.update()
    assert lines(heard)[0].startswith("3 runs, seed=0 … seed=2: epoch 4 of 9, ")
    (seen,) = read_progress(folders)
    assert seen.runs == [run.id for run in runs]
    beat.close()
    assert list(read_progress(folders)) == []


def test_what_a_pack_has_done_and_where_is_never_cut(runs, tmp_path):
    """At 80 columns, only the names of the runs may be."""
    left(tmp_path, runs, host="a-machine-with-a-long-name", name="x" * 200, epoch=163, epochs=400)
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    display = Display("tiny", runs, tmp_path, 3, console)
    display.update()
    with console.capture() as captured:
        console.print(display._epochs)
    (shown,) = captured.get().splitlines()
    assert "163/400 epochs" in shown
    assert f"a-machine-with-a-long-name:{os.getpid()}" in shown
    assert len(shown) <= 80


def test_a_heartbeat_writes_seldom_but_the_last_epoch_always(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "WRITE_SECONDS", 3600.0)
    beat = Heartbeat([tmp_path / "a"], ["seed=0"], 9)
    seen = []
    for epoch in (1, 2, 9):
        beat(epoch, {"val/elbo": -1.5})
        (one,) = read_progress([tmp_path / "a"])
        seen.append((one.epoch, one.latest))
    assert seen == [(1, {"val/elbo": -1.5}), (1, {"val/elbo": -1.5}), (9, {"val/elbo": -1.5})]


@pytest.mark.parametrize("content", ["", "{", "[]", "null", json.dumps({"epoch": 3})])
def test_a_file_with_other_content_is_skipped(content, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / PROGRESS).write_text(content)
    assert list(read_progress([tmp_path / "a"])) == []


def left(folder: Path, runs: Sequence[Run], /, **other: object) -> Path:
    """The progress file of a pack that began there, with changed entries."""
    beat = Heartbeat([folder / run.id for run in runs], [run.slug for run in runs], 9)
    beat(4, {})
    path = folder / runs[0].id / PROGRESS
    path.write_text(json.dumps(json.loads(path.read_text()) | other))
    return path


def ended_process() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_a_process_of_this_machine_that_died_is_not_shown(runs, tmp_path):
    left(tmp_path, runs)
    assert list(read_progress([tmp_path / runs[0].id]))
    left(tmp_path, runs, pid=ended_process())
    assert not list(read_progress([tmp_path / runs[0].id]))


def test_a_silent_process_of_another_machine_is_not_shown(runs, tmp_path, monkeypatch):
    """By the clock of this machine; the clock of the other one may be wrong."""
    path, heard = left(tmp_path, runs, host="elsewhere", pid=ended_process()), io.StringIO()
    os.utime(path, (0, 0))
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    display = Display("tiny", runs, tmp_path, 3, Console(file=heard, width=200))
    display.update()
    assert len(lines(heard)) == 1
    monkeypatch.setattr(progress, "SILENT_SECONDS", 0.0)
    display.update()
    assert len(lines(heard)) == 1
    os.utime(path, (9, 9))
    display.update()
    assert len(lines(heard)) == 2


def test_an_epoch_may_take_long(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "BEAT_SECONDS", 0.01)
    beat = Heartbeat([tmp_path / runs[0].id], ["seed=0"], 9)
    beat(1, {})
    path = tmp_path / runs[0].id / PROGRESS
    os.utime(path, (0, 0))
    with beat.beating():
        for _ in range(500):
            if path.stat().st_mtime > 0:
                break
            sleep(0.01)
        assert path.stat().st_mtime > 0
    assert not path.exists()


def test_a_sweep_removes_the_progress_of_dead_processes_only(runs, tmp_path):
    path = left(tmp_path, runs)
    with FileLock(path.parent / LOCK):
        remove_stale_progress(path.parent)
        assert path.exists()
    remove_stale_progress(path.parent)
    assert not path.exists()
    path = left(tmp_path, runs[:1])
    Heartbeat(
        [tmp_path / run.id for run in runs[::-1]], ["a", "b", "c"], 9
    )  # a pack in which that run is not the first
    assert not path.exists()


@pytest.mark.parametrize(
    "entries",
    [
        {"runs": []},
        {"runs": 3},
        {"runs": ["../x"]},
        {"pid": -1},
        {"pid": 10**30},
        {"latest": {"val/elbo": "x"}},
        {"x": 1},
    ],
    ids=str,
)
def test_the_content_is_checked(entries, runs, tmp_path):
    left(tmp_path, runs, **entries)
    heard = io.StringIO()
    Display("tiny", runs, tmp_path, 3, Console(file=heard, width=200, force_terminal=True)).update()
    assert list(read_progress([tmp_path / runs[0].id])) == [] or entries == {"x": 1}
