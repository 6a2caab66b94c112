"""Faults in print: numbers computed as public code computes them, and wrong on purpose.

They say what a published number measured. Nothing else uses them; `tests/museum` shows each beside the right number.
"""

import math
from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Normal

from vaebench.config.seeding import generator
from vaebench.models.parts.posteriors import kl_from_standard_normal
from vaebench.models.vae import VAE

BATCH = 50
"""The observations of a batch, as in public code; log 50 = 3.91."""


@torch.no_grad()
def elbo_without_draws(vae: VAE, x: Float[Tensor, "B *event"]) -> Float[Tensor, " B"]:
    """log p(x|z) − KL(q(z|x)‖p(z)) at z = the posterior's mean: no bound, since the spread of z costs nothing.

    pytorch/examples returned the mean in evaluation until 2018, and many copies still do.
    """
    posterior = _diagonal(vae, x)
    return vae.decode(posterior.mean).log_prob(x) - kl_from_standard_normal(posterior).sum(-1)


@torch.no_grad()
def information_within_batches(vae: VAE, batches: Iterable[Float[Tensor, "B *event"]], seed: int = 0) -> float:
    """Mean over batches of E_x E_q[log q(z|x)] − E[log q(z)], q(z) being the mixture of that batch: at most log B."""
    values, stream = [], generator(seed, "museum")
    for x in batches:
        q = _diagonal(vae, x)
        z = q.mean + q.stddev * torch.randn(q.mean.shape, generator=stream, dtype=x.dtype).to(x.device)
        density = Normal(q.mean[None], q.stddev[None]).log_prob(z[:, None]).sum(-1)
        log_qz = torch.logsumexp(density, dim=1) - math.log(len(x))
        values.append(float(density.diagonal().mean() - log_qz.mean()))
    return sum(values) / len(values)


def _diagonal(vae: VAE, x: Tensor) -> Normal:
    """q(z|x), which public code of these faults takes for a diagonal Gaussian."""
    posterior = vae.encode(x)
    if not isinstance(posterior, Normal):
        raise ValueError(f"expected the posterior Diagonal, got {type(posterior).__name__}; set model.posterior")
    return posterior
