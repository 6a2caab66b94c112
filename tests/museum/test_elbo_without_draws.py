"""Fault: the reparameterisation switched off in evaluation, and the result called ELBO.

`z = mean + std * eps if self.training else mean` makes a good reconstruction. As E_q[log p(x|z)] it leaves out what the
spread of z costs, so that log p(x|E_q z) − KL is no bound: for a linear decoder it is too good by tr(WᵀW C)/2σ², which
is above the evidence. Right: draws, in evaluation as in training.
"""

import pytest

from vaebench.calibration.measurements import elbo_without_draws
from vaebench.oracle import maximum_likelihood
from vaebench.oracle.spectrum import Spectrum


def test_without_draws_the_elbo_exceeds_the_evidence(linear_vae, ours, show):
    """By half the sum of (λ − σ²)/λ over the units, here 1.9 nats; ours is the evidence, as at the optimum q(z|x) is
    exact and nothing is left of the draw."""
    spectrum = Spectrum.given([9.0, 5.0, 3.0, 2.0] + [0.1] * 6)
    point = maximum_likelihood(spectrum, 4)
    x, vae = spectrum.points, linear_vae(point.model, point.posterior)
    wrong = elbo_without_draws(vae, x).mean().item()
    right = ours(vae, x.split(7), "ELBO", 3)["elbo"].value
    show("ELBO with z = the posterior's mean", wrong, right, point.evidence)
    excess = float((1 - point.variance / spectrum.eigenvalues[:4]).sum()) / 2
    assert wrong - point.evidence == pytest.approx(excess, abs=1e-9)
    assert wrong > point.evidence + 1.9
    assert right == pytest.approx(point.evidence, abs=1e-9)
    assert right == pytest.approx(float(point.model.log_prob(x).mean()), abs=1e-9)
