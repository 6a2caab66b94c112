"""Studies by name, the installed wheel, and what the verbs say before and during a sweep."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from commands import vaebench
from filelock import FileLock

from vaebench.config import load, loading
from vaebench.config.registry import REGISTRIES
from vaebench.records import record
from vaebench.records.files import LOCK, RECORD, RESUME
from vaebench.sweeps.progress import Heartbeat
from vaebench.sweeps.status import State, counts, status

ROOT = Path(__file__).parents[1]


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_shipped_study_is_found_by_its_name(empty: Path) -> None:
    for name in loading.names():
        study = load(name)
        assert study.path.samefile(ROOT / f"conf/{name}.yaml")
        assert study.runs[0].source == name


def test_a_file_here_comes_before_a_shipped_study(empty: Path) -> None:
    vaebench("init")
    (empty / "conf/smoke.yaml").write_text("question: mine?\nmodel: AE\ndata: {name: Digits, binarize: Dynamic}\n")
    assert load("smoke").question == "mine?"
    assert "0 files written" in vaebench("init")
    assert load("smoke").question == "mine?"


def test_a_name_that_no_study_has_is_one_error(empty: Path) -> None:
    assert "did you mean beta?" in vaebench("sweep", "betta", status=1)


@pytest.mark.parametrize(("registry", "name"), [(r, name) for r in REGISTRIES for name in r])
def test_every_component_lists_its_keys(registry, name: str) -> None:
    (keys,) = (
        keys for heading, keys in json.loads(vaebench("list", name, "--json")).items() if registry.kind in heading
    )
    assert {key["name"] for key in keys} == set(registry.keywords(name))
    assert all(key["help"] and key["expected"] for key in keys), [key for key in keys if not key["help"]]


def test_the_version_is_that_of_the_package() -> None:
    import vaebench as package

    assert vaebench("--version") == f"vaebench {package.__version__}\n"


def test_a_dry_run_starts_nothing_and_names_every_run(empty: Path) -> None:
    said = vaebench("sweep", "smoke", "--dry-run", "--json")
    assert [id for pack in json.loads(said) for id in pack["runs"]] == [run.id for run in load("smoke").runs]
    assert all(pack["bytes"] > 0 for pack in json.loads(said))
    assert all(pack["seconds"] is None for pack in json.loads(said))  # no record says how long such a run takes
    assert list(empty.iterdir()) == []


def test_the_time_of_a_dry_run_is_that_of_earlier_records(empty: Path) -> None:
    (empty / "results").symlink_to(ROOT / "results")
    run = load("beta").runs[0]
    spent = record.read(ROOT / f"results/beta/records/{run.id}.json").provenance["seconds"]
    (pack,) = json.loads(vaebench("sweep", "beta", "beta=0.1", "seed=0", "--dry-run", "--json"))
    assert pack["seconds"] == pytest.approx(sum(spent.values()))


def test_the_status_says_where_each_run_stands(empty: Path) -> None:
    study, folder = load("beta", ["seed=0"]), empty / "runs/beta"
    done, failed, stopped, damaged, training, waiting = study.runs
    for run in study.runs[:5]:
        (folder / run.id).mkdir(parents=True)
    record.write(record.Record(id=done.id, study="beta", status="done", config=done.config), folder / done.id / RECORD)
    bad = record.Record(id=failed.id, study="beta", status="failed", reason="diverged", config=failed.config)
    record.write(bad, folder / failed.id / RECORD)
    (folder / stopped.id / RESUME).write_bytes(b"")
    (folder / damaged.id / RECORD).write_bytes(b"{")
    beat = Heartbeat([folder / training.id], ["this one"], 9)
    beat(3, {})
    found = {run.id: run for run in status(study, folder)}
    states = [found[run.id].state for run in study.runs]
    assert states == [State.DONE, State.FAILED, State.STOPPED, State.DAMAGED, State.IN_TRAINING, State.NOT_STARTED]
    assert found[failed.id].detail == "diverged"
    assert found[training.id].detail.startswith("epoch 3 of 9, ")
    (folder / waiting.id).mkdir()
    with FileLock(folder / waiting.id / LOCK):
        assert status(study, folder)[-1].state is State.AT_WORK
    (folder / failed.id / LOCK).mkdir()  # as in a folder that is read only: the lock cannot be asked
    assert {run.id: run.state for run in status(study, folder)}[failed.id] is State.FAILED
    assert counts(status(study, folder)).startswith("6 runs: 1 done, 1 failed, 1 in training")
    assert [run["state"] for run in json.loads(vaebench("status", "beta", "seed=0", "--json", status=1))] == states


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_verb_works_from_a_wheel_in_an_empty_folder(empty: Path) -> None:
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", "wheel", str(ROOT)], check=True, timeout=300)
    (wheel,) = Path("wheel").glob("vaebench-*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", "installed", str(wheel)], check=True, timeout=300)
    (empty / "work").mkdir()

    def python(*arguments: str) -> str:
        place = {**os.environ, "PYTHONPATH": str(empty / "installed")}
        command = [sys.executable, *arguments]
        done = subprocess.run(command, cwd=empty / "work", env=place, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "smoke" in python("-m", "vaebench", "list")
    ids = sorted(run.id for run in load("smoke").runs)
    verbs = [["sweep", "smoke", "--wandb", "disabled"], ["status", "smoke"], ["publish", "smoke"]]
    verbs += [["table", "--check"], ["report", "--check"], ["dashboard", "smoke"], ["show", ids[0]], ["init"]]
    verbs += [["compare", "smoke", "smoke"], ["evaluate", f"runs/smoke/{ids[0]}", "--draws", "5"]]
    said = dict(zip(map(tuple, verbs), json.loads(python("-c", VERBS, json.dumps(verbs))), strict=True))
    assert [path.parent.name for path in sorted((empty / "work/runs/smoke").glob(f"*/{RECORD}"))] == ids
    assert "4 done" in said["status", "smoke"]


VERBS = """
import json, sys
from pathlib import Path
from typer.testing import CliRunner
import vaebench
from vaebench.__main__ import app

