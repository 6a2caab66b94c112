"""The data's spectrum: divided by N, exact in its rank, and with known rounding."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vaebench.oracle.spectrum import Spectrum


def random_data(n: int, dim: int, rank: int, seed: int, offset: float = 0.0) -> torch.Tensor:
    stream = torch.Generator().manual_seed(seed)
    factors = [torch.randn(*s, generator=stream, dtype=torch.float64) for s in ((n, rank), (rank, dim))]
    return factors[0] @ factors[1] + offset


@pytest.mark.parametrize(("n", "dim", "rank"), [(50, 6, 6), (5, 20, 5), (9000, 3, 2), (1, 4, 1)])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_moments_and_rank(n: int, dim: int, rank: int, offset: float) -> None:
    """The covariance is NumPy's with ddof = 0; directions beyond the rank have eigenvalue 0, whatever the mean."""
    x = random_data(n, dim, rank, 0, offset)
    spectrum = Spectrum.of(x)
    np.testing.assert_allclose(spectrum.mean, x.mean(0), rtol=1e-12)
    np.testing.assert_allclose(spectrum.covariance, np.cov(x.T.numpy(), ddof=0), atol=1e-9)
    np.testing.assert_allclose(spectrum.directions.mT @ spectrum.directions, np.eye(dim), atol=1e-12)
    assert spectrum.rank == min(rank, n - 1)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
def test_constant_data_has_no_rank(value: float) -> None:
    assert Spectrum.of(torch.full((1000, 7), value)).rank == 0


def test_images_are_flattened_scaled_and_read_as_they_are() -> None:
    images = torch.randint(0, 256, (200, 1, 3, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    by_hand = Spectrum.of(images.flatten(1).double() / 255)
    np.testing.assert_allclose(Spectrum.of(images, 255.0).eigenvalues, by_hand.eigenvalues, rtol=1e-12)


@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=8))
def test_given_eigenvalues(values: list[float]) -> None:
    spectrum = Spectrum.given(values)
    assert spectrum.eigenvalues.tolist() == sorted(values, reverse=True)
    np.testing.assert_allclose(spectrum.covariance, np.diag(values), atol=0)
    tails = [spectrum.tail(q) for q in range(len(values) + 1)]
    smallest = [sum(sorted(values)[: len(values) - q]) for q in range(len(values) + 1)]
    np.testing.assert_allclose(tails, smallest, rtol=1e-12)
    assert all(np.isclose(tails[q], spectrum.total_without(range(q)), rtol=1e-12) for q in range(len(values)))


def test_points_have_the_datas_moments() -> None:
    x = random_data(30, 5, 5, 1, 2.0)
    spectrum = Spectrum.of(x)
    again = Spectrum.of(spectrum.points)
    np.testing.assert_allclose(again.mean, spectrum.mean, atol=1e-12)
    np.testing.assert_allclose(again.covariance, spectrum.covariance, atol=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_ties_survive_rounding(seed: int) -> None:
    """An eigenvalue that equals the level is not above it, found in data (rotated, rounded) as well as given."""
    stream = torch.Generator().manual_seed(seed)
    turn = torch.linalg.qr(torch.randn(8, 8, generator=stream, dtype=torch.float64))[0]
    values = torch.tensor([5.0, 2.0, 0.7, 0.7, 0.7, 0.1, 0.1, 0.0], dtype=torch.float64)
    data = Spectrum.given(values, turn, torch.randn(8, generator=stream) * 3).points
    for spectrum in (Spectrum.given(values), Spectrum.of(data)):
        counts = [spectrum.count_above(level) for level in (0.0, 0.1, 0.7, 2.0, 5.0)]
        assert counts == [int((values > v).sum()) for v in values[[7, 5, 2, 1, 0]]]


@pytest.mark.parametrize("bad", [torch.zeros(0, 3), torch.zeros(3), torch.tensor([[1.0, float("nan")]])])
def test_unusable_data_is_refused(bad: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="expected"):
        Spectrum.of(bad)


@pytest.mark.parametrize("bad", [[], [-1.0], [float("inf")], [float("nan"), 1.0]])
def test_unusable_eigenvalues_are_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="expected eigenvalues"):
        Spectrum.given(bad)
