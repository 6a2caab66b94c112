"""The curvature against closed forms and second derivatives; temperatures against the length that they divide."""

import math
from itertools import pairwise

import pytest
import torch
from scipy.integrate import quad

from vaebench.evaluation.estimators.annealing import Curvature, LogDensity


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def linear_gaussian(weight: torch.Tensor, variance: float, x: torch.Tensor) -> LogDensity:
    return lambda z: -(x - z @ weight.mT).square().sum(-1) / (2 * variance)


def diagonal(*values: float) -> Curvature:
    """One observation with these eigenvalues, in the basis of the units."""
    return Curvature(torch.tensor([values]).double(), torch.eye(len(values)).double()[None])


@pytest.mark.parametrize("dim", [3, 6])
def test_a_linear_gaussian_has_the_curvature_of_its_gram_matrix(dim: int) -> None:
    """WᵀW/σ², wherever it is taken, and for more units than dimensions with zeros."""
    weight = normal(dim, 4)
    curvature = Curvature.of(linear_gaussian(weight, 0.1, normal(5, dim)), normal(2, 5, 4, seed=1))
    values, basis = curvature
    gram = basis @ torch.diag_embed(values) @ basis.mT
    torch.testing.assert_close(gram, (weight.mT @ weight / 0.1).expand(5, 4, 4), atol=1e-9, rtol=1e-9)
    assert float(values.min()) >= 0


def test_it_is_the_mean_over_points_of_all_second_derivatives() -> None:
    """Of a decoder with a hidden layer and binary pixels, by autograd's own Hessian; what is below zero is left out."""
    inner, outer, x = normal(7, 3), normal(5, 7, seed=1), (normal(4, 5, seed=2) > 0).double()
    z = normal(6, 4, 3, seed=3)

    def log_likelihood(z: torch.Tensor, x: torch.Tensor = x) -> torch.Tensor:
        logits = torch.tanh(z @ inner.mT) @ outer.mT
        return (x * logits - torch.nn.functional.softplus(logits)).sum(-1)

    def second(z: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return torch.autograd.functional.hessian(lambda z: log_likelihood(z, x), z)

    curved = torch.stack([torch.stack([-second(z[p, b], x[b]) for p in range(6)]).mean(0) for b in range(4)])
    values, _ = torch.linalg.eigh(curved)
    assert float(values.min()) < 0
    found = Curvature.of(log_likelihood, z)
    torch.testing.assert_close(found.values, values.clamp(min=0))
    turned = found.basis.mT @ curved @ found.basis
    torch.testing.assert_close(turned, torch.diag_embed(values), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("name", ["linear", "constant in a unit"])
def test_where_nothing_curves_it_is_zero(name: str) -> None:
    """The gradient does not depend on z at all, or not on all of it: no error, but zeros."""
    density = {"linear": lambda z: z.sum(-1), "constant in a unit": lambda z: -z[..., 0].square()}[name]
    values = Curvature.of(density, normal(2, 3, 4)).values
    expected = [0.0, 0.0, 0.0, 0.0 if name == "linear" else 2.0]
    torch.testing.assert_close(values, torch.tensor([expected] * 3).double())


def test_coordinates_go_there_and_back() -> None:
    curvature = Curvature.of(linear_gaussian(normal(6, 4), 0.1, normal(5, 6)), normal(2, 5, 4))
    z = normal(3, 5, 4, seed=4)
    there = curvature.to_basis(z)
    torch.testing.assert_close(curvature.from_basis(there), z)
    torch.testing.assert_close(there.square().sum(-1), z.square().sum(-1))


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
def test_its_scale_is_that_of_the_tempered_posterior(t: float) -> None:
    """N(0, I) times the likelihood to the power of t has covariance (I + t·WᵀW/σ²)^−1, diagonal in the basis."""
    weight = normal(6, 4)
    curvature = Curvature.of(linear_gaussian(weight, 0.1, normal(1, 6)), normal(2, 1, 4))
    covariance = torch.linalg.inv(torch.eye(4).double() + t * weight.mT @ weight / 0.1)
    (basis,), (scale,) = curvature.basis, curvature.scale(t)
    torch.testing.assert_close(basis.mT @ covariance @ basis, torch.diag(scale.square()))


SPECTRA = [(1.0,), (1e4,), (1e8, 1.0), (50.0, 20.0, 1.0, 0.0), (1e-9,), (0.0, 0.0)]


@pytest.mark.parametrize("values", SPECTRA)
@pytest.mark.parametrize("count", [1, 2, 37])
def test_temperatures_rise_from_zero_to_one(values: tuple[float, ...], count: int) -> None:
    temperatures = diagonal(*values).temperatures(count)
    assert len(temperatures) == count + 1
    assert float(temperatures[0]) == 0
    assert float(temperatures[-1]) == pytest.approx(1, abs=1e-14)
    assert (temperatures.diff() > 0).all()


@pytest.mark.parametrize("values", SPECTRA[:4])
def test_every_rise_is_as_long_as_the_others(values: tuple[float, ...]) -> None:
    """√Var_t[log p(x|z)] by its closed form, integrated over each of 12 rises by quadrature: equal to 1 %."""

    def speed(t: float) -> float:
        squares = [1 / (1 + t * v) for v in values]
        return math.sqrt(sum((v * s) ** 2 * (0.5 + s) for v, s in zip(values, squares, strict=True))) + 1e-3

    lengths = [quad(speed, a, b, limit=200)[0] for a, b in pairwise(diagonal(*values).temperatures(12).tolist())]
    assert max(lengths) < 1.01 * min(lengths)


def test_the_speed_is_the_standard_deviation_of_the_log_likelihood() -> None:
    """For p(x|z) = N(m; z, 1/λ) and m ~ N(0, 1): f_t = N(m(1 − s²), s²), and E_m Var_t[½λ(z − m)²] = λ²s⁴(½ + s²).

    200 000 draws at λ = 3, t = 0.4; the estimated variance is within 5 of its standard errors, a false alarm once in a
    million.
    """
    value, square = 3.0, 1 / (1 + 0.4 * 3.0)
    m = normal(200_000)
    z = m * (1 - square) + math.sqrt(square) * normal(200_000, seed=1)
    centred = 0.5 * value * ((z - m).square() - square - (m * square).square())
    expected = (value * square) ** 2 * (0.5 + square)
    error = float(centred.square().std()) / math.sqrt(len(m))
    assert abs(float(centred.square().mean()) - expected) < 5 * error
