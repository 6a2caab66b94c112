"""Offline W&B runs, read back by W&B's own command, say what the record says."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from vaebench import pictures
from vaebench.config import load
from vaebench.record import Record
from vaebench.run import Execution, execute

TINY = """
question: Does W&B hear the truth?
model: {name: VAE, latent_dim: 2, network: {name: MLP, hidden: [8]}}
data: {name: Digits, binarize: Fixed}
train: {epochs: 4, batch_size: 512, validate_every: 2}
evaluate: {draws: 10}
"""


def inspected(path: Path, *options: str) -> str:
    command = [sys.executable, "-m", "wandb", "leet", "inspect", *options, "--json", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.fixture(scope="module")
def tracked(tmp_path_factory) -> tuple[Record, Path]:
    folder = tmp_path_factory.mktemp("tracked")
    (folder / "tiny.yaml").write_text(TINY)
    study = load(folder / "tiny.yaml")
    record = execute(study.runs[0], study.name, [], folder, Execution(wandb="offline"), lambda epoch, latest: None)
    (path,) = folder.glob("wandb/offline-run-*/*.wandb")
    return record, path


def test_summary_and_configuration_are_the_record(tracked):
    record, path = tracked
    seen = json.loads(inspected(path, "--summary"))
    config = seen["config"]
    assert {key: config[key] for key in record.config} == record.config
    assert (config["id"], config["study"], config["facts"]) == (record.id, "tiny", json.loads(json.dumps(record.facts)))
    assert seen["exit_code"] == 0
    summary = seen["summary"]
    for estimate in record.scalars:
        assert summary[f"test/{estimate.name}"] == pytest.approx(estimate.value, rel=1e-12)


def test_pictures_are_media_of_the_run(tracked):
    """The pixels that the summary points to are those of the file beside the record."""
    _, path = tracked
    summary = json.loads(inspected(path, "--summary"))["summary"]
    kept = pictures.read(path.parents[2] / pictures.NAME)
    for name, sheet in (("reconstructions", kept.pairs), ("samples", kept.drawn), ("traversals", kept.moved)):
        media = summary[f"test/{name}"]
        assert media["_type"] == "image-file"
        found = imread(path.parent / "files" / media["path"])
        assert np.array_equal((found * 255).round().astype(np.uint8), pictures.coloured(sheet))


def test_history_is_the_curve(tracked):
    record, path = tracked
    lines = [json.loads(line) for line in inspected(path).splitlines()]
    run = next(line["run"] for line in lines if line["type"] == "run")
    assert (run["project"], run["run_group"], run["job_type"]) == ("vaebench", "tiny", "train")
    seen: dict[str, list[float]] = {}
    for line in (line["history"] for line in lines if line["type"] == "history"):
        for key, value in line["item"].items():
            seen.setdefault(key, []).append(value)
    for name in ("train/objective", "val/elbo", "val/rate"):
        assert seen[name] == pytest.approx([v for v in record.curve[name] if v is not None])


def test_a_failing_run_leaves_its_reason_and_frees_the_logger(tmp_path):
    """Two runs one after the other in a process, the first failing: two W&B runs, each with its own end."""
    (tmp_path / "tiny.yaml").write_text(TINY + "grid: {model.learning_rate: [1.0e+18, 1.0e-3]}\n")
    study = load(tmp_path / "tiny.yaml")
    for run in study.runs:
        execute(run, study.name, [], tmp_path / run.id, Execution(wandb="offline"), lambda epoch, latest: None)
    seen = [
        json.loads(inspected(next(tmp_path.glob(f"{run.id}/wandb/offline-run-*/*.wandb")), "--summary"))["summary"]
        for run in study.runs
    ]
    assert [s["status"] for s in seen] == ["failed", "done"]
    assert "lower model.learning_rate" in seen[0]["reason"]
