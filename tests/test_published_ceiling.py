"""Law: every published run that was measured on its training split lies below the ceiling of all VAEs."""

import math
from collections import defaultdict
from pathlib import Path

import pytest

from vaebench.config.registry import DATASETS
from vaebench.data.datamodule import DataModule
from vaebench.oracle.ceiling import CeilingProblem, objective_ceiling
from vaebench.records import record
from vaebench.records.record import Record

RESULTS = Path(__file__).parents[1] / "results"

ERRORS = 5
"""Monte-Carlo errors that a run may be above the ceiling by: by chance, once in 3.5 million."""


def runs(study: str) -> dict[float, list[Record]]:
    """The runs of a study by τ."""
    found = defaultdict(list)
    for run in record.read_all(RESULTS / study):
        if run.status == "done" and run.comparability["split"] == "train" and "variance" in run.facts:
            found[run.facts["beta"] * run.facts["variance"]].append(run)
    return found


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_published_runs_are_below_their_ceiling() -> None:
    by_tau = runs("phase")
    assert len(by_tau) > 10
    data = DataModule(DATASETS.build({"name": "Digits"}), batch_size=64)
    data.setup()
    path = CeilingProblem.gaussian(data.train.x).path([*by_tau], tolerance=0.05)
    for found in path:
        for run in by_tau[found.tau]:
            assert run.comparability["checksum"] == data.checksum
            rate, distortion = run.estimate("rate"), run.estimate("distortion")
            assert rate is not None
            assert distortion is not None
            beta, variance = run.facts["beta"], run.facts["variance"]
            constant = objective_ceiling(0.0, beta, data.train.x.new_tensor([variance]), 64)
            ceiling = constant - beta * found.lower
            objective = -(distortion.value + beta * rate.value)  # type: ignore[operator]
            error = beta * (rate.monte_carlo_error or 0) + (distortion.monte_carlo_error or 0)
            assert math.isfinite(objective)
            assert objective <= ceiling + ERRORS * error
