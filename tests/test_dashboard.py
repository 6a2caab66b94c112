"""A study's W&B workspace, to the JSON that the server is given: which runs, which axes, and keys that W&B has."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import vaebench

from vaebench.config import Study, load
from vaebench.records import record
from vaebench.records.record import UNIT_CURVE
from vaebench.reporting.answer import answer
from vaebench.reporting.figures import FIGURES
from vaebench.reporting.tables import table as tables
from vaebench.reporting.wandb import EPOCH_PICTURES, PICTURES, VAL, dashboard, key
from vaebench.reporting.wandb.runs import headline
from vaebench.sweeps.run import expected_of
from vaebench.training.callbacks import CURVES

pytest.importorskip("wandb_workspaces", reason="the extra `dash` is not installed")

pytestmark = pytest.mark.filterwarnings("ignore:Pydantic V1 style:DeprecationWarning")  # wandb-workspaces 0.4

ROOT = Path(__file__).parents[1]

GRID = """
question: Does the dashboard know the axes?
model: {name: BetaVAE, latent_dim: 2, network: {name: MLP, hidden: [8]}, likelihood: {name: Gaussian, variance: 1.0}}
data: {name: Digits}
grid:
  model.likelihood.variance: [0.01, 0.1, 10]
  model.beta: [1, 4]
  seed: 0..2
