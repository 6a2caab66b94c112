"""Claimed errors cover, and a claim that does not is found."""

import math

import pytest
import torch

from vaebench.calibration import calibrate
from vaebench.calibration.calibrate import covered
from vaebench.calibration.grade import Grade
from vaebench.evaluation import bounds
from vaebench.evaluation.estimators.erased_or_shifted import relative
from vaebench.records.record import Estimate


def first_order(log_weight: torch.Tensor) -> torch.Tensor:
    """What was claimed once: 1/ESS − 1/K."""
    return 1 / bounds.effective_sample_size(log_weight) - 1 / len(log_weight)


def heavy(tail: float) -> list[Grade]:
    runs = [calibrate._heavy(tail, 500, seed) for seed in range(calibrate.SEEDS)]
    return list(covered("weights", {"iwae_500": "IWAE"}, runs, "monte_carlo_error"))


@pytest.mark.parametrize("tail", [0.7, 1.2])
def test_a_first_order_claim_does_not_pass_on_heavy_weights(tail: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A right claim is out once in 1000; seeds are fixed."""
    assert [g.is_within for g in heavy(tail)] == [True]
    monkeypatch.setattr(bounds, "jackknife_variance", first_order)
    assert [g.is_within for g in heavy(tail)] == [False]


@pytest.mark.parametrize(("factor", "right"), [(1.0, True), (0.5, False), (2.0, False), (math.nan, False)])
def test_claims_are_held_against_the_spread(factor: float, right: bool) -> None:
    """Of Gaussian estimates whose error is known: right, half of it, twice of it, and no number."""
    values = torch.randn(100, generator=torch.Generator().manual_seed(0)).tolist()
    runs = [[Estimate("a", value, standard_error=factor), Estimate("b", value)] for value in values]
    (grade,) = covered("p", {"a": "A", "b": "B"}, runs, "standard_error")
    assert (grade.instrument, grade.is_within) == ("A", right)
    assert grade.measured == pytest.approx(float(torch.tensor(values).std()) / factor, nan_ok=True)
    assert list(covered("p", {"a": "A"}, runs, "monte_carlo_error")) == []


def test_what_never_differs_claims_no_error() -> None:
    """A share of 1 in every repetition has the error 0, which is right; a number that moves under it is not."""
    still, moving = ([[Estimate("a", value, 0.0)] for value in values] for values in ([1.0] * 9, [1.0, 2.0, 3.0]))
    assert list(covered("p", {"a": "A"}, still, "standard_error")) == []
    assert [g.is_within for g in covered("p", {"a": "A"}, moving, "standard_error")] == [False]


@pytest.mark.parametrize("together", [False, True])
def test_the_error_of_a_relative_distance_covers(together: bool) -> None:
    """Of images that are far from the mean, and far from their alteration alike or not. Over 1000 repetitions the ratio
    has a standard deviation below 4 % (kurtosis below 8); within 20 % it fails by chance once in a million."""
    stream = torch.Generator().manual_seed(0)
    size = torch.rand(1000, 200, 1, generator=stream, dtype=torch.float64).exp()
    images = size * torch.randn(1000, 200, 3, generator=stream, dtype=torch.float64)
    noise = torch.randn(1000, 200, 3, generator=stream, dtype=torch.float64)
    altered = images + noise * (size if together else 1)
    found = [relative("a", *pair) for pair in zip(images, altered, strict=True)]
    spread = torch.tensor([e.value for e in found]).std()
    claimed = torch.tensor([e.standard_error for e in found]).square().mean().sqrt()
    assert abs(float(spread / claimed) - 1) < 0.2
