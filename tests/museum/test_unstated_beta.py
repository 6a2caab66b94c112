"""Fault: a mean over pixels beside a sum over latent units.

`mse_loss(x_hat, x) + kl.sum(1).mean()`, with PyTorch's default reduction, divides the distortion by D and not the rate:
what is called a VAE is a β-VAE of β = D (of βσ² = D/2 for the squared error, which leaves out its ½ too). A linear VAE
so trained keeps the units that the oracle forecasts for *that* β; a comparison of "β = 1" across image sizes compares
different objectives. Right: sums over pixels and units, and β on every row in three currencies.
"""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vaebench.config.registry import MODELS
from vaebench.models.linear_vae import LinearVAE
from vaebench.models.parts.posteriors import kl_from_standard_normal
from vaebench.oracle import beta_optimum
from vaebench.oracle.spectrum import Spectrum

D, L = 8, 4
SPECTRUM = Spectrum.given([8.0, 3.0, 1.8, 1.5, 0.1, 0.1, 0.1, 0.1])

Loss = Callable[[LinearVAE, Tensor, Tensor], Tensor]


def gaussian_nll_averaged_over_pixels(vae: LinearVAE, x: Tensor, e: Tensor) -> Tensor:
    q = vae.encode(x)
    x_hat = vae.decoder(q.mean + q.stddev * e)
    recon = F.gaussian_nll_loss(x_hat, x.expand_as(x_hat), vae.likelihood.sigma2().expand_as(x_hat), full=True)
    return recon + kl_from_standard_normal(q).sum(1).mean()


def squared_error_averaged_over_pixels(vae: LinearVAE, x: Tensor, e: Tensor) -> Tensor:
    q = vae.encode(x)
    x_hat = vae.decoder(q.mean + q.stddev * e)
    return F.mse_loss(x_hat, x.expand_as(x_hat)) + kl_from_standard_normal(q).sum(1).mean()


def summed(vae: LinearVAE, x: Tensor, e: Tensor) -> Tensor:
    """Ours, the mean over draws in closed form."""
    return -vae.objective(x, e[0].expand(len(x), -1)).mean()


DRAWS = L**0.5 * torch.cat([torch.eye(L), -torch.eye(L)]).double()[:, None]
"""2L antithetic draws `[2L, 1, L]`, whose mean is the expectation of any function that is quadratic in z."""


def untrained(variance: float) -> LinearVAE:
    likelihood = {"name": "Gaussian", "variance": variance}
    return MODELS.build({"name": "LinearVAE", "latent_dim": L, "likelihood": likelihood}, (D,), 0).double()


def trained(loss: Loss, variance: float) -> LinearVAE:
    """A linear VAE at the minimum of a loss, over observations of exactly the spectrum."""
    vae, x = untrained(variance), SPECTRUM.points
    optimizer = torch.optim.LBFGS(vae.parameters(), max_iter=50, history_size=40, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(vae, x, DRAWS)
        value.backward()
        return value

    optimizer.step(closure)
    return vae


@pytest.mark.parametrize(
    ("fault", "variance", "beta"),
    [(gaussian_nll_averaged_over_pixels, 0.25, 1.0 * D), (squared_error_averaged_over_pixels, 1.0, D / 2)],
)
def test_a_mean_over_pixels_collapses_units_that_pay(fault, variance, beta, ours, show):
    """Active units of what is called β = 1: fewer than its optimum has, exactly those of the optimum at the β that it
    is. Ours, trained on the objective as stated, keeps them all."""
    vaes = [trained(loss, variance) for loss in (fault, summed)]
    wrong, right = (ours(vae, [SPECTRUM.points], "ActiveUnits")["active_units"].value for vae in vaes)
    stated, effective = (beta_optimum(SPECTRUM, L, b, variance) for b in (1.0, beta))
    exact = len(stated.kept)
    name = fault.__name__.replace("_", " ")
    show(f"active units at 'β = 1', {name}", wrong, right, exact)
    assert wrong == len(effective.kept) < exact
    assert right == exact


def test_the_unstated_beta_is_d():
    """D times the average is our objective at β = D to rounding, at any parameters, and the record says βσ² = Dσ²."""
    vae, x = untrained(0.25), SPECTRUM.points
    wrong = D * gaussian_nll_averaged_over_pixels(vae, x, DRAWS)
    vae.beta.fill_(D)
    torch.testing.assert_close(wrong, summed(vae, x, DRAWS), rtol=1e-12, atol=0)
    assert vae.facts()["beta_effective"] == D * 0.25