"""


@pytest.fixture(scope="module")
def beta() -> Study:
    return load(ROOT / "conf/beta.yaml")


@pytest.fixture(scope="module")
def records() -> list[record.Record]:
    return record.read_all(ROOT / "results/beta")


@pytest.fixture(scope="module")
def view(beta, records) -> dict[str, Any]:
    """The workspace as the server would be given it."""
    return json.loads(dashboard.encoded(dashboard.workspace(beta, records, "somebody")))


def panels(view: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    bank = view["spec"]["section"]["panelBankConfig"]
    return [p["config"] for section in bank["sections"] for p in section["panels"] if p["viewType"] == kind]


def grid(folder: Path, text: str = GRID) -> Study:
    (folder / "grid.yaml").write_text(text)
    return load(folder / "grid.yaml")


def test_the_axes_are_those_of_the_study(tmp_path):
    assert dashboard.axes(grid(tmp_path)) == {"model.likelihood.variance": True, "model.beta": False, "seed": False}


def test_models_are_told_apart_by_class_and_by_what_one_class_has_several_of(tmp_path):
    models = ("{name: VAE, latent_dim: 2}", *(f"{{name: BetaVAE, latent_dim: 2, beta: {b}}}" for b in (2, 4)))
    text = f"question: Which?\ndata: {{name: Digits, binarize: Fixed}}\ngrid: {{model: [{', '.join(models)}]}}\n"
    assert dashboard.axes(grid(tmp_path, text)) == {"model.name": False, "model.beta": False}


def test_the_runs_are_the_studys_in_groups_of_seeds(view):
    (runs,) = view["spec"]["section"]["runSets"]
    chosen = {f["key"]["name"]: (f["op"], f["value"]) for f in runs["filters"]["filters"]}
    assert chosen == {
        "group": ("=", "beta"),
        "jobType": ("IN", ["train", "aggregate"]),
        "state": ("NIN", ["failed", "crashed", "killed"]),
    }
    assert [g["name"] for g in runs["grouping"]] == ["model.value.beta"]
    assert (view["entity"], view["project"], view["displayName"]) == ("somebody", "vaebench", "beta")
    assert runs["runFeed"]["columnOrder"][:3] == ["run:displayName", "config:model.value.beta", "config:seed.value"]


@pytest.mark.parametrize("name", ["it's", 'a"b'])
def test_the_name_of_a_study_may_have_quotation_marks(tmp_path, name):
    (tmp_path / f"{name}.yaml").write_text(GRID)
    study = load(tmp_path / f"{name}.yaml")
    view = json.loads(dashboard.encoded(dashboard.workspace(study, [], "somebody")))
    (runs,) = view["spec"]["section"]["runSets"]
    assert {f["key"]["name"]: f["value"] for f in runs["filters"]["filters"]}["group"] == name


def test_parallel_coordinates_go_from_the_axes_to_the_numbers(view):
    (found,) = panels(view, "Parallel Coordinates Plot")
    columns = {c["accessor"]: c.get("log", False) for c in found["columns"]}
    assert list(columns)[:3] == ["config:model.value.beta", "config:seed.value", "summary:test/elbo"]
    assert columns["config:model.value.beta"]  # from 0.1 to 10
    assert not columns["config:seed.value"]


def test_every_panel_asks_for_what_a_run_of_the_study_has(view, records):
    """Against the records that the tracker told W&B of."""
    numbers = {name for r in records for name in headline(r)}
    bars = [name.removeprefix("summary_metrics.") for p in panels(view, "Bar Chart") for name in p["metrics"]]
    assert sorted(bars) == sorted(numbers)
    curves = {name for p in panels(view, "Run History Line Plot") for name in p["metrics"]}
    assert curves == set(records[0].curve) - {"epoch"}
    assert {p["xAxis"] for p in panels(view, "Run History Line Plot")} == {"epoch"}
    regexes = [p["metricRegex"] for p in panels(view, "Run History Line Plot") if "metricRegex" in p]
    assert [bool(re.fullmatch(r, f"{UNIT_CURVE}01")) for r in regexes] == [True]
    (plane,) = panels(view, "Scatter Plot")
    assert {plane["xAxis"], plane["yAxis"]} <= {f"summary:{name}" for name in numbers}
    (best,) = panels(view, "Scalar Chart")
    assert best["metrics"] == ["summary_metrics.test/iwae_5000"]


def test_figures_and_pictures_are_those_that_are_logged(view):
    media = [key for p in panels(view, "Media Browser") for key in p["mediaKeys"]]
    figures = [f"figures/{name}" for name in FIGURES]
    assert media == [*figures, *(key(VAL, name) for name in EPOCH_PICTURES), *(f"test/{name}" for name in PICTURES)]


def test_the_report_has_the_answer_the_headline_and_every_panel_of_the_workspace(beta, records, view):
    made = json.loads(
        dashboard.encoded(dashboard.report(beta, records, dashboard.workspace(beta, records, "somebody")))
    )
    blocks = made["spec"]["blocks"]
    text = json.dumps(blocks, ensure_ascii=False)
    table = tables.table(records, (), beta.presentation)
    assert answer(table)[0] in text
    assert "| β" in text
    assert "[^" not in text
    kinds = [panel["viewType"] for block in blocks for grid in [block.get("metadata", {})] for panel in _panels(grid)]
    bank = view["spec"]["section"]["panelBankConfig"]
    assert kinds == [panel["viewType"] for section in bank["sections"] for panel in section["panels"]]
    assert made["displayName"].startswith("beta: What does β buy")


def _panels(metadata: dict[str, Any]) -> list[dict[str, Any]]:
    return metadata.get("panelBankSectionConfig", {}).get("panels", [])


def test_a_study_without_records_has_the_panels_that_it_may_expect(beta):
    expected = expected_of(beta.runs[0])
    view = json.loads(dashboard.encoded(dashboard.workspace(beta, expected=expected)))
    assert len(panels(view, "Bar Chart")) + len(CURVES) == len(expected)
    assert {name for p in panels(view, "Run History Line Plot") for name in p["metrics"]} == CURVES.keys()


def test_the_verb_writes_the_json_and_says_what_is_in_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    grid(tmp_path)
    assert "Axes and numbers (ParallelCoordinatesPlot)" in vaebench("dashboard", "grid.yaml")
    assert json.loads((tmp_path / "runs/grid/dashboard.json").read_text())["displayName"] == "grid"
    told = json.loads((tmp_path / "runs/grid/wandb_report.json").read_text())
    assert told["displayName"] == "grid: Does the dashboard know the axes?"


def test_saving_asks_for_a_login(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    grid(tmp_path)
    assert "run `wandb login`" in vaebench("dashboard", "grid.yaml", "--save", status=1)


def test_without_the_library_the_extra_is_named(beta, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    with pytest.raises(ValueError, match=re.escape("pip install 'vaebench[dash]'")):
        dashboard.workspace(beta)
