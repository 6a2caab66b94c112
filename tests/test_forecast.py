"""The forecast before training: spectrum, active units and ceiling, for a study and for data alone."""

import json
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import vaebench
from torch import Tensor

STUDY = """
question: What will collapse?
model: {name: BetaVAE, latent_dim: 3, likelihood: {name: Gaussian, variance: 0.5}}
data: {name: Arrays, path: mine.npz}
train: {epochs: 1, batch_size: 8}
grid: {model.beta: [1, 4]}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study, and data with the variances 4, 1 and 0.01."""
    x = np.random.default_rng(0).normal(size=(90, 3)) * [2.0, 1.0, 0.1]
    np.savez(tmp_path / "mine.npz", x=x.astype(np.float32))
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/study.yaml").write_text(STUDY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_study(here: Path) -> None:
    found = json.loads(vaebench("forecast", "conf/study.yaml", "--ceiling", "60", "--json"))
    values = {round(v["tau"], 6): v for v in found["values"]}
    assert {*values} == {0.5, 2.0}
    for tau, value in values.items():
        above = sum(λ > tau / 0.99 for λ in found["eigenvalues"])
        assert value["active_units"] == {"3": above}
        assert value["collapsed"] == pytest.approx(sum(found["eigenvalues"]) / (2 * tau))
        assert value["lower"] <= value["upper"] <= value["collapsed"] + 1e-9
        assert value["linear"] <= value["collapsed"]
    assert found["onset"] > 0
    assert not (here / "runs").exists()


def test_data_alone(here: Path) -> None:
    """All training and validation observations; the table and the diagram name what was asked for."""
    said = vaebench("forecast", "--data", "mine.npz", "--betas", "1,2", "--variances", "0.3,5", "--units", "2")
    x = np.load("mine.npz")["x"].astype(np.float64)
    found = json.loads(vaebench("forecast", "--data", "mine.npz", "--json"))
    assert found["observations"] < len(x)  # the test split is left out
    assert "of 2" in said
    assert "σ² = 0.3" in said
    assert "β = 2" in said


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "expected a study or --data"),
        (("conf/study.yaml", "--data", "mine.npz"), "and not both"),
        (("--data", "mine.npz", "--betas", "1,x"), "--betas: expected numbers > 0"),
        (("--data", "mine.npz", "--variances", "0"), "--variances: expected numbers > 0"),
        (("--data", "Digitz"), "Digits"),
    ],
)
def test_bad_input_is_one_line(here: Path, arguments: tuple[str, ...], expected: str) -> None:
    assert expected in vaebench("forecast", *arguments, status=1)


def test_a_sweep_says_it_before_the_first_epoch(here: Path) -> None:
    """A line for each L and σ²; nothing for other likelihoods, or where the data cannot be read."""
    from vaebench.config import load
    from vaebench.sweeps.forecast import announced

    study = (here / "conf/study.yaml").read_text()
    (line,) = announced(load(here / "conf/study.yaml").runs)
    assert "σ² = 0.5: a linear VAE keeps of 3 units 2 at β = 1, 1 at β = 4; total collapse loses" in line
    value = json.loads(vaebench("forecast", "conf/study.yaml", "--json"))["eigenvalues"]
    loss = 1.5 * np.log(2 * np.pi * 0.5) + sum(value)  # Σλ/2σ² with σ² = ½
    assert line.endswith(f"loses {loss:.2f} nats")
    for changed in (study.replace("Gaussian, variance: 0.5", "ContinuousBernoulli"), study.replace("mine", "lost")):
        (here / "conf/other.yaml").write_text(changed)
        assert announced(load(here / "conf/other.yaml").runs) == []


def test_where_no_run_pays_for_its_rate_the_reason_is_said(here: Path) -> None:
    said = vaebench("forecast", "conf/study.yaml", "model.beta=0")
    assert "nothing to forecast for a model: every run has β = 0" in said
    assert "active units" not in said


def test_the_tables_of_one_size_fit_80_columns(here: Path) -> None:
    said = vaebench("forecast", "conf/study.yaml", "--ceiling", "60").splitlines()
    rule = next(i for i, text in enumerate(said) if text.startswith("---"))
    assert max(map(len, said[rule - 2 :])) <= 80


def test_a_search_that_is_ended_gives_its_brackets(here: Path) -> None:
    """The brackets hold, and no chart is drawn from them."""
    asked = ("conf/study.yaml", "--ceiling", "60", "--json")
    whole, ended = json.loads(vaebench("forecast", *asked)), json.loads(vaebench("forecast", *asked, "--seconds", "0"))
    assert (whole["stopped"], ended["stopped"], ended["onset"]) == (False, True, None)
    for a, b in zip(whole["values"], ended["values"], strict=True):
        assert b["lower"] <= a["lower"] <= a["upper"] <= b["upper"] <= a["collapsed"] + 1e-9
    assert "ended before it was done" in vaebench("forecast", *asked[:-1], "--seconds", "0")
    assert "more time" in vaebench("forecast", *asked, "--seconds", "0", "--chart", "chart.svg", status=1)


@pytest.mark.parametrize(("free", "device"), [(2**40, "cuda"), (2**20, "cpu")])
def test_a_gpu_with_enough_free_memory_searches_for_the_ceiling(
    free: int, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free, 2**41))
    from vaebench.sweeps.forecast import device_for

    assert device_for(2**30).type == device


def test_ctrl_c_ends_the_search_and_a_second_one_the_command(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vaebench.oracle.solver import Search

    step, presses = Search._step, [1]

    def pressed(search: Search, y: Tensor) -> tuple[Tensor, Tensor]:
        for _ in range(presses.pop() if presses else 0):
            signal.raise_signal(signal.SIGINT)
        return step(search, y)

    monkeypatch.setattr(Search, "_step", pressed)
    asked = ("conf/study.yaml", "--ceiling", "60", "--json")
    assert json.loads(vaebench("forecast", *asked))["stopped"]
    presses.append(2)
    vaebench("forecast", *asked, status=130)


def test_a_chart(here: Path) -> None:
    said = vaebench("forecast", "conf/study.yaml", "--ceiling", "40", "--chart", "chart.svg")
    picture = (here / "chart.svg").read_text()
    assert picture.startswith("<svg xmlns=")
    assert "best linear VAE" in picture
    assert "trained runs" not in picture  # there are none
    assert "--ceiling" in vaebench("forecast", "conf/study.yaml", "--chart", "chart.svg", status=1)
    assert "βσ²" in said
