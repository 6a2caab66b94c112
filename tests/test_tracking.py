"""Offline W&B runs, read back by W&B's own command, say what the records say."""

import base64
import csv
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread
from rich.console import Console
from wandb.errors import CommError
from wandb.sdk.mailbox import MailboxClosedError

from vaebench.config import Run, load
from vaebench.data.datamodule import data_of
from vaebench.evaluation.measure import build_metrics, measure
from vaebench.models.vae import VAE
from vaebench.records import arrays
from vaebench.records import record as records
from vaebench.records.files import ARRAYS, CHECKPOINT, WriteError
from vaebench.records.record import UNIT_CURVE, Record
from vaebench.reporting.page import site
from vaebench.reporting.tables import rendering
from vaebench.reporting.tables import table as tables
from vaebench.reporting.tables.quantities import Fact, quantities
from vaebench.reporting.wandb import runs as wandb
from vaebench.sweeps.run import Execution, execute_pack
from vaebench.sweeps.sweep import sweep

ROOT = Path(__file__).parents[1]

TINY = """
question: Does W&B hear the truth?
model: {name: VAE, latent_dim: 2, network: {name: MLP, hidden: [8]}}
data: {name: Digits, binarize: Fixed}
train: {epochs: 4, batch_size: 512, validate_every: 2}
evaluate: {draws: 10}
"""


