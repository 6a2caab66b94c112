"""Annealing against exact evidences: unbiased in both directions, bounded by Markov, close where the path is slow."""

import math
from typing import Any

import pytest
import torch

from vaebench.evaluation.bounds import iwae
from vaebench.evaluation.estimators import annealing
from vaebench.evaluation.estimators.annealing import QUARTER, Moved, Path, transition, tuned
from vaebench.oracle.probabilistic_pca import ProbabilisticPCA

SIZES = [  # singular values of W, D, σ², temperatures
    ([2.0, 1.0], 4, 0.5, 80),
    ([1.0, 1.0, 1.0, 1.0], 4, 1.0, 80),  # degenerate
    ([3.0, 0.0], 3, 0.1, 100),  # a unit that does nothing
    ([3.0, 2.0, 1.0], 2, 0.3, 80),  # more units than dimensions
    ([10.0, 1.0, 0.1], 6, 1e-4, 300),  # a posterior a thousand times narrower than the prior
    ([2.0], 3, 1e-6, 200),
]


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    """Standard normal numbers; no generator that is handed to annealing has such a seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def generator(seed: int = 99) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def model_of(singular: list[float], dim: int, variance: float) -> ProbabilisticPCA:
    units, least = len(singular), min(dim, len(singular))
    left, right = (torch.linalg.qr(normal(n, n, seed=n))[0][:, :least] for n in (dim, units))
    weight = left * torch.tensor(singular[:least]).double() @ right.mT
    return ProbabilisticPCA(normal(dim, seed=7), weight, variance)


def simulated(model: ProbabilisticPCA, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Observations `[B, D]` and the latents `[B, L]` that made them: exact samples of their posteriors."""
    z = normal(count, model.latent_dim, seed=11)
    return z @ model.weight.mT + model.mean + normal(count, len(model.mean), seed=12) * math.sqrt(model.variance), z


def log_prior(z: torch.Tensor) -> torch.Tensor:
    return -0.5 * (z.square() + math.log(2 * math.pi)).sum(-1)


def path_of(model: ProbabilisticPCA, x: torch.Tensor, temperatures: int, leapfrog: int = 3, seed: int = 98) -> Path:
    def log_likelihood(z: torch.Tensor) -> torch.Tensor:
        error = (x - z @ model.weight.mT - model.mean).square() / model.variance
        return -0.5 * (error + math.log(2 * math.pi * model.variance)).sum(-1)

    start, points = (normal(4, len(x), model.latent_dim, seed=seed) for seed in (21, 22))
    return tuned(
        log_prior,
        log_likelihood,
        start,
        points,
        temperatures=temperatures,
        leapfrog=leapfrog,
        acceptance=0.65,
        generator=generator(seed),
    )


def weights(model: ProbabilisticPCA, count: int, chains: int, temperatures: int) -> tuple[torch.Tensor, torch.Tensor]:
    """log w/p(x) of chains forwards and log w·p(x) backwards, `[C, B]`, one observation after the other.

    Backwards every chain starts at a sample of its own, which a linear-Gaussian model gives.
    """
    x, _ = simulated(model, count)
    path, exact = path_of(model, x, temperatures), model.log_prob(x)
    posterior = model.posterior.at(x)
    noise = normal(chains, count, model.latent_dim, seed=31)
    z = posterior.mean + torch.einsum("lm,cbm->cbl", torch.linalg.cholesky(posterior.covariance_matrix[0]), noise)
    forwards = path.forwards(normal(chains, count, model.latent_dim, seed=32), generator())
    return forwards - exact, path.backwards(z, generator(97)) + exact


@pytest.mark.slow
@pytest.mark.parametrize(("singular", "dim", "variance", "temperatures"), SIZES)
def test_it_comes_to_the_exact_evidence_from_both_sides(
    singular: list[float], dim: int, variance: float, temperatures: int
) -> None:
    """Within 0.1 nat of the mean evidence of 16 observations, and on the right side of it.

    By Markov's inequality and independence, either bound is on its wrong side by more than 9.2/16 nats in the mean with
    a probability of at most e^−9.2 = 1e-4, whatever the path; that it is within 0.1 is accuracy, at fixed seeds.
    """
    model = model_of(singular, dim, variance)
    x, z = simulated(model, 16)
    path, exact = path_of(model, x, temperatures), float(model.log_prob(x).mean())
    start = normal(24, 16, model.latent_dim, seed=41)
    lower = float(iwae(path.forwards(start, generator()), 24).mean())
    upper = -float(iwae(path.backwards(z.expand_as(start), generator(97)), 24).mean())
    assert lower < exact + 9.2 / 16
    assert upper > exact - 9.2 / 16
    assert abs(lower - exact) < 0.1
    assert abs(upper - exact) < 0.1


