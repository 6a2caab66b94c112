"""The augmented normalizing flow: an invertible map of an observation together with noise."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution, Normal

from vaebench.config.registry import MODELS, NETWORKS, LikelihoodSpec, NetworkSpec, PositiveInt
from vaebench.config.seeding import seeded
from vaebench.data.loaders import Batch
from vaebench.models.draws import Draws
from vaebench.models.parts.likelihoods import Gaussian
from vaebench.models.parts.posteriors import Form
from vaebench.models.vae import VAE


@MODELS.register
class AugmentedFlow(VAE):
    """Augmented normalizing flow (Huang et al. 2020): max E_e[log p(x, e) − log q(e)] ≤ log p(x), e ~ N(0, I).

    Couplings map (x, e) to (y, z), and log p(x, e) = log N((y, z); 0, I) + log|det|. With z₀ = e, each of the steps has
    z ← μ(x) + σ(x)·z, then x ← x − f(z); the last one divides by the standard deviation of the likelihood too. One step
    is the VAE with this Gaussian likelihood: the same number for each e. With more steps no p(x|z) and no q(z|x) have a
    density, so that only bounds, codes and reconstructions are measured. The code is z at e = 0. The decoder is the
    inverse map at y = 0.

    https://arxiv.org/abs/2002.07101

    Args:
        steps: the number of couplings of each kind.
        network: the architecture of μ, σ (the encoder) and f (the decoder) of each step.
        likelihood: a Gaussian one; its variance scales y.

    Raises:
        ValueError: if the likelihood is not a Gaussian.
    """

    fixed = ("prior", "posterior")

    def __init__(
        self,
        shape: tuple[int, ...],
        seed: int = 0,
        *,
        steps: PositiveInt = 2,
        network: NetworkSpec = "MLP",
        likelihood: LikelihoodSpec = "LearnedGaussian",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            shape, seed, prior="StandardNormal", posterior="Diagonal", network=network, likelihood=likelihood, **kwargs
        )
        if not isinstance(self.likelihood, Gaussian):
            raise ValueError(
                f"AugmentedFlow expects a Gaussian likelihood, got {type(self.likelihood).__name__}; "
                "set model.likelihood: Gaussian | LearnedGaussian | OptimalGaussian"
            )
        self.form = Form.DIAGONAL if steps == 1 else Form.NONE
        with seeded(seed, "couplings"):
            architecture = NETWORKS.build(network)
            self.encoders = nn.ModuleList(
                architecture.encoder(self.shape, 2 * self.latent_dim) for _ in range(steps - 1)
            )
            self.decoders = nn.ModuleList(architecture.decoder(self.latent_dim, self.shape) for _ in range(steps - 1))

    def encode(self, x: Tensor) -> Distribution:
        """q(z|x) of one step; with more, the code z at e = 0 as a point mass."""
        first = super().encode(x)
        if not len(self.encoders):
            return first
        code = self.couple(x, first, torch.zeros_like(first.mean))[1]
        return Normal(code, torch.zeros_like(code), validate_args=False)

    def couple(
        self, x: Float[Tensor, "B *event"], first: Distribution, e: Float[Tensor, "*S B L"]
    ) -> tuple[Tensor, Float[Tensor, "*S B L"], Tensor]:
        """All couplings but the last one of x.

        Returns:
            x after its couplings, z, and the sum of log σ over steps and units.
        """
        z, log_scale = first.mean + first.stddev * e, first.stddev.log().sum(-1)
        for encoder, decoder in zip(self.encoders, self.decoders, strict=True):
            x = x - decoder(z.flatten(0, -2)).unflatten(0, z.shape[:-1])
            mean, log_variance = encoder(x.flatten(0, z.ndim - 2)).unflatten(0, z.shape[:-1]).chunk(2, -1)
            z, log_scale = mean + (0.5 * log_variance).exp() * z, log_scale + 0.5 * log_variance.sum(-1)
        return x, z, log_scale

    def parameters_at(self, z: Float[Tensor, "*batch L"]) -> Float[Tensor, "*batch_event"]:
        """The observation whose couplings end at y = 0 and this z."""
        return self.invert(super().parameters_at(z), z)

    @torch.no_grad()
    def sample(self, count: int, seed: int = 0, mean: bool = False) -> Float[Tensor, "N *event"]:
        """Samples of p(x): the inverse map at (y, z) ~ N(0, I); with `mean`, at y = 0."""
        if mean:
            return super().sample(count, seed, mean)
        with seeded(seed, "samples"):
            z = self.prior_distribution().sample(torch.Size([count]))
            return self.invert(self.likelihood(super().parameters_at(z)).sample(), z)

    def invert(self, x: Float[Tensor, "*batch_event"], z: Float[Tensor, "*batch L"]) -> Float[Tensor, "*batch_event"]:
        """The observation from x after its couplings but the last one, and z."""
        for encoder, decoder in zip(reversed(self.encoders), reversed(self.decoders), strict=True):
            mean, log_variance = encoder(x.flatten(0, z.ndim - 2)).unflatten(0, z.shape[:-1]).chunk(2, -1)
            z = (z - mean) * (-0.5 * log_variance).exp()
            x = x + decoder(z.flatten(0, -2)).unflatten(0, z.shape[:-1])
        return x

    def terms(self, x: Tensor, first: Distribution, e: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """z, then log N(y; 0, I) with the volume of x, log N(z; 0, I), and log q(e) without the volume of z."""
        last, z, log_scale = self.couple(x, first, e)
        log_py = self.likelihood.log_prob(super().parameters_at(z), last)
        log_qe = -0.5 * (e.square().sum(-1) + e.shape[-1] * math.log(2 * math.pi))
        return z, log_py, self.prior(self.encode).log_prob(z), log_qe - log_scale

    def objective(self, x: Tensor, noise: Tensor) -> Float[Tensor, " B"]:
        _, log_py, log_pz, log_qe = self.terms(x, super().encode(x), noise)
        return log_py + log_pz - log_qe

    def expected_error(self, x: Tensor, generator: torch.Generator) -> Tensor:
        e = torch.randn(len(x), self.latent_dim, generator=generator, device=self.device, dtype=x.dtype)
        last, z, _ = self.couple(x, super().encode(x), e)
        return (last - super().parameters_at(z)).square()

    def draws_at(
        self, batch: Batch, noise: Iterable[Tensor], keep: int = 1, out: Tensor | None = None, quick: bool = True
    ) -> Draws:
        first, posterior, parts = super().encode(batch.x), self.encode(batch.x), []
        kept: list[Tensor] = []
        for e in noise:
            z, *densities = self.terms(batch.x, first, e)
            kept += [z] if sum(map(len, kept)) < keep else []
            parts.append(torch.stack(densities))
        whole = torch.cat(parts, 1)
        reconstruction = self.decode(posterior.mean).mean
        return Draws(batch.x, batch.label, posterior, reconstruction, torch.cat(kept)[:keep], *whole)
