"""Laws of Hamiltonian dynamics, and of a transition that must leave its target as it is."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.stats import kstest, norm

from vaebench.evaluation.estimators.annealing import Position, Target, leapfrog, transition

ONE = torch.ones(1, dtype=torch.float64)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    """Standard normal numbers; no transition here has a generator of the same seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def quartic(z: torch.Tensor) -> torch.Tensor:
    """A density that is not Gaussian and whose coordinates are coupled."""
    return -0.25 * z.pow(4).sum(-1) - 0.5 * (z[..., 0] - 2 * z[..., -1]).square() + z.sin().sum(-1)


def gaussian(scale: torch.Tensor) -> Target:
    return Target((lambda z: -0.5 * (z / scale).square().sum(-1),))


def energy(position: Position, momentum: torch.Tensor) -> torch.Tensor:
    return 0.5 * momentum.square().sum(-1) - position.log_density(ONE)


def test_a_position_is_the_weighted_sum_of_terms_and_gradients() -> None:
    """Against the target written as one function, and autograd."""
    z = normal(3, 4, 2).requires_grad_()
    target, weight = Target((quartic, lambda z: -z.square().sum(-1))), torch.tensor([1.0, 0.3], dtype=torch.float64)
    whole = quartic(z) - 0.3 * z.square().sum(-1)
    (gradient,) = torch.autograd.grad(whole.sum(), z)
    position = target.at(z)
    torch.testing.assert_close(position.log_density(weight), whole.detach())
    torch.testing.assert_close(position.gradient(weight), gradient)
    assert not any(part.requires_grad for part in position)


def test_one_chain_may_move_where_another_stays() -> None:
    first, second = (Target((quartic,)).at(normal(3, 2, seed=seed)) for seed in (1, 2))
    taken = torch.tensor([True, False, True])
    for mixed, new, old in zip(first.where(taken, second), first, second, strict=True):
        chains = -1 if mixed.ndim == 2 and len(mixed) == 1 else -2
        torch.testing.assert_close(mixed.movedim(chains, 0)[taken], new.movedim(chains, 0)[taken])
        torch.testing.assert_close(mixed.movedim(chains, 0)[~taken], old.movedim(chains, 0)[~taken])


@pytest.mark.parametrize("count", [1, 2, 17])
def test_leapfrog_retraces_itself_when_momentum_is_turned_round(count: int) -> None:
    target, step = Target((quartic,)), 0.05 + 0.1 * normal(5, 3, seed=3).sigmoid()
    start, momentum = target.at(normal(5, 3)), normal(5, 3, seed=1)
    end, final = leapfrog(target, ONE, start, momentum, step, count)
    assert float((end.z - start.z).abs().min()) > 1e-6
    back, turned = leapfrog(target, ONE, end, -final, step, count)
    torch.testing.assert_close(back.z, start.z, rtol=0, atol=1e-12)
    torch.testing.assert_close(-turned, momentum, rtol=0, atol=1e-12)


def test_leapfrog_preserves_volume() -> None:
    """The Jacobian of (z, momentum) -> (z', momentum'), by central differences, has determinant 1."""
    target, step, h = Target((quartic,)), torch.tensor([0.2, 0.3], dtype=torch.float64), 1e-5

    def flow(state: torch.Tensor) -> torch.Tensor:
        position, momentum = leapfrog(target, ONE, target.at(state[..., :2]), state[..., 2:], step.expand(4, 2), 7)
        return torch.cat([position.z, momentum], -1)

    state, shift = normal(4), h * torch.eye(4, dtype=torch.float64)
    jacobian = (flow(state + shift) - flow(state - shift)).mT / (2 * h)
    assert abs(float(torch.linalg.det(jacobian)) - 1) < 1e-8