@pytest.mark.parametrize("temperatures", [2, 6])
def test_the_mean_weight_is_the_evidence_however_short_the_path(temperatures: int) -> None:
    """E[w/p(x)] = 1 forwards and backwards: 20 000 chains, 5 standard errors, a false alarm once in a million."""
    for log_weight in weights(model_of([1.0, 0.5], 3, 1.0), 4, 10_000, temperatures):
        w = log_weight.exp()
        assert ((w.mean(0) - 1).abs() < 5 * w.std(0) / math.sqrt(len(w))).all()
        assert float(w.std()) > 0.05


def test_forwards_and_backwards_are_one_process() -> None:
    """Crooks' relation: √(w/p) has one mean in both directions, if each transition is the reverse of its counterpart.

    20 000 chains each of 4 observations, 5 standard errors: a false alarm once in 400 000.
    """
    forwards, backwards = (0.5 * half for half in weights(model_of([2.0, 1.0], 4, 0.5), 4, 20_000, 5))
    difference = forwards.exp().mean(0) - backwards.exp().mean(0)
    error = (forwards.exp().var(0) + backwards.exp().var(0)).sqrt() / math.sqrt(len(forwards))
    assert (difference.abs() < 5 * error).all()
    assert float(forwards.exp().mean()) < 0.99


def test_no_weight_is_far_above_its_mean_too_often() -> None:
    """Markov: P[log w − log p > a] ≤ e^−a for every a, in 40 000 chains that are far too few temperatures."""
    for log_weight in weights(model_of([3.0, 1.0], 4, 0.1), 2, 20_000, 3):
        for a in (0.5, 1.0, 2.0, 4.0):
            share, most = float((log_weight > a).double().mean()), math.exp(-a)
            assert share < most + 5 * math.sqrt(most / log_weight.numel())


def test_without_a_temperature_between_it_is_importance_sampling_from_the_prior() -> None:
    model = model_of([1.0, 0.5], 3, 1.0)
    x, _ = simulated(model, 5)
    path, z = path_of(model, x, 1), normal(6, 5, 2, seed=51)
    assert path.step.shape == (0, 5)
    torch.testing.assert_close(path.forwards(z, generator()), path.log_likelihood(z))
    torch.testing.assert_close(path.backwards(z, generator()), -path.log_likelihood(z))


@pytest.mark.parametrize(("units", "leapfrog"), [(200, 1), (2, 3)])
def test_step_sizes_aim_at_the_acceptance_and_stop_at_a_quarter_period(
    units: int, leapfrog: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fresh chains accept with the wanted 0.65 ± 0.1 where units are many, and more where the cap comes first."""
    model = model_of([2.0] * units, units, 0.5)
    x, _ = simulated(model, 8)
    path = path_of(model, x, 60, leapfrog)
    assert path.step.shape == (59, 8)
    capped = float(path.step.max()) > 0.999 * QUARTER / leapfrog
    assert float(path.step.max()) <= QUARTER / leapfrog * (1 + 1e-12)
    assert capped == (units == 2)
    accepted = []

    def watched(*arguments: Any) -> Moved:
        moved = transition(*arguments)
        accepted.append(float(moved.acceptance.mean()))
        return moved

    monkeypatch.setattr(annealing, "transition", watched)
    path.forwards(normal(8, 8, units, seed=81), generator())
    mean = sum(accepted) / len(accepted)
    assert mean > 0.8 if capped else 0.55 < mean < 0.75


def test_nothing_is_adapted_to_the_chains_that_count() -> None:
    """The path is the same before and after it was run, and the same seed gives the same weights again."""
    model = model_of([2.0, 1.0], 4, 0.5)
    x, _ = simulated(model, 3)
    path, z = path_of(model, x, 10), normal(6, 3, 2, seed=61)
    step, temperatures = path.step.clone(), path.temperatures.clone()
    first = path.forwards(z, generator())
    assert torch.equal(first, path.forwards(z, generator()))
    assert not torch.equal(first, path.forwards(z, generator(5)))
    assert torch.equal(path.step, step)
    assert torch.equal(path.temperatures, temperatures)
    assert torch.equal(first, path_of(model, x, 10).forwards(z, generator()))


def test_one_observation_does_not_touch_another_s_weights_beyond_the_temperatures() -> None:
    """At one set of temperatures and step sizes, a chain's weight depends on its own column of noise alone."""
    model = model_of([2.0, 1.0], 4, 0.5)
    x, _ = simulated(model, 2)
    path, z = path_of(model, x, 10), normal(6, 2, 2, seed=71)
    other = z.clone()
    other[:, 1] += 1.0
    first, second = path.forwards(z, generator()), path.forwards(other, generator())
    assert torch.equal(first[:, 0], second[:, 0])
    assert not torch.equal(first[:, 1], second[:, 1])
