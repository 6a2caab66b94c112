"""Subsets of principal directions: no gradient anywhere, and the rule of the spectrum against the Hessian."""

import numpy as np
import pytest
import torch
from stationary_points import every_point, is_stable, loss_around, smallest_curvature, stationary_point

from vaebench.oracle import beta_optimum, learned_variance_optimum
from vaebench.oracle.spectrum import Spectrum

PROBLEMS = [  # eigenvalues, L, β, σ² (None: stationary)
    ([5.0, 3.0, 2.0, 0.4], 2, 1.0, 1.0),
    ([5.0, 3.0, 2.0, 0.4], 3, 2.0, 0.7),
    ([5.0, 3.0, 2.0, 0.4], 2, 1.0, None),
    ([9.0, 3.0, 2.0, 1.0, 0.4], 2, 1.3, None),
    ([5.0, 3.0, 0.6, 0.4], 4, 1.0, 0.5),
    ([3.0, 3.0, 2.0, 0.5], 2, 1.0, 1.0),  # degenerate
]


every_problem = pytest.mark.parametrize("problem", PROBLEMS, ids=str)


@every_problem
def test_gradient_vanishes_and_curvature_confirms_the_rule(problem: tuple) -> None:
    """A subset is stable by the rule just if no direction of the Hessian goes down; there are both kinds."""
    stable, points = [], every_point(*problem)
    for point in points:
        loss, at = loss_around(point, learned_variance=problem[3] is None)
        slope = torch.autograd.functional.jacobian(loss, at)
        assert float(slope.abs().max()) < 1e-12
        curvature = smallest_curvature(loss, at)
        stable.append(is_stable(point))
        assert stable[-1] == (curvature > -1e-10), (point.kept, curvature)
    assert len(points) > 2
    assert {True, False} == set(stable)


@every_problem
def test_the_stable_point_is_the_optimum(problem: tuple) -> None:
    """No local maximum but the global one (Lucas et al. 2019), which is the one that the oracle names."""
    _, latent_dim, beta, variance = problem
    points = every_point(*problem)
    spectrum = points[0].spectrum
    optimum = (
        learned_variance_optimum(spectrum, latent_dim, beta)
        if variance is None
        else beta_optimum(spectrum, latent_dim, beta, variance)
    )
    stable = [p.objective for p in points if is_stable(p)]
    np.testing.assert_allclose(stable, optimum.objective, rtol=1e-12)
    assert max(p.objective for p in points) <= optimum.objective + 1e-12


def test_a_saddle_is_left_upwards() -> None:
    """A step along the direction of smallest curvature from a saddle raises the objective."""
    point = stationary_point(Spectrum.given([5.0, 3.0, 2.0, 0.4]), (0, 2), 2, 1.0, 1.0)
    loss, at = loss_around(point, learned_variance=False)
    down = torch.linalg.eigh(torch.autograd.functional.hessian(loss, at)).eigenvectors[:, 0]
    assert float(loss(at + 1e-2 * down)) < float(loss(at)) == pytest.approx(-point.objective, rel=1e-12)


@pytest.mark.parametrize("kept", [(0, 1, 2, 3, 4), (0, 1, 2, 3, 7)])
def test_the_curvature_is_that_of_the_whole_hessian(kept: tuple[int, ...]) -> None:
    spectrum = Spectrum.given([0.8**i * 9 for i in range(12)])
    loss, at = loss_around(stationary_point(spectrum, kept, 5, 1.0, 0.5), learned_variance=False)
    dense = float(torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss, at))[0])
    assert smallest_curvature(loss, at) == pytest.approx(dense, abs=1e-6)
    assert (dense < -1e-3) == (kept[-1] == 7)


@pytest.mark.parametrize(
    ("kept", "beta", "variance", "message"),
    [
        ((0, 1, 2), 1.0, 0.1, "at most 2 different"),
        ((0, 0), 1.0, 0.1, "at most 2 different"),
        ((5,), 1.0, 0.1, "at most 2 different"),
        ((0, 3), 1.0, 0.5, r"directions \[3\] do not exceed"),
        ((0,), 0.0, 0.5, "expected β > 0"),
        ((0, 1), 2.0, None, "expected β > 0 and σ² > 0"),
    ],
)
def test_points_that_do_not_exist(kept: tuple[int, ...], beta: float, variance: float | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        stationary_point(Spectrum.given([5.0, 3.0, 2.0, 0.4]), kept, 2, beta, variance)