assert Path(vaebench.__file__).parents[1].name == "installed"
said = []
for arguments in json.loads(sys.argv[1]):
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, (arguments, result.output, result.exception)
    said.append(result.output)
sys.stdout.write(json.dumps(said))
"""
"""What all these verbs say, in one process."""


FILES = sorted((ROOT / "conf").rglob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda path: str(path.relative_to(ROOT / "conf")))
def test_every_published_study_passes_every_check_before_training(empty: Path, file: Path) -> None:
    assert "nothing is started now" in vaebench("sweep", str(file), "--dry-run")


def shown_commands() -> list[str]:
    """The sweeps that the texts show, without those of a machine with more GPUs or a cluster."""
    texts = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")))
    found = re.findall(r"^ +python -m vaebench (sweep [^#\n]+?)(?: +#.*)?$", texts, re.M)
    return sorted({c for c in found if "--address" not in c and "--gpus" not in c and "online" not in c})


@pytest.mark.parametrize("command", shown_commands())
def test_every_sweep_that_the_texts_show_passes_the_same_checks(empty: Path, command: str) -> None:
    (empty / "conf").symlink_to(ROOT / "conf")
    assert "nothing is started now" in vaebench(*command.removesuffix(" --dry-run").split(), "--dry-run")


def test_every_study_that_the_texts_show_is_one(empty: Path) -> None:
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))]
    blocks = [block for text in texts for block in re.findall(r"^```yaml\n(question:.*?)^```$", text, re.M | re.S)]
    assert blocks
    for block in blocks:
        (empty / "study.yaml").write_text(block)
        assert "nothing is started now" in vaebench("sweep", "study.yaml", "--dry-run")
