"""Logs in CSV and for TensorBoard say what the record says: each epoch once, also after a stop, alone and in packs."""

import csv
from pathlib import Path
from typing import Any

import pytest
from commands import vaebench

from vaebench.config import Study, load
from vaebench.records.record import Record
from vaebench.sweeps.run import Execution, execute_pack
from vaebench.training import loggers

BOTH = Execution(wandb="disabled", loggers=("csv", "tensorboard"), save_every=0.0)

TINY = """
question: Is it logged?
model: {name: VAE, latent_dim: 2, network: {name: MLP, hidden: [8]}}
data: {name: Digits, binarize: Fixed}
train: {epochs: 4, batch_size: 512, validate_every: 2}
evaluate: {draws: 10, metrics: [ELBO]}
grid: {seed: 0..1}
"""


class Stopped(BaseException):
    """What a signal raises."""


def study_in(folder: Path, text: str = TINY) -> Study:
    (folder / "tiny.yaml").write_text(text)
    return load(folder / "tiny.yaml")


def executed(study: Study, folder: Path, stop: int | None = None) -> list[Record]:
    """All runs of a study as one pack. With `stop`, training ends after so many epochs, with its snapshots written."""

    def watch(epoch: int, latest: object) -> None:
        if epoch - 1 == stop:
            raise Stopped

    folders = [folder / run.id for run in study.runs]
    return list(execute_pack(study.runs, study.name, [], folders, BOTH, watch))


def rows(folder: Path, record: Record) -> list[dict[str, str]]:
    (path,) = folder.glob(f"csv/*{record.id}/metrics.csv")
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def is_the_curve(folder: Path, record: Record) -> None:
    found = rows(folder, record)
    assert [int(row["epoch"]) for row in found] == record.curve["epoch"] == [1, 2, 3, 4]
    for name, values in ((name, values) for name, values in record.curve.items() if name != "epoch"):
        assert [row[name] for row in found] == ["" if v is None else str(v) for v in values], name


def scalars(folder: Path, record: Record) -> dict[str, list[tuple[int, float]]]:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    (place,) = folder.glob(f"tensorboard/*{record.id}")
    read = events.EventAccumulator(str(place))
    read.Reload()
    return {tag: [(e.step, e.value) for e in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


ALONE = TINY.replace("epochs: 4", "early_stopping: {patience: 9}, epochs: 4").replace("0..1", "[0]")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("text", [TINY, ALONE], ids=["in a pack", "alone"])
def test_every_epoch_is_logged_once_also_after_a_stop(text: str, tmp_path: Path) -> None:
    study = study_in(tmp_path, text)
    with pytest.raises(Stopped):
        executed(study, tmp_path, stop=2)
    for record in executed(study, tmp_path):
        assert record.status == "done"
        is_the_curve(tmp_path, record)
        seen = scalars(tmp_path, record)
        curve = record.curve["train/objective"]
        assert seen["train/objective"] == [(i, pytest.approx(v)) for i, v in enumerate(curve, 1)]
        assert seen["test/elbo"] == [(4, pytest.approx(record.estimate("elbo").value))]


def test_a_full_disk_stops_a_log_and_no_training(tmp_path: Path, monkeypatch: Any, caplog: Any) -> None:
    def full(*_: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("lightning.pytorch.loggers.CSVLogger.log_metrics", full)
    study = study_in(tmp_path)
    assert [record.status for record in executed(study, tmp_path)] == ["done", "done"]
    assert caplog.text.count("CSVLogger of run") == len(study.runs)


def test_a_missing_library_is_named_before_anything_runs(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loggers, "find_spec", lambda name: None)
    study_in(tmp_path)
    sweep = ("sweep", "tiny.yaml", "--wandb", "disabled", "--logger")
    assert "pip install 'vaebench[tensorboard]'" in vaebench(*sweep, "tensorboard", status=1)
    assert "--logger: expected csv or tensorboard, got 'tensorbord'" in vaebench(*sweep, "tensorbord", status=1)
    assert not (tmp_path / "runs").exists()


def test_a_folder_is_named_by_the_run_whatever_stands_in_its_name(tmp_path: Path) -> None:
    run = study_in(tmp_path).runs[0].named("path=a/../β, seed=0", "")
    assert loggers.folder_name(run) == f"path=a-..-,-seed=0-{run.id}"
