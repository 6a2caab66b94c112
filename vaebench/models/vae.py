"""The variational autoencoder, trained on the evidence lower bound."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution, Normal

from vaebench.draws import Batch, Draws
from vaebench.models.base import Autoencoder
from vaebench.registry import MODELS, PRIORS, PriorSpec
from vaebench.seeding import generator as stream_generator
from vaebench.seeding import seeded

ROWS = 2048
"""Latents in one call of the decoder while weighing draws: enough for the matrix product, few enough for the cache."""


@MODELS.register
class VAE(Autoencoder):
    """Variational autoencoder (Kingma & Welling 2014): max E_q[log p(x|z)] − KL(q(z|x)‖p(z)), one draw, diagonal q.

    The KL is the closed form where the prior has one, else log q(z|x) − log p(z) at the draw.

    Args:
        prior: p(z).
    """

    stochastic = True
    statistics = 2
    beta: Tensor

    def __init__(
        self, shape: tuple[int, ...], seed: int = 0, *, prior: PriorSpec = "StandardNormal", **kwargs: Any
    ) -> None:
        super().__init__(shape, seed, **kwargs)
        with seeded(seed, "prior"):
            self.prior = PRIORS.build(prior, self.latent_dim, self.shape)
        self.factorised = self.prior.factorised
        self.register_buffer("beta", torch.ones(()))

    def noise(self, batch_size: int, generator: torch.Generator) -> Tensor:
        return torch.randn(batch_size, self.latent_dim, generator=generator, device=generator.device)

    def encode(self, x: Tensor) -> Normal:
        mean, log_variance = self.encoder(x).chunk(2, -1)
        return Normal(mean, (0.5 * log_variance).exp(), validate_args=False)

    def objective(self, x: Tensor, noise: Tensor) -> Float[Tensor, " B"]:
        posterior = self.encode(x)
        z = posterior.mean + posterior.stddev * noise
        rate = self.prior.rate(posterior, z, self.encode)
        return self.expected_log_likelihood(x, posterior, z) - self.rate_weight() * rate

    def expected_log_likelihood(self, x: Tensor, posterior: Normal, z: Tensor) -> Float[Tensor, " B"]:
        """E_q[log p(x|z)] estimated at one draw."""
        return self.likelihood.log_prob(self.parameters_at(z), x)

    def rate_weight(self) -> Float[Tensor, ""]:
        """What a nat of rate costs at this moment of the training."""
        return self.beta

    def prepare(self, x: Tensor) -> None:
        super().prepare(x)
        self.prior.prepare(x, stream_generator(self.seed, "pseudo-inputs"))

    @torch.no_grad()
    def draws(self, batch: Batch, k: int, generator: torch.Generator, keep: int = 1) -> Draws:
        x, posterior, prior = batch.x, self.encode(batch.x), self.prior(self.encode)
        step = max(1, ROWS // len(x), keep)
        chunks = [self._weigh(x, posterior, prior, min(step, k - done), generator) for done in range(0, k, step)]
        log_px, log_pz, log_qz = (torch.cat(table) for table in zip(*(tables for _, tables in chunks), strict=True))
        reconstruction = self.decode(posterior.mean).mean
        return Draws(x, batch.label, posterior, reconstruction, chunks[0][0][:keep], log_px, log_pz, log_qz)

    def _weigh(
        self, x: Tensor, posterior: Normal, prior: Distribution, k: int, generator: torch.Generator
    ) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """k draws `[k, B, L]` and log p(x|z), log p(z), log q(z|x), `[k, B]` each."""
        noise = torch.randn(k, *posterior.mean.shape, generator=generator, device=generator.device, dtype=x.dtype)
        z = posterior.mean + posterior.stddev * noise
        return z, (self.decode(z).log_prob(x), prior.log_prob(z), posterior.log_prob(z).sum(-1))

    def facts(self) -> dict[str, Any]:
        """The parameter counts, and β in its three currencies.

        β as written; β·L/D, which compares across sizes (Higgins et al. 2017); β·σ², which compares across the fixed
        noise of Gaussian decoders (Lucas et al. 2019).
        """
        facts, beta = super().facts(), float(self.beta)
        currencies = {"beta": beta, "beta_normalised": beta * self.latent_dim / facts["dimensions"]}
        if self.likelihood.fixed_variance is not None:
            currencies["beta_effective"] = beta * self.likelihood.fixed_variance
        return facts | currencies
