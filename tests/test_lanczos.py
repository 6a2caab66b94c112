"""The ends of spectra that are known."""

import numpy as np
import pytest
import torch

from vaebench.evaluation.stationarity import extreme_eigenvalues


def matrix(values: list[float]) -> torch.Tensor:
    turn = torch.linalg.qr(torch.randn(len(values), len(values), generator=stream(), dtype=torch.float64))[0]
    return (turn * torch.tensor(values, dtype=torch.float64)) @ turn.mT


def stream() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def start(size: int) -> torch.Tensor:
    return torch.randn(size, generator=stream(), dtype=torch.float64)


@pytest.mark.parametrize(
    "values",
    [[3.0], [2.0, -1.0], [5.0, 5.0, 5.0], [4.0, 4.0, -2.0, -2.0, 0.0], [0.0] * 4, np.linspace(-1, 9, 40).tolist()],
    ids=str,
)
def test_all_products_give_the_exact_ends(values: list[float]) -> None:
    """Equal eigenvalues exhaust the space early; the answer is the same."""
    a = matrix(values)
    found = extreme_eigenvalues(lambda v: a @ v, start(len(values)), 100)
    np.testing.assert_allclose([found.smallest, found.largest], [min(values), max(values)], atol=1e-6)
    direction = found.direction
    np.testing.assert_allclose(direction.norm(), 1, rtol=1e-12)
    np.testing.assert_allclose(direction @ a @ direction, found.smallest, atol=1e-9)
    np.testing.assert_allclose((a @ direction - found.smallest * direction).norm(), found.uncertainty, atol=1e-9)


@pytest.mark.parametrize("products", [1, 2, 5, 20, 60])
def test_few_products_err_to_the_inside_and_say_by_how_much(products: int) -> None:
    values = np.geomspace(1e-4, 100, 200)
    values[0] = -0.5
    a = matrix(values.tolist())
    found = extreme_eigenvalues(lambda v: a @ v, start(200), products)
    assert -0.5 - 1e-9 <= found.smallest <= found.largest <= 100 + 1e-9
    assert np.abs(values - found.smallest).min() <= found.uncertainty + 1e-9
    if products >= 60:
        assert found.smallest < -0.4
