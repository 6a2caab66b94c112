"""The calibration itself: it covers every metric and estimator, all are right, and a wrong one is found."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from vaebench.__main__ import app
from vaebench.calibration import grade
from vaebench.calibration.calibrate import CalibrationError, calibrate, trained_grades
from vaebench.calibration.grade import Grade
from vaebench.calibration.linear_cases import DRAWS, answers_of, linear_grades, misfit, optima
from vaebench.calibration.toy_cases import toy_case_grades
from vaebench.config import load
from vaebench.config.registry import ESTIMATORS, METRICS
from vaebench.data.datamodule import DataModule
from vaebench.data.datasets.synthetic import LinearGaussian
from vaebench.evaluation import bounds
from vaebench.records.files import stale, write_all
from vaebench.records.record import RecordError, read
from vaebench.sweeps.run import Execution

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]  # a minute where nothing else runs

STUDY = Path(__file__).parents[1] / "conf" / "calibration.yaml"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """What `vaebench calibrate` leaves behind."""
    place = tmp_path_factory.mktemp("calibrated")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        said = CliRunner().invoke(app, ["calibrate"])
    assert (said.exit_code == 0) == ("all right" in said.output), said.output
    return place / "runs/calibration"


@pytest.fixture(scope="module")
def grades(folder: Path) -> list[Grade]:
    return grade.read(folder)


@pytest.fixture(scope="module")
def data() -> DataModule:
    data = DataModule(LinearGaussian(dim=16, latent_dim=4, noise=1.0), batch_size=500)
    data.setup()
    return data


def test_every_metric_and_estimator_is_right(grades):
    """Some three hundred grades. Fifty of them are of claimed errors, each wrong by chance once in 1000; each of the
    others is wrong once in a million or never; seeds are fixed."""
    assert grades
    assert [str(g) for g in grades if not g.is_within] == []


def test_every_claimed_error_is_graded(grades):
    """All that claim an error are there."""
    claims = {g.instrument for g in grades if ": spread / " in g.quantity}
    assert claims == {*METRICS, *ESTIMATORS} - UNCLAIMED


UNCLAIMED = {
    *(
        "ExplainedVariance",
        "ActiveUnits",
        "CollapsedUnits",
        "EffectiveSampleSize",
        "KLPerUnit",
        "Layers",
        "NearestNeighbours",
        "ParetoK",
        *("MIG", "SAP", "DCI", "Modularity", "FactorVAEScore", "BetaVAEScore"),
    ),
}
"""Metrics whose numbers come without an error."""


@pytest.mark.parametrize("name", METRICS)
def test_every_column_of_every_metric_is_graded(name, grades):
    graded = {g.quantity for g in grades if g.instrument == name}
    wanted = {c for c in METRICS.build(name).columns(DRAWS) if c != "iwae_5000"}
    assert graded >= wanted
    assert graded, "a metric without a column is graded on its arrays"


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_column_of_every_estimator_is_graded(name, grades):
    assert {g.quantity for g in grades if g.instrument == name} >= set(ESTIMATORS.build(name).columns)


def test_bounds_are_distinguished_where_they_differ(data):
    """A grade between two ends means little where they are far apart; at the optimum they are one number."""
    ends = {g.quantity: g.high - g.low for g in linear_grades(next(optima(data))) if g.quantity.startswith("iwae")}
    assert len(ends) == 4
    assert max(ends.values()) < 1e-9
    assert next(g for g in linear_grades(misfit(data)) if g.quantity == "iwae_5").high > -24.7


FAULTS = {
    "softmax of the loss": lambda w, k: -(torch.logsumexp(-w.unflatten(0, (len(w) // k, k)), 1) - math.log(k)),
    "a weighted sum of log-weights": lambda w, k: (w.unflatten(0, (len(w) // k, k)).softmax(1).mul(
        w.unflatten(0, (len(w) // k, k)))).sum(1),
    "log k left out": lambda w, k: torch.logsumexp(w.double().unflatten(0, (len(w) // k, k)), 1),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_wrong_bound_does_not_pass(fault, data, monkeypatch):
    monkeypatch.setattr(
        bounds, "iwae_groups_by_size", lambda weights, sizes: [FAULTS[fault](weights, k) for k in sizes]
    )
    wrong = [g for g in (*linear_grades(misfit(data)), *toy_case_grades()) if not g.is_within]
    assert {g.instrument for g in wrong} == {"IWAE"}


@pytest.mark.parametrize("metric", ["ELBO", "Rate", "Distortion", "SquaredError", "ActiveUnits", "TotalCorrelation"])
def test_a_number_that_is_off_does_not_pass(metric, data):
    """By a tenth of a nat, or by a unit."""
    problem = replace(next(optima(data)), name="off")
    for g in linear_grades(problem):
        if g.instrument == metric:
            assert g.is_within
            assert not g._replace(measured=g.measured + (1.0 if g.quantity == "active_units" else 0.1)).is_within
            assert not g._replace(measured=math.nan).is_within


def test_a_missing_number_is_wrong(data):
    problem = next(optima(data))
    missing = list(linear_grades(problem, estimates=[]))
    assert {g.instrument for g in missing} == set(answers_of(problem))
    assert not any(g.is_within for g in missing)


def test_trained_runs_are_graded_on_their_records(folder, grades):
    """And a record that differs from its checkpoint is found."""
    run = load(STUDY).runs[1]
    record = read(folder / run.id / "record.json")
    assert [g for g in trained_grades(run, record, folder / run.id) if g not in grades] == []
    shifted = [e._replace(value=e.value + 0.5) if e.name == "elbo" else e for e in record.estimates]
    moved = replace(record, estimates=shifted)
    assert [g.quantity for g in trained_grades(run, moved, folder / run.id) if not g.is_within] == ["elbo"]


def test_a_study_without_exact_answers_is_refused(tmp_path):
    study = load(STUDY.with_name("smoke.yaml"), [])
    with pytest.raises(CalibrationError, match=r"expected model\.name: LinearVAE, whose numbers are known, got VAE"):
        calibrate(study, tmp_path, Execution("disabled"), Console(quiet=True))


def test_grades_come_back_and_tables_follow_from_them(tmp_path, grades):
    files = write_all(grade.files(grades, tmp_path))
    assert grade.read(tmp_path) == grades
    assert {f.suffix for f in files} == {".json", ".md"}
    assert stale(grade.files(grade.read(tmp_path), tmp_path)) == []
    (tmp_path / "calibration.md").write_text("by hand")
    assert stale(grade.files(grades, tmp_path)) == [tmp_path / "calibration.md"]
    assert grade.read(tmp_path / "elsewhere") == []


def test_one_wrong_grade_shows(grades):
    wrong = [*grades, grades[0]._replace(measured=grades[0].high + 1)]
    assert "1 WRONG" in grade.markdown(wrong)
    assert "| NO" in grade.markdown(wrong)
    assert "| NO" not in grade.markdown(grades)


def test_half_a_file_of_grades_is_one_error(tmp_path):
    (tmp_path / grade.FILE).write_text('[{"problem": "x"')
    with pytest.raises(RecordError, match=r"calibration\.json: expected grades"):
        grade.read(tmp_path)
