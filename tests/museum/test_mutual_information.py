"""Fault: mutual information from the aggregate posterior of one batch.

Public code estimates I_q(x;z) a batch at a time, with q(z) = (1/B) Σ_n q(z|x_n) over the B observations of that batch,
and averages over batches. No such number can exceed log B: with B = 50, log 50 = 3.91, where whole columns of published
tables stand. Below the cap it is too low as well. Right: q(z) of the whole split, whose cap log N is printed beside it.
"""

import math

import pytest
import torch

from vaebench.calibration.measurements import information_within_batches
from vaebench.oracle.probabilistic_pca import LinearPosterior, ProbabilisticPCA


def test_a_batch_of_fifty_says_no_more_than_log_fifty(linear_vae, ours, show):
    """Made by hand: 400 places, 20 posterior standard deviations apart, 4 observations each, so I = log 400 = 5.99.

    The batch loses 2 nats of it. Ours is exact to 1e-9: posteriors of different places do not overlap in float64.
    """
    places, spread = 400, 0.05
    exact = math.log(places)
    order = torch.randperm(4 * places, generator=torch.Generator().manual_seed(0))
    x = torch.arange(-200, 200, dtype=torch.float64).repeat(4)[order, None]
    one = torch.ones(1, 1, dtype=torch.float64)
    q = LinearPosterior.diagonal(one, torch.zeros(1), torch.full((1,), spread**2))
    vae = linear_vae(ProbabilisticPCA(torch.zeros(1), one, 1.0), q)
    wrong = information_within_batches(vae, x.split(50))
    right = ours(vae, x.split(100), "RateDecomposition")
    show("mutual information within batches of 50", wrong, right["mutual_information"].value, exact)
    assert wrong <= math.log(50) < exact - 2
    assert wrong == pytest.approx(math.log(50), abs=0.1), "the cap is what it measures"
    assert right["mutual_information"].value == pytest.approx(exact, abs=1e-9)
    assert right["mutual_information_cap"].value == math.log(len(x))
    assert right["mutual_information"].note is None


def test_below_its_cap_a_batch_is_too_low_as_well(linear_vae, ours, show):
    """Linear-Gaussian with I = 2.5 nats, under log 50 by 1.4: the batch is low by 0.1 to 0.5, ours is right.

    Allowed are 4 standard errors (0.1: a false alarm once in 16 000) and the stated bias of a split of 3000, −0.025.
    """
    exact, units = 2.5, 2
    eye = torch.eye(units, dtype=torch.float64)
    model = ProbabilisticPCA(torch.zeros(units), eye, 1 / math.expm1(2 * exact / units))
    assert model.mutual_information == pytest.approx(exact, rel=1e-12)
    x, _ = model.sample(3000, torch.Generator().manual_seed(0))
    vae = linear_vae(model, model.posterior)
    wrong = information_within_batches(vae, x.split(50))
    right = ours(vae, x.split(1000), "RateDecomposition")["mutual_information"]
    show("the same, where the truth is below log 50", wrong, right.value, exact)
    bias = model.posterior.decompose(model.mean, model.covariance).split_bias(len(x))
    assert -0.5 < wrong - exact < -0.1
    assert abs(right.value - exact - bias) < 4 * right.standard_error < 0.15
