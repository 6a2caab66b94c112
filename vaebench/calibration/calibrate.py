"""The whole calibration: toy cases, linear cases, coverage of claimed errors, and the trained runs of a study."""

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from vaebench.calibration.coverage import coverage_grades
from vaebench.calibration.grade import Answer, Grade, graded
from vaebench.calibration.linear_cases import LinearProblem, linear_case_grades, linear_grades
from vaebench.calibration.toy_cases import ceiling_grades, toy_case_grades
from vaebench.config import Run, Study
from vaebench.data.datasets.synthetic import LinearGaussian
from vaebench.models.linear_vae import LinearVAE
from vaebench.records.record import Record
from vaebench.records.run_folder import CHECKPOINT
from vaebench.sweeps.run import Execution
from vaebench.sweeps.sweep import sweep
from vaebench.training.single import data_of

CONVERGED = 0.05
"""A trained linear VAE may be this many nats below its optimum."""

ABOVE = 1e-3
"""Rounding in float32 may put it this many nats above its optimum."""


class CalibrationError(ValueError):
    """A study whose runs have no exact answers; the message says what to change."""


def calibrate(study: Study, folder: Path, how: Execution, console: Console) -> list[Grade]:
    """Compute all grades. The study is trained first.

    Args:
        study: linear VAEs on linear-Gaussian data.
        folder: of the runs. Runs that are complete there are not trained again.
        how: how to execute runs.
        console: for progress.

    Raises:
        CalibrationError: if the study has other runs, or if one of them failed.
    """
    for run in study.runs:
        _check(run)
    outcome = sweep(study, folder, how, console)
    if outcome.failed or outcome.missing:
        reasons = [f"{r.id} failed ({r.reason})" for r in outcome.failed]
        reasons += [f"{r.id} is missing" for r in outcome.missing]
        raise CalibrationError(f"{folder}: every run must be done to be graded: {'; '.join(reasons)}")
    records = {record.id: record for record in outcome.records}
    trained = [grade for run in study.runs for grade in trained_grades(run, records[run.id], folder / run.id)]
    return [*toy_case_grades(), *linear_case_grades(), *ceiling_grades(), *coverage_grades(), *trained]


def trained_grades(run: Run, record: Record, folder: Path) -> Iterator[Grade]:
    """Compare the numbers in the record of a run with the exact ones of the model in its checkpoint."""
    data = data_of(run)
    data.setup()
    assert isinstance(data.dataset, LinearGaussian)
    record.left(folder / CHECKPOINT)
    model = LinearVAE.load_from_checkpoint(folder / CHECKPOINT, weights_only=True)
    x = {"train": data.train, "validation": data.validation, "test": data.test}[run.evaluate.split].x
    name = f"trained: {run.slug}"
    problem = LinearProblem(name, model, x, run.evaluate.draws, data.dataset.model)
    yield from linear_grades(problem, record.estimates)
    answers = (
        Answer("below_optimum", -ABOVE, CONVERGED),
        Answer("collapsed_by_optimisation", 0.0),
        Answer("collapsed_by_objective", float(model.latent_dim - record.facts["forecast_active_units"])),
    )
    yield from graded(name, "collapse diagnosis", answers, record.estimates, 0.0)


def _check(run: Run) -> None:
    """Refuse a run whose numbers have no closed form."""
    names = {"model": "LinearVAE", "data": "LinearGaussian"}
    for key, wanted in names.items():
        spec = getattr(run, key)
        name = spec if isinstance(spec, str) else spec["name"]
        if name != wanted:
            raise CalibrationError(f"{run.slug}: expected {key}.name: {wanted}, whose numbers are known, got {name}")
