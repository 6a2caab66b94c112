"""Fault: a Gaussian likelihood without its constant.

log N(x; μ, σ²I) is −½‖x − μ‖²/σ² − D/2·log 2πσ². Public code leaves the second term out, counts it once in place of D
times, or leaves out 2π only (the default of `gaussian_nll_loss`). With fixed σ² the gradient is the same; the number is
no bound on log p(x) any more, and does not compare across σ², D or likelihoods. Right: normalised, always.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vaebench.config.seeding import generator
from vaebench.data.loaders import Batch
from vaebench.oracle import StationaryPoint, beta_optimum, maximum_likelihood
from vaebench.oracle.spectrum import Spectrum

D = 10
SPECTRUM = Spectrum.given([4.0, 2.0, 1.0] + [0.05] * (D - 3))


def without_the_constant(x: Tensor, x_hat: Tensor, variance: float) -> Tensor:
    return -0.5 * ((x - x_hat) ** 2 / variance).sum(-1)


def constant_counted_once(x: Tensor, x_hat: Tensor, variance: float) -> Tensor:
    return -0.5 * ((x - x_hat) ** 2).sum(-1) / variance - 0.5 * math.log(2 * math.pi * variance)


def without_2_pi(x: Tensor, x_hat: Tensor, variance: float) -> Tensor:
    """PyTorch's default; `full=True` would have it."""
    return -F.gaussian_nll_loss(x_hat, x, torch.full_like(x_hat, variance), reduction="none").sum(-1)


def elbo(log_likelihood, vae, point: StationaryPoint) -> float:
    """Mean over 20 draws of log p(x|z) − log q(z|x) + log p(z), with a log-likelihood of one's own."""
    x = SPECTRUM.points
    drawn = vae.draws(Batch(x), 20, generator(0, "museum"), keep=20)
    x_hat = vae.decoder(drawn.z.flatten(0, 1)).view(20, *x.shape)
    log_px = log_likelihood(x.expand_as(x_hat), x_hat, point.variance)
    return float((log_px + drawn.log_pz - drawn.log_qz).mean())


@pytest.mark.parametrize(
    ("fault", "shift"),
    [
        (without_the_constant, lambda s: D / 2 * math.log(2 * math.pi * s)),
        (constant_counted_once, lambda s: (D - 1) / 2 * math.log(2 * math.pi * s)),
        (without_2_pi, lambda s: D / 2 * math.log(2 * math.pi)),
    ],
)
def test_the_bound_is_shifted(fault, shift, linear_vae, ours, show):
    """At maximum likelihood every log-weight is the evidence, so the shift is all that is left, to rounding. Here
    σ² = 0.05 is below 1/2π: two of the three are too bad, the third too good by 0.92 nats a pixel."""
    point = maximum_likelihood(SPECTRUM, 3)
    vae = linear_vae(point.model, point.posterior)
    wrong = elbo(fault, vae, point)
    right = ours(vae, [SPECTRUM.points], "ELBO", 20)["elbo"].value
    show(f"ELBO, Gaussian {fault.__name__.replace('_', ' ')}", wrong, right, point.evidence)
    assert wrong - point.evidence == pytest.approx(shift(point.variance), abs=1e-9)
    assert abs(wrong - point.evidence) > 5
    assert right == pytest.approx(point.evidence, abs=1e-9)


@pytest.mark.parametrize("fault", [without_the_constant, constant_counted_once])
def test_the_order_of_models_is_turned_round(fault, linear_vae, ours):
    """σ² = 1 is worse than the maximum likelihood's 0.05 by 9 nats, and looks better."""
    best, worse = maximum_likelihood(SPECTRUM, 3), beta_optimum(SPECTRUM, 3, 1.0, 1.0)
    assert best.evidence > worse.evidence + 5
    vaes = [linear_vae(point.model, point.posterior) for point in (best, worse)]
    wrong = [elbo(fault, vae, point) for vae, point in zip(vaes, (best, worse), strict=True)]
    right = [ours(vae, [SPECTRUM.points], "ELBO", 20)["elbo"].value for vae in vaes]
    assert wrong[0] < wrong[1]
    assert right[0] > right[1]
