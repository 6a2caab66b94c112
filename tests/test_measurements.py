"""Measurements of the ledger: with other seeds they say the same, and a record says what was measured."""

import math
from pathlib import Path

import pytest
import torch
from commands import vaebench

from vaebench.calibration import measurements
from vaebench.calibration.measurements import moments
from vaebench.records.record import read
from vaebench.reporting.ledger import claims
from vaebench.reporting.ledger.verdict import MEASURED, Verdict, evidence, judge

ROOT = Path(__file__).parents[1]
QUICK = ["linear_subspace", "linear_denoising", "regularised_linear", "contraction", "constructed_codes"]
SHIPPED = claims.read(ROOT / "results" / claims.FILE)
CLAIMS = {c.protocol["measurement"]: c for c in SHIPPED if isinstance(c.protocol, dict)}


@pytest.mark.parametrize("name", [*QUICK, pytest.param("iwae_gap", marks=pytest.mark.slow)])
def test_with_another_seed_the_claim_is_reproduced_again(name: str, tmp_path: Path) -> None:
    """Seed 7, judged by the code and the tolerance of the ledger. What is exact has no false alarm."""
    (made,) = measurements.measured(name, 7, None, tmp_path)
    path = measurements.write(made, tmp_path / MEASURED)
    assert path.name == f"{name}-{made.id}.json"
    judged = judge(CLAIMS[name], evidence(CLAIMS[name], tmp_path))
    assert judged.verdict is Verdict.REPRODUCED, [(m.point.name, m.value) for m in judged.points]
    assert read(path).config == {"measurement": name, "seed": 7}
    assert made.provenance["command"] == f"python -m vaebench measure {name} --seed 7"


def test_a_wrong_minimum_is_not_reproduced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An autoencoder that stopped early differs, so the measurement can fail."""
    monkeypatch.setattr("vaebench.calibration.measurements._minimise", lambda model, loss: None)
    for name in QUICK[:3]:
        for made in measurements.measured(name, 0, None, tmp_path):
            measurements.write(made, tmp_path / MEASURED)
        assert judge(CLAIMS[name], evidence(CLAIMS[name], tmp_path)).verdict is Verdict.DIFFERS


def test_every_measurement_is_claimed() -> None:
    assert {*measurements.ALONE, *measurements.OF_RUNS} == {*CLAIMS}


@pytest.mark.parametrize("dim", [1, 3, 8])
def test_the_noise_has_the_first_two_moments_of_a_normal_distribution(dim: int) -> None:
    noise = moments(dim)
    assert torch.equal(noise.sum(0), torch.zeros(dim))
    assert torch.allclose(noise.mT @ noise / len(noise), torch.eye(dim).double())


STUDY = """
question: Is it so?
model: {name: BetaVAE, latent_dim: 4, beta: 0.1}
data: {name: Digits, binarize: Dynamic}
train: {epochs: 2}
evaluate: {draws: 10, metrics: [ELBO, Rate]}
grid: {seed: 0..1}
"""


def test_faults_are_measured_on_every_trained_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("conf/paper").mkdir(parents=True)
    Path("conf/paper/tiny.yaml").write_text(STUDY, encoding="utf-8")
    assert "record.json" in vaebench("measure", "fault_without_draws", "conf/paper/tiny.yaml", status=1)
    vaebench("sweep", "conf/paper/tiny.yaml", "--wandb", "disabled")
    for fault in measurements.OF_RUNS:
        vaebench("measure", fault, "conf/paper/tiny.yaml")
        found = [read(path) for path in Path("runs/paper/exact").glob(f"{fault}-*.json")]
        assert {one.config["run"]["seed"] for one in found} == {0, 1}
        for one in found:
            right = read(next(Path("runs/paper/tiny").glob("*/record.json"))).estimate("elbo").value
            (wrong,) = one.estimates
            assert wrong.value <= math.log(50) if fault == "fault_within_batches" else wrong.value > right
    assert "no runs" not in vaebench("table", "runs/paper/tiny")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["spectra"], "no measurement 'spectra'; there is constructed_codes, contraction"),
        (["fault_without_draws"], "expected a study whose runs are trained"),
        (["contraction", "conf/smoke.yaml"], "contraction: expected no study"),
    ],
)
def test_a_wrong_measurement_is_one_error(words: list[str], said: str) -> None:
    assert said in " ".join(vaebench("measure", *words, status=1).split())