def test_the_error_of_the_energy_is_of_the_second_order() -> None:
    """Over a fixed time, a step half as long has a quarter of the error: between 3.8 and 4.2 over four halvings."""
    target, start, momentum = Target((quartic,)), normal(50, 3), normal(50, 3, seed=1)
    begun, errors = energy(target.at(start), momentum), []
    for count in (50, 100, 200, 400):
        step = torch.full((50, 3), 1.0 / count, dtype=torch.float64)
        errors.append((energy(*leapfrog(target, ONE, target.at(start), momentum, step, count)) - begun).abs().mean())
    ratios = [float(a / b) for a, b in pairwise(errors)]
    assert all(3.8 < ratio < 4.2 for ratio in ratios), ratios


@pytest.mark.parametrize("size", [0.1, 0.7, 1.6])
def test_a_transition_leaves_a_gaussian_as_it_is(size: float) -> None:
    """Exact samples in, exact samples out, whatever the step size; at 1.6 most trajectories are refused.

    20 000 chains, Kolmogorov-Smirnov on each of 3 coordinates after 5 transitions; the level of 1e-5 in each of the 9
    tests makes a false alarm once in 10 000 seeds.
    """
    scale = torch.tensor([1.0, 0.1, 5.0], dtype=torch.float64)
    target, generator = gaussian(scale), torch.Generator().manual_seed(99)
    position, step = target.at(normal(20_000, 3) * scale), (size * scale).expand(20_000, 3)
    accepted = []
    for _ in range(5):
        position, acceptance = transition(target, ONE, position, step, 4, generator)
        accepted.append(float(acceptance.mean()))
    assert 0.05 < np.mean(accepted) < (0.9 if size > 1 else 1.0)
    for column in (position.z / scale).T.numpy():
        assert kstest(column, norm.cdf).pvalue > 1e-5


def test_a_transition_is_reversible() -> None:
    """In equilibrium (z, z') and (z', z) have one distribution: E[f(z) g(z')] = E[g(z) f(z')].

    100 000 pairs, f = z, g = z³; |difference| below 5 standard errors, a false alarm once in a million.
    """
    target = gaussian(torch.ones(1, dtype=torch.float64))
    start = target.at(normal(100_000, 1))
    end = transition(target, ONE, start, torch.full((100_000, 1), 1.2).double(), 2, torch.Generator().manual_seed(99))
    before, after = start.z[:, 0], end.position.z[:, 0]
    difference = before * after**3 - before**3 * after
    assert abs(float(difference.mean())) < 5 * float(difference.std()) / math.sqrt(len(difference))


def test_what_is_refused_stays_where_it_was_with_its_gradient() -> None:
    target, start = gaussian(torch.full((2,), 1e-3, dtype=torch.float64)), normal(40, 2) * 1e-3
    position, acceptance = transition(
        target, ONE, target.at(start), torch.full((40, 2), 0.1).double(), 10, torch.Generator().manual_seed(99)
    )
    assert float(acceptance.max()) < 1e-6
    for now, before in zip(position, target.at(start), strict=True):
        assert torch.equal(now, before)


@pytest.mark.parametrize("beyond", [math.nan, -math.inf])
def test_a_trajectory_out_of_range_is_refused(beyond: float) -> None:
    """The density is not a number, or zero, for z > 1: the chains stay below and no number is spoilt."""
    target = Target((lambda z: torch.where(z > 1, beyond, -0.5 * z.square()).sum(-1),))
    position, generator = target.at(normal(500, 1).clamp(max=0.9)), torch.Generator().manual_seed(99)
    step = torch.full((500, 1), 0.5, dtype=torch.float64)
    for _ in range(20):
        position, acceptance = transition(target, ONE, position, step, 4, generator)
        assert ((acceptance >= 0) & (acceptance <= 1)).all()
    assert float(position.z.max()) <= 1
    assert float(position.z.std()) > 0.5
    assert position.terms.isfinite().all()


def test_the_generator_decides_everything() -> None:
    """Whatever the global one does; and the caller's start is left as it is."""
    target, start, ends = gaussian(torch.ones(2, dtype=torch.float64)), normal(7, 2), []
    for seed in (1, 2):
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(5)
        ends.append(transition(target, ONE, target.at(start), torch.full_like(start, 0.3), 3, generator).position.z)
    assert torch.equal(*ends)
    assert torch.equal(start, normal(7, 2))
