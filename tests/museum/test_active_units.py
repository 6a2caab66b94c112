"""Faults: another count under the name of active units.

Burda et al. (2016) call a unit active if Var_x(E_q[z_i|x]) > 0.01. Public code compares the *standard deviation* with
0.05, so that a variance of 0.0025 is enough; or returns the length of the mask in place of its sum, which is L whatever
has collapsed. Right: the variance, over the whole split, and its sorted spectrum recorded beside the count.
"""

import pytest
import torch
from torch import Tensor

from vaebench.oracle import beta_optimum, forecast
from vaebench.oracle.spectrum import Spectrum


def active_units_by_standard_deviation(means: Tensor) -> int:
    return int((means.std(0) >= 0.05).sum())


def active_units_by_the_length_of_the_mask(means: Tensor) -> int:
    mask = means.var(0) > 0.01
    return len(mask)


@pytest.mark.parametrize(
    ("fault", "count"), [(active_units_by_standard_deviation, 5), (active_units_by_the_length_of_the_mask, 8)]
)
def test_a_count_of_something_else(fault, count, linear_vae, ours, show):
    """At the optimum the variance of a kept unit's mean is 1 − σ²/λ, here 0.9, 0.5, 0.02, 0.006, 0.004 and 0.001, and 0
    for two columns left over: three are above 0.01, five above 0.05²."""
    variances = torch.tensor([0.9, 0.5, 0.02, 0.006, 0.004, 0.001], dtype=torch.float64)
    sigma2 = 0.5
    spectrum = Spectrum.given([*(sigma2 / (1 - variances)).tolist(), 0.3, 0.3, 0.1, 0.1])
    point = beta_optimum(spectrum, 8, 1.0, sigma2)
    torch.testing.assert_close(point.variance_of_mean()[:6], variances)
    exact = forecast(spectrum, 8, sigma2).active_units
    vae, x = linear_vae(point.model, point.posterior), spectrum.points
    wrong = fault(vae.encode(x).mean)
    right = ours(vae, x.split(7), "ActiveUnits")["active_units"].value
    show(fault.__name__.replace("_", " "), wrong, right, exact)
    assert wrong == count
    assert right == exact == 3
