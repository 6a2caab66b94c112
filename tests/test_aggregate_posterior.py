"""The aggregate posterior against the sum written out, and what it holds in memory meanwhile."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import Normal
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vaebench.evaluation.metrics import aggregate_posterior
from vaebench.evaluation.metrics.aggregate_posterior import AggregatePosterior
from vaebench.models.draws import ChunkSize


def mixture(n: int, units: int, std: tuple[float, float], seed: int = 0) -> tuple[AggregatePosterior, torch.Tensor]:
    """N components with standard deviations between two, and a draw of each."""
    stream = torch.Generator().manual_seed(seed)
    low, high = (math.log(s) for s in std)
    spread = torch.exp(low + (high - low) * torch.rand(n, units, generator=stream, dtype=torch.float64))
    mean = 2 * torch.randn(n, units, generator=stream, dtype=torch.float64)
    return AggregatePosterior(mean, spread), mean + spread * torch.randn(mean.shape, generator=stream).double()


STDS = [(0.3, 1.5), (0.999, 1.001), (1e-3, 10.0), (1e-6, 1e-5)]


@pytest.mark.parametrize("block", [1, 100, 2**18])
@pytest.mark.parametrize("std", STDS)
@pytest.mark.parametrize("units", [1, 5])
def test_densities_are_the_sums_written_out(units: int, std: tuple[float, float], block: int, monkeypatch) -> None:
    """Over [N, N, L], in blocks of any size; within what cancellation may cost, 20 eps (z/s)² of the docstring."""
    monkeypatch.setattr(aggregate_posterior, "DENSITIES", ChunkSize(block, block))
    q, z = mixture(37, units, std)
    table = Normal(q.mean, q.std).log_prob(z[:, None])
    own = table.diagonal().mT
    tolerance = 20 * 2.2e-16 * max(16.0, (float(z.abs().max()) / float(q.std.min())) ** 2)
    np.testing.assert_allclose(q.log_prob(z), table.sum(-1).logsumexp(1) - math.log(37), rtol=0, atol=units * tolerance)
    np.testing.assert_allclose(q.log_prob_units(z, own), table.logsumexp(1) - math.log(37), rtol=0, atol=tolerance)


def test_any_component_will_do_as_the_least() -> None:
    q, z = mixture(20, 3, (0.3, 1.0))
    table = Normal(q.mean, q.std).log_prob(z[:, None])
    np.testing.assert_allclose(q.log_prob_units(z, table[:, 0]), q.log_prob_units(z, table[:, 7]), rtol=1e-12)


def test_a_marginal_of_one_unit_is_the_joint_density() -> None:
    q, z = mixture(50, 1, (0.1, 2.0))
    own = Normal(q.mean, q.std).log_prob(z)
    np.testing.assert_allclose(q.log_prob_units(z, own)[:, 0], q.log_prob(z), rtol=1e-12)


def test_many_sharp_units_do_not_overflow() -> None:
    """With 1000 units of s = 1e-4, the joint density is e^8000 and more; its logarithm is a number."""
    q, z = mixture(10, 1000, (1e-4, 1e-3))
    exact = Normal(q.mean, q.std).log_prob(z).sum(-1) - math.log(10)  # components so far apart do not overlap
    np.testing.assert_allclose(q.log_prob(z), exact, rtol=1e-6)


class Largest(TorchDispatchMode):
    """Notes the largest tensor that any operation gives."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.elements = max(self.elements, *(t.numel() for t in tree_leaves(out) if isinstance(t, torch.Tensor)), 0)
        return out


def test_nothing_of_n_squared_is_held() -> None:
    """No tensor beyond a block or the tables of N × (2L + 1), where [N, N] would be 15 times as large."""
    q, z = mixture(2000, 4, (0.5, 1.0))
    own = Normal(q.mean, q.std).log_prob(z)
    with Largest() as seen:
        q.log_prob(z)
        q.log_prob_units(z, own)
    assert seen.elements <= max(aggregate_posterior.DENSITIES.cpu, 2000 * 9) < 2000**2 / 15