@cache
def inspected(path: Path, *options: str) -> str:
    command = [sys.executable, "-m", "wandb", "leet", "inspect", *options, "--json", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def told(path: Path) -> dict[str, Any]:
    """What W&B shows of a run when it is over."""
    return json.loads(inspected(path, "--summary"))


def entries(path: Path, kind: str) -> list[dict[str, Any]]:
    lines = map(json.loads, inspected(path).splitlines())
    return [line[kind] for line in lines if line["type"] == kind]


def rows(path: Path, media: dict[str, Any]) -> dict[str, Any]:
    """A table of a W&B run, as it lies beside its log."""
    assert media["_type"] == "table-file"
    return json.loads((path.parent / "files" / media["path"]).read_text())


def html(path: Path, media: dict[str, Any]) -> str:
    """A page of a W&B run, as it lies beside its log."""
    assert media["_type"] == "html-file"
    return (path.parent / "files" / media["path"]).read_text()


def runs_below(folder: Path) -> list[Path]:
    return sorted(folder.glob("wandb/offline-run-*/*.wandb"))


@pytest.fixture(scope="module")
def tracked(tmp_path_factory) -> tuple[Record, Path]:
    folder = tmp_path_factory.mktemp("tracked")
    (folder / "tiny.yaml").write_text(TINY)
    study = load(folder / "tiny.yaml")
    how = Execution(wandb="offline", question=study.question)
    (record,) = execute_pack([study.runs[0]], study.name, [], [folder / "run"], how, lambda epoch, latest: None)
    (path,) = runs_below(folder)
    return record, path


def test_configuration_is_the_records_own(tracked):
    record, path = tracked
    seen = told(path)
    config = seen["config"]
    assert {key: config[key] for key in record.config} == record.config
    assert (config["id"], config["study"]) == (record.id, "tiny")
    assert config["provenance"]["commit"] == record.provenance["commit"]
    assert seen["exit_code"] == 0
    run = entries(path, "run")[-1]
    assert (run["project"], run["run_group"], run["job_type"]) == ("vaebench", "tiny", "train")
    assert run["tags"] == ["VAE", "Digits"]


def test_what_is_said_in_words_stands_in_the_notes(tracked):
    """The configuration becomes columns, in which sentences would disturb."""
    record, path = tracked
    config, notes = told(path)["config"], entries(path, "run")[-1]["notes"]
    said = {name: fact for name, fact in record.facts.items() if isinstance(fact, str) and " " in fact}
    assert said
    assert config["facts"] == json.loads(json.dumps({k: v for k, v in record.facts.items() if k not in said}))
    texts = [*said.values(), *record.not_applicable.values(), *(e.note for e in record.estimates if e.note)]
    assert record.not_applicable
    assert [text for text in texts if text not in notes or text in json.dumps(config, ensure_ascii=False)] == []
    assert notes.startswith("Does W&B hear the truth?\n\n")


def test_pictures_over_epochs_are_media_on_the_axis_of_epochs(tracked):
    """After epochs 1, 2 and 4 of four, from the same observations; those of the last epoch show the trained model."""
    _, path = tracked
    for name in ("reconstructions", "samples"):
        items = [e["item"] for e in entries(path, "history") if f"val/{name}.path" in e["item"]]
        assert [item["epoch"] for item in items] == [1, 2, 4]
        seen = [imread(path.parent / "files" / item[f"val/{name}.path"]) for item in items]
        assert not np.array_equal(seen[0], seen[-1])
        if name == "reconstructions":
            assert all(np.array_equal(seen[0][:8], other[:8]) for other in seen)  # the observations


def test_the_variables_of_wandb_hold(tmp_path, monkeypatch):
    import wandb as library

    library.setup()  # which reads the variables, once in a process
    for name, value in (("PROJECT", "mine"), ("ENTITY", "us"), ("TAGS", "a, VAE"), ("NOTES", "why")):
        monkeypatch.setenv(f"WANDB_{name}", value)
    (tmp_path / "tiny.yaml").write_text(TINY)
    with wandb.tracked(load(tmp_path / "tiny.yaml").runs[0], "tiny", tmp_path / "run", "offline"):
        pass
    (path,) = runs_below(tmp_path)
    (run,) = entries(path, "run")
    assert (run["project"], run["entity"], run["notes"]) == ("mine", "us", "why")
    assert run["tags"] == ["VAE", "Digits", "a"]


def test_every_number_of_the_table_is_in_the_summary(tracked):
    record, path = tracked
    summary = told(path)["summary"]
    shown = {q.name: q.read(record).value for q in quantities([record]) if not isinstance(q, Fact)}
    assert {"elbo", "iwae_5", "bits_per_dimension", "collapsed_by_objective"} <= set(shown)
    for name, value in shown.items():
        assert summary[f"test/{name}"] == pytest.approx(value, rel=1e-12), name


def test_history_is_the_curve_on_its_own_axis(tracked):
    record, path = tracked
    seen: dict[str, dict[float, float]] = {}
    for item in (entry["item"] for entry in entries(path, "history")):
        for name in item.keys() & record.curve.keys():
            seen.setdefault(name, {})[item["epoch"]] = item[name]
    axis = record.curve["epoch"]
    assert axis == [1, 2, 3, 4]
    for name in record.curve.keys() - {"epoch"}:
        points = {e: v for e, v in zip(axis, record.curve[name], strict=True) if v is not None}
        assert seen[name] == pytest.approx(points), name
    stepped = {m.get("name", m.get("glob_name")): m.get("step_metric") for m in entries(path, "metric")}
    assert all(stepped[name] == "epoch" for name in ("train/*", "val/*", "train/objective", "val/elbo"))


def test_the_kl_of_every_unit_has_a_curve_that_the_record_has_not(tracked):
    """In W&B alone, and at the last epoch the trained model's own."""
    record, path = tracked
    assert not any(name.startswith(UNIT_CURVE) for name in record.curve)
    names = [f"{UNIT_CURVE}01", f"{UNIT_CURVE}02"]
    seen = {
        e["item"]["epoch"]: [e["item"][n] for n in names] for e in entries(path, "history") if names[0] in e["item"]
    }
    assert list(seen) == [2, 4]
    data = data_of(Run.of(record.config))
    data.setup("fit")
    model = VAE.load_from_checkpoint(path.parents[2] / "run" / CHECKPOINT, weights_only=True)
    (kl,) = measure(model, data.batches("validation"), build_metrics(("KLPerUnit",)), 1, 0).estimates
    assert seen[4] == pytest.approx(kl.value)


def test_a_curve_is_summarised_by_its_better_end(tracked):
    record, path = tracked
    summary = told(path)["summary"]
    curves = {name: [v for v in values if v is not None] for name, values in record.curve.items()}
    for name, end in (("train/objective", max), ("val/elbo", max), ("val/distortion", min)):
        expected = {end.__name__: end(curves[name]), "last": curves[name][-1]}
        assert summary[name] == pytest.approx(expected)
    assert summary["val/rate"] == pytest.approx(curves["val/rate"][-1])  # neither end is better


def test_pictures_are_media_of_the_run(tracked):
    """The pixels that the summary points to are those of the file beside the record."""
    _, path = tracked
    summary = told(path)["summary"]
    kept = arrays.read_pictures(path.parents[2] / "run" / ARRAYS)
    for name, sheet in (("reconstructions", kept.pairs), ("samples", kept.drawn), ("traversals", kept.moved)):
        media = summary[f"test/{name}"]
        assert media["_type"] == "image-file"
        found = imread(path.parent / "files" / media["path"])
        assert np.array_equal((found * 255).round().astype(np.uint8), arrays.coloured(sheet))


def test_record_and_checkpoint_are_artifacts(tracked):
    """The files that W&B would upload are those of the run, by their MD5."""
    record, path = tracked
    kept = {a["type"]: a for a in entries(path, "artifact") if a["type"] in ("record", "model")}
    files = {"record": records.encode(record), "model": (path.parents[2] / "run" / CHECKPOINT).read_bytes()}
    for kind, content in files.items():
        assert kept[kind]["name"] == f"{kind}-{record.id}"
        (entry,) = kept[kind]["manifest"]["contents"]
        assert entry["digest"] == base64.b64encode(hashlib.md5(content).digest()).decode()
        assert Path(entry["local_path"]).read_bytes() == content


def test_a_failing_run_leaves_its_reason_and_frees_the_logger(tmp_path):
    """Two runs one after the other in a process, the first failing: two W&B runs, each with its own end."""
    (tmp_path / "tiny.yaml").write_text(TINY + "grid: {model.learning_rate: [1.0e+18, 1.0e-3]}\n")
    study = load(tmp_path / "tiny.yaml")
    for run in study.runs:
        list(
            execute_pack(
                [run], study.name, [], [tmp_path / run.id], Execution(wandb="offline"), lambda epoch, latest: None
            )
        )
    alerts = [alert for path in runs_below(tmp_path) for alert in entries(path, "alert")]
    assert [(a["level"], a["title"]) for a in alerts] == [("ERROR", f"tiny: run {study.runs[0].id} failed")]
    assert "lower model.learning_rate" in alerts[0]["text"]
    seen = sorted((told(path) for path in runs_below(tmp_path)), key=lambda s: s["summary"]["status"], reverse=True)
    assert [s["summary"]["status"] for s in seen] == ["failed", "done"]
    assert [s["exit_code"] for s in seen] == [1, 0]
    assert "lower model.learning_rate" in seen[0]["summary"]["reason"]


def test_the_record_stands_where_wandb_cannot_take_it(tmp_path, monkeypatch, caplog):
    def full(*_: Any) -> Any:
        raise OSError("no space left on device")

    monkeypatch.setattr("vaebench.reporting.wandb.runs.artifacts", full)
    (tmp_path / "tiny.yaml").write_text(TINY)
    study = load(tmp_path / "tiny.yaml")
    (run,) = study.runs
    folder = tmp_path / run.id
    (record,) = execute_pack([run], study.name, [], [folder], Execution(wandb="offline"), lambda epoch, latest: None)
    assert records.read(folder / "record.json") == record
    assert record.status == "done"
    assert "no space left on device" in caplog.text


def test_a_disk_that_fills_up_is_a_warning_and_a_full_one_an_error(tmp_path, monkeypatch, caplog):
    """W&B needs room before a run begins, and when it is over; the run itself is none of its business."""

    def full(*_: Any, **__: Any) -> Any:
        raise OSError("no space left on device")

    (tmp_path / "tiny.yaml").write_text(TINY)
    run = load(tmp_path / "tiny.yaml").runs[0]
    with wandb.tracked(run, "tiny", tmp_path / "run", "offline") as tracker:
        assert tracker.experiment is not None
        finish = tracker.experiment.finish
        monkeypatch.setattr(tracker.experiment, "finish", full)
    assert f"the W&B run of {run.id} could not be finished: no space left on device" in caplog.text
    finish()
    monkeypatch.setattr("wandb.init", full)
    with (
        pytest.raises(WriteError, match=r"W&B cannot write here \(no space left on device\); make room, or go on with"),
        wandb.tracked(run, "tiny", tmp_path / "run", "offline"),
    ):
        pass


class Gone:
    """Stands for W&B whose service was killed: everything that is asked of it raises."""

    def __init__(self, calls: list[str]) -> None:
        self.calls, self.dir = calls, "."
        self.config = self.summary = self

    def __getattr__(self, name: str) -> Any:
        def fail(*_: Any, **__: Any) -> Any:
            self.calls.append(name)
            raise MailboxClosedError

        return fail


def test_a_run_ends_well_and_the_next_is_untracked_if_the_service_of_wandb_is_killed(tmp_path, monkeypatch, caplog):
    """As the system does if memory is short. Said once in a process."""
    calls: list[str] = []
    monkeypatch.setattr(wandb, "LOST", Event())
    monkeypatch.setattr("wandb.teardown", lambda: None)
    monkeypatch.setattr("wandb.init", lambda **_: Gone(calls))
    monkeypatch.setattr(wandb, "_define_axes", lambda *_: None)
    (tmp_path / "tiny.yaml").write_text(TINY + "grid: {seed: 0..1}\n")
    study = load(tmp_path / "tiny.yaml")
    how, folders = Execution(wandb="offline"), [tmp_path / run.id for run in study.runs]
    for _ in range(2):
        made = list(execute_pack(study.runs, study.name, [], folders, how, lambda epoch, latest: None))
        assert [(one.status, one.reason) for one in made] == [("done", None)] * 2
    assert len(calls) == 1
    assert caplog.text.count("goes on without W&B") == 1


@pytest.mark.parametrize("error", [CommError("timed out"), MailboxClosedError(), ConnectionResetError("lost")])
def test_runs_are_trained_untracked_if_wandb_cannot_be_reached(tmp_path, monkeypatch, caplog, error):
    tries = []

    def unreachable(**_: Any) -> Any:
        tries.append(1)
        raise error

    monkeypatch.setattr(wandb, "LOST", Event())
    monkeypatch.setattr("wandb.teardown", lambda: None)
    monkeypatch.setattr("wandb.init", unreachable)
    (tmp_path / "tiny.yaml").write_text(TINY)
    study = load(tmp_path / "tiny.yaml")
    for _ in range(2):
        with wandb.tracked(study.runs[0], "tiny", tmp_path / "run", "online") as tracker:
            assert tracker.writers == []
    assert len(tries) == 1
    assert caplog.text.count("goes on without W&B") == 1
    run = study.runs[0]
    monkeypatch.setattr(wandb, "LOST", Event())
    made = [Record(id=run.id, study="tiny", status="failed", reason="none", config=run.config)]
    wandb.conclude_sweep(study, made, tmp_path, "online", list, tables.table(made, (), study.presentation))
    assert len(tries) == 2
    assert "W&B could not take the result of the sweep" in caplog.text
    assert not (tmp_path / wandb.MARK).exists()


@pytest.mark.parametrize("id", ["9e13546390", "0123456789", "1e45678901"])
def test_an_id_is_no_number_in_the_table_of_the_runs(id):
    config = {"model": {"name": "VAE"}, "seed": 3, "evaluate": {"split": "test"}}
    made = Record(id=id, study="s", status="failed", reason="none", config=config, comparability={"checksum": id})
    table = wandb._tables("checksum,seed,elbo,blank\n9e13546390,3,-1e2,\n", [made])
    assert table["results"].data == [["9e13546390", 3.0, -100.0, None]]
    (row,) = table["runs_table"].data
    assert row[0] == id
    assert row[table["runs_table"].columns.index("seed")] == 3


def test_online_asks_for_a_login_in_one_line(tmp_path, monkeypatch):
    for name, value in (("HOME", tmp_path), ("NETRC", tmp_path / "netrc"), ("WANDB_MODE", "online")):
        monkeypatch.setenv(name, str(value))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    (tmp_path / "tiny.yaml").write_text(TINY)
    with (
        pytest.raises(ValueError, match="Or go on with --wandb offline"),
        wandb.tracked(load(tmp_path / "tiny.yaml").runs[0], "tiny", tmp_path, "online"),
    ):
        pass


@pytest.mark.slow
def test_a_sweep_ends_in_one_run_with_the_table(tmp_path):
    """Runs trained together are W&B runs of their own; the one beside them has the figures of the table."""
    (tmp_path / "tiny.yaml").write_text(TINY + "grid: {model.learning_rate: [1.0e-2, 1.0e-3], seed: 0..1}\n")
    study, folder = load(tmp_path / "tiny.yaml"), tmp_path / "runs"
    outcome = sweep(study, folder, Execution(wandb="offline"), Console(file=io.StringIO()))
    logged = {seen["config"]["id"]: seen for seen in map(told, runs_below(folder))}
    assert len(logged) == len(outcome.records)
    for record in outcome.records:
        seen = logged[record.id]
        assert seen["summary"]["test/elbo"] == pytest.approx(record.estimate("elbo").value, rel=1e-12)
    rendering.write(outcome.records, folder)
    _, figures = site.write_one(outcome.records, folder, study.presentation)
    for _ in range(2):  # the same records make no second one
        table = tables.table(outcome.records, ("a remark",), study.presentation)
        wandb.conclude_sweep(study, outcome.records, folder, "offline", lambda: figures, table)
    (path,) = (p for p in runs_below(folder) if entries(p, "run")[0]["job_type"] == "aggregate")
    (run,) = entries(path, "run")
    assert (run["run_group"], run["notes"]) == ("tiny", study.question)
    summary = told(path)["summary"]
    assert (summary["runs"], summary["done"], summary["failed"]) == (4, 4, 0)
    results = rows(path, summary["results"])
    headings, *lines = csv.reader((folder / "table.csv").read_text().splitlines())
    assert results["columns"] == headings
    assert [["" if v is None else str(v) for v in row] for row in results["data"]] == [
        [str(float(field)) if _is_number(field) else field for field in line] for line in lines
    ]
    each = rows(path, summary["runs_table"])
    at = each["columns"].index
    assert {row[at("id")]: row[at("elbo")] for row in each["data"]} == {
        r.id: r.estimate("elbo").value for r in outcome.records
    }
    page = html(path, summary["report"])
    assert page == (folder / site.PAGE).read_text()
    assert {figure.name for figure in figures} == {
        "rows",
        "forecast",
        "plane",
        "bounds",
        "units",
        "collapse",
        "curves",
    }
    for figure in figures:
        shown = html(path, summary[f"figures/{figure.name}"])
        assert all(panel.svg in shown and panel.svg in page for panel in figure.panels)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@pytest.mark.slow
def test_a_killed_run_leaves_the_next_attempt_whole(tmp_path):
    """Signal 9 in the middle of training: the same run again is a W&B run of its own, with everything in it."""
    (tmp_path / "tiny.yaml").write_text(TINY)
    code = f"""
import os
from pathlib import Path
from vaebench.config import Run, load
from vaebench.sweeps.run import Execution, execute_pack

def watch(epoch, latest):
    if epoch == 3:
        os.kill(os.getpid(), {signal.SIGKILL:d})

folder = Path({str(tmp_path)!r})
study = load(folder / "tiny.yaml")
list(execute_pack([study.runs[0]], study.name, [], [folder / "run"], Execution(wandb="offline"), watch))
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    killed = subprocess.run([sys.executable, "-c", code], env=environment, check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (tmp_path / "record.json").exists()
    (torn,) = runs_below(tmp_path)
    study = load(tmp_path / "tiny.yaml")
    how = Execution(wandb="offline")
    (record,) = execute_pack([study.runs[0]], study.name, [], [tmp_path / "run"], how, lambda epoch, latest: None)
    (path,) = set(runs_below(tmp_path)) - {torn}
    seen = told(path)
    assert (seen["exit_code"], seen["config"]["id"]) == (0, record.id)
    assert seen["summary"]["test/elbo"] == pytest.approx(record.estimate("elbo").value, rel=1e-12)
    epochs = [e["item"]["epoch"] for e in entries(path, "history") if "train/objective" in e["item"]]
    assert epochs == record.curve["epoch"] == [1, 2, 3, 4]
