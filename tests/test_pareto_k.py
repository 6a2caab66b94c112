"""The tail of the weights against Pareto weights of known shape, and against an independent implementation."""

import numpy as np
import pytest
import torch
from scipy.stats import genpareto

from vaebench.config.registry import METRICS
from vaebench.evaluation.bounds import generalized_pareto_shape, pareto_k, tail_length
from vaebench.models.draws import Draws
from vaebench.records.description import HEAVY_TAIL
from vaebench.records.record import NotApplicable

FITS = 1000


def uniform(draws: int, fits: int = FITS) -> torch.Tensor:
    return torch.rand(draws, fits, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def without_prior(k: torch.Tensor, draws: int) -> torch.Tensor:
    """The estimate before it was drawn towards 0.5."""
    tail = tail_length(draws)
    return (k * (tail + 10) - 5) / tail


@pytest.mark.parametrize("k", [0.1, 0.3, 0.5, 0.7, 1.0, 1.5])
def test_pareto_weights_have_the_shape_they_were_drawn_with(k: float) -> None:
    """Weights u^−k have the tail index 1/k. Over 1000 fits to 5000 draws, the mean is k within 4 standard errors (six
    tests: false alarms 4e-4) and 0.02, the bias at that tail; the spread is the asymptotic (1 + k)/√tail within 10 %,
    four of its own standard errors and more.
    """
    found = without_prior(pareto_k(-k * uniform(5000).log()), 5000)
    spread = (1 + k) / tail_length(5000) ** 0.5
    assert abs(float(found.mean()) - k) < 4 * spread / FITS**0.5 + 0.02
    assert abs(float(found.std()) / spread - 1) < 0.1


def test_bounded_weights_have_a_negative_shape() -> None:
    """Weights 1 − √u end at 1 like a generalised Pareto distribution of shape −1/2; allowed as above."""
    found = without_prior(pareto_k((1 - uniform(5000).sqrt()).log()), 5000)
    assert abs(float(found.mean()) + 0.5) < 0.03


def test_shape_does_not_depend_on_the_scale_of_the_weights() -> None:
    log_weight = -0.8 * uniform(500, 7).log()
    torch.testing.assert_close(pareto_k(log_weight - 2000), pareto_k(log_weight), rtol=1e-8, atol=1e-8)


def test_shapes_are_those_of_arviz() -> None:
    """`array_stats.psislw` of arviz-stats 0.8.0 on the same weights; its log-weights have the other sign."""
    levels = (np.arange(1000) + 0.5) / 1000
    log_weight = np.stack([*(-k * np.log(levels) for k in (0.2, 0.7, 1.3)), 3 * np.sin(1.7 * np.arange(1000))], 1)
    expected = [0.2368082972555032, 0.6699004120429832, 1.1898590274738164, -1.5367165159357645]
    np.testing.assert_allclose(pareto_k(torch.from_numpy(log_weight)), expected, rtol=1e-9)


@pytest.mark.parametrize("k", [0.2, 0.9])
def test_the_fit_is_near_maximum_likelihood(k: float) -> None:
    """On one sample of 2000 excesses, within a third of a standard error (1 + k)/√2000 of scipy's maximum."""
    excess = ((uniform(2000, 1) ** -k - 1) / k).sort(0).values
    fitted = (float(generalized_pareto_shape(excess)) * 2010 - 5) / 2000
    assert abs(fitted - genpareto.fit(excess[:, 0].numpy(), floc=0)[0]) < (1 + k) / 2000**0.5 / 3


def of(log_weight: torch.Tensor) -> Draws:
    """Draws with these weights; nothing else of them is read."""
    none = torch.zeros_like(log_weight)
    return Draws(none, None, None, none, none, log_weight, none, none)


def computed(*parts: torch.Tensor) -> tuple:
    metric = METRICS.build("ParetoK")
    for part in parts:
        metric.update(of(part))
    return metric.compute()


def test_median_and_share_over_observations() -> None:
    """A third of light, heavy and hopeless tails each: two thirds above 0.7."""
    log_weight = -torch.tensor([0.1, 1.2, 3.0] * 50) * uniform(4000, 150).log()
    median, share = computed(log_weight)
    assert (median.n, share.n) == (150, 150)
    assert 1.0 < median.value < 1.4
    assert share.value == 2 / 3
    assert computed(log_weight[:, :20], log_weight[:, 20:]) == (median, share)


def test_fewer_draws_than_a_tail_needs_leave_a_blank() -> None:
    blanks = computed(uniform(24, 9))
    assert {type(b) for b in blanks} == {NotApplicable}
    assert blanks[0].reason == "25 draws are the fewest that have a tail, got 24"
    assert not any(isinstance(e, NotApplicable) for e in computed(uniform(25, 9)))


def test_equal_weights_have_no_tail() -> None:
    """As at a linear VAE's optimum, where every weight is p(x): blank if all are so; left out, with a note, if some."""
    equal, spread = torch.zeros(100, 3), uniform(100, 5).float()
    assert {b.reason for b in computed(equal)} == {
        "the largest weights of every observation are tied: there is no tail"
    }
    some, alone = computed(torch.cat([equal, spread], 1)), computed(spread)
    assert some[0].value == alone[0].value
    assert some[0].note == "the largest weights of 3 of 8 observations are tied"
    assert some[1].n == 8


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_not_called_tied(bad: float) -> None:
    spread = uniform(100, 5).float()
    some = spread.clone()
    some[3, :2] = bad
    found, finite = computed(some), computed(spread[:, 2:])
    assert found[0].value == finite[0].value
    assert found[0].note == "some weights of 2 of 5 observations are not finite"
    with_ties = computed(torch.cat([some, torch.zeros(100, 1)], 1))
    assert with_ties[0].note == (
        "the largest weights of 1 of 6 observations are tied; some weights of 2 of 6 observations are not finite"
    )
    assert {b.reason for b in computed(some[:, :2])} == {"some weights of 2 of 2 observations are not finite"}


@pytest.mark.parametrize("draws", [25, 500, 5000])
@pytest.mark.parametrize("spread", [30.0, 300.0, 1e4, 1e30])
def test_weights_that_differ_without_measure_have_a_heavy_tail(spread: float, draws: int) -> None:
    """Where log p(x|z) spreads over thousands of nats, as draws of the prior do, one weight is all there is.

    With 25 draws five weights make the tail; k̂ of the smallest spread is below 0.7 once in 10⁵ fits.
    """
    shapes = pareto_k(-spread * uniform(draws, 10).log())
    assert shapes.isfinite().all()
    assert (shapes > HEAVY_TAIL).all()


def test_a_weight_of_nothing_is_a_weight() -> None:
    """Draws with p(x|z) = 0 have log-weight −inf and do not disturb the tail."""
    log_weight = -0.5 * uniform(1000, 3).log()
    rest = log_weight.where(log_weight > 0.1, -torch.inf)
    torch.testing.assert_close(pareto_k(rest), pareto_k(log_weight))
