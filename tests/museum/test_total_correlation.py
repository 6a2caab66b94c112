"""Faults: minibatch weights of the total correlation.

From a batch of B = M + 1 of N observations, stratified sampling estimates q(z_n) = Σ_m W_nm q(z_n|x_m) with W = 1/N for
the observation that z came from, (N − M)/NM for one other, 1/M for the rest (Chen et al. 2018). Public code writes the
first two into `W.view(-1)[::M + 1]` and `[1::M + 1]`. A row has M + 1 entries, so that this is the first column and the
second, not the diagonal: the own density, the largest of all, gets N/M times its weight. Elsewhere log W is added to
the table of densities before it is summed over units, so that the joint density gets W^L. Right: q(z) of the whole
split.
"""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from vaebench.config.seeding import generator
from vaebench.oracle.probabilistic_pca import LinearPosterior, ProbabilisticPCA, RateDecomposition
from vaebench.records.record import Estimate


def weights_off_the_diagonal(batch_size: int, dataset_size: int) -> Tensor:
    """log W as it is written in public code."""
    n, m = dataset_size, batch_size - 1
    stratified = (n - m) / (n * m)
    w = torch.full((batch_size, batch_size), 1 / m, dtype=torch.float64)
    w.view(-1)[:: m + 1] = 1 / n
    w.view(-1)[1 :: m + 1] = stratified
    w[m - 1, 0] = stratified
    return w.log()


def weights_on_the_diagonal(batch_size: int, dataset_size: int) -> Tensor:
    """log W as it is meant: each row sums to 1, and its own density weighs 1/N."""
    n, m = dataset_size, batch_size - 1
    w = torch.full((batch_size, batch_size), 1 / m, dtype=torch.float64)
    w.fill_diagonal_(1 / n)
    w.diagonal(1).fill_((n - m) / (n * m))
    w[m, 0] = (n - m) / (n * m)
    return w.log()


def total_correlation_of_batches(density: Tensor, log_w: Tensor) -> float:
    """Mean of log q(z) − Σ_i log q(z_i) over batches; density log q(z_n,i|x_m), `[batches, B, B, L]`."""
    log_qz = torch.logsumexp(log_w + density.sum(-1), dim=2)
    log_marginals = torch.logsumexp(log_w[:, :, None] + density, dim=2).sum(-1)
    return (log_qz - log_marginals).mean().item()


def total_correlation_with_weights_in_every_unit(density: Tensor, log_w: Tensor) -> float:
    """The same with log W added to the table first, so that the sum over units counts it L times."""
    density = density + log_w[:, :, None]
    log_qz = torch.logsumexp(density.sum(-1), dim=2)
    log_marginals = torch.logsumexp(density, dim=2).sum(-1)
    return (log_qz - log_marginals).mean().item()


N, B, L = 3200, 16, 6


@pytest.fixture(scope="module")
def subject() -> tuple[ProbabilisticPCA, LinearPosterior, Tensor]:
    """A posterior whose means are correlated over the data: I = 3.1, TC = 0.53 in closed form; and N observations."""
    stream = torch.Generator().manual_seed(0)
    weight = 2 * torch.randn(12, L, generator=stream, dtype=torch.float64) / L**0.5
    model = ProbabilisticPCA(torch.zeros(12), weight, 0.5)
    gain = torch.randn(L, 12, generator=stream, dtype=torch.float64)
    gain = 0.4 * gain / gain.norm(dim=1, keepdim=True)
    return model, LinearPosterior.diagonal(gain, torch.zeros(L), torch.full((L,), 0.3)), model.sample(N, stream)[0]


@pytest.fixture(scope="module")
def density(subject) -> Tensor:
    """log q(z_n,i|x_m) within batches of B, `[N/B, B, B, L]`."""
    _, q, x = subject
    mean, std = q.mean(x), q.covariance.diagonal().sqrt()
    z = mean + std * torch.randn(N, L, generator=generator(0, "museum"), dtype=torch.float64)
    return Normal(mean.view(-1, 1, B, L), std).log_prob(z.view(-1, B, 1, L))


@pytest.fixture(scope="module")
def exact(subject) -> RateDecomposition:
    model, q, _ = subject
    return q.decompose(model.mean, model.covariance)


@pytest.fixture(scope="module")
def right(subject, linear_vae, ours) -> Estimate:
    model, q, x = subject
    return ours(linear_vae(model, q), x.split(800), "TotalCorrelation")["total_correlation"]


def test_the_whole_split_has_it(exact, right):
    """Within 4 standard errors (a false alarm once in 16 000) and the bias of a split of N, (e^2I − 1)/2N = 0.08."""
    assert exact.total_correlation > 0.5
    assert abs(right.value - exact.total_correlation) < 4 * right.standard_error + abs(exact.split_bias(N)) < 0.2


def test_weights_that_miss_the_diagonal(density, exact, right, show):
    """Twice what it should be. In their places the weights give a nat less, too little: a batch has not got it."""
    wrong = total_correlation_of_batches(density, weights_off_the_diagonal(B, N))
    placed = total_correlation_of_batches(density, weights_on_the_diagonal(B, N))
    show("total correlation, stratified weights off the diagonal", wrong, right.value, exact.total_correlation)
    assert 1.8 < wrong / exact.total_correlation < 2.2
    assert placed < exact.total_correlation < wrong - 0.4
    assert wrong - placed > 1


def test_weights_counted_once_a_unit(density, exact, right, show):
    """Negative, which no total correlation is: low by about (L − 1) log M, 14 nats."""
    wrong = total_correlation_with_weights_in_every_unit(density, weights_on_the_diagonal(B, N))
    show("total correlation, weights counted once a unit", wrong, right.value, exact.total_correlation)
    assert wrong < 0 < exact.total_correlation
    assert wrong - exact.total_correlation == pytest.approx(-(L - 1) * math.log(B - 1), rel=0.2)


def test_the_weights_that_are_meant():
    """Every row sums to 1 with 1/N on the diagonal; as written, almost every diagonal entry is 1/M."""
    meant, written = weights_on_the_diagonal(B, N).exp(), weights_off_the_diagonal(B, N).exp()
    torch.testing.assert_close(meant.sum(1), torch.ones(B, dtype=torch.float64))
    torch.testing.assert_close(meant.diagonal(), torch.full((B,), 1 / N, dtype=torch.float64))
    torch.testing.assert_close(written.diagonal()[2:], torch.full((B - 2,), 1 / (B - 1), dtype=torch.float64))
