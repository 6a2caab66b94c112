"""The variational autoencoder, trained on the evidence lower bound."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from math import nan
from typing import Annotated, Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution, Normal

from vaebench.config.registry import MODELS, POSTERIORS, PRIORS, Later, PosteriorSpec, PriorSpec
from vaebench.config.seeding import generator as stream_generator
from vaebench.config.seeding import seeded
from vaebench.data.loaders import Batch
from vaebench.models.base import Autoencoder
from vaebench.models.draws import ChunkSize, Draws
from vaebench.models.parts.networks import Decoder
from vaebench.models.parts.posteriors import log_density_of_draw, reparameterise
from vaebench.models.parts.priors import UnitNormal
from vaebench.records.description import Description, Panel

NOISE_AT_ONCE = ChunkSize(2**11, 2**18)
"""How many latent vectors, draws × observations, get noise in one call. It decides the order of random numbers."""

DECODED_AT_ONCE = ChunkSize(2**19, 2**26)
"""How many numbers the widest layer of the decoder computes in one call. For a narrow net the parts of the noise are
joined, up to as many numbers, because every call costs some microseconds. No random number depends on it.
"""


@MODELS.register
class VAE(Autoencoder):
    """Variational autoencoder (Kingma & Welling 2014): max E_q[log p(x|z)] − KL(q(z|x)‖p(z)), one draw.

    The KL has a closed form for some priors and posteriors. For others it is estimated by log q(z|x) − log p(z) at the
    draw.

    Args:
        prior: p(z).
        posterior: the family of q(z|x).
    """

    stochastic = True
    outputs_per_unit = 2  # a mean and a log-variance
    beta: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        seed: int = 0,
        *,
        prior: PriorSpec = "StandardNormal",
        posterior: Annotated[PosteriorSpec, Later()] = "Diagonal",  # Later(): ids do not contain its default
        **kwargs: Any,
    ) -> None:
        family = POSTERIORS.build(posterior)
        super().__init__(shape, seed, family.context_size, **kwargs)
        self.form = family.form  # what is known about q(z|x); metrics ask for it
        with seeded(seed, "posterior"):
            self.posterior = family.head(self.latent_dim)
        with seeded(seed, "prior"):
            self.prior = PRIORS.build(prior, self.latent_dim, self.shape)
        self.standard_normal_prior = self.prior.standard_normal
        self.register_buffer("beta", torch.ones(()))

    def noise(self, batch_size: int, generator: torch.Generator) -> Tensor:
        return torch.randn(batch_size, self.latent_dim, generator=generator, device=generator.device)

    def encode(self, x: Tensor) -> Distribution:
        posterior = self.posterior(self.encoder(x))
        assert isinstance(posterior, Distribution)
        return posterior

    def objective(self, x: Tensor, noise: Tensor) -> Float[Tensor, " B"]:
        posterior = self.encode(x)
        z = reparameterise(posterior, noise)
        rate = self.prior.rate(posterior, z, self.encode)  # the KL, or its estimate at z
        return self.expected_log_likelihood(x, posterior, z) - self.rate_weight() * rate

    def expected_log_likelihood(self, x: Tensor, posterior: Distribution, z: Tensor) -> Float[Tensor, " B"]:
        """E_q[log p(x|z)], estimated from one draw."""
        return self.likelihood.log_prob(self.parameters_at(z), x)

    def rate_weight(self) -> Float[Tensor, ""]:
        """The price of the rate in the objective at this point of training: β, here without a schedule."""
        return self.beta

    def prepare(self, x: Tensor) -> None:
        super().prepare(x)
        self.prior.prepare(x, stream_generator(self.seed, "pseudo-inputs"))

    def draw_noise(self, x: Tensor, k: int, generator: torch.Generator, keep: int = 1) -> Iterator[Tensor]:
        step = max(1, NOISE_AT_ONCE.on(x) // len(x), keep)
        for done in range(0, k, step):
            shape = (min(step, k - done), len(x), self.latent_dim)
            yield torch.randn(shape, generator=generator, device=generator.device, dtype=x.dtype)

    def draws_at(
        self, batch: Batch, noise: Iterable[Tensor], keep: int = 1, out: Tensor | None = None, quick: bool = True
    ) -> Draws:
        x, posterior, prior = batch.x, self.encode(batch.x), self.prior(self.encode)  # a VampPrior needs `encode`
        log_px = self.log_likelihood(x, quick)
        drawn, kept, parts = 0, [], []
        if quick and isinstance(posterior, Normal) and isinstance(prior, UnitNormal):
            # Fewer calls of torch. Not for a flow or a mixture, which computes hidden layers or components for each z:
            # parts of this size would take too much memory.
            noise = in_larger_parts(noise, DECODED_AT_ONCE.on(x) // (self.latent_dim * len(x)))
        for some in noise:
            z = reparameterise(posterior, some)
            log_densities = log_px(z), prior.log_prob(z), log_density_of_draw(posterior, z, some)
            if out is None:
                parts.append(log_densities)
            else:  # small tensors between large temporary ones would fragment the memory
                torch.stack(log_densities, out=out[:, drawn : drawn + len(z)])
            if drawn < keep:
                kept.append(z[: keep - drawn])
            drawn += len(z)
        of_all = map(torch.cat, zip(*parts, strict=True)) if out is None else out
        reconstruction = self.decode(posterior.mean).mean if self.why_no_code is None else torch.full_like(x, nan)
        return Draws(x, batch.label, posterior, reconstruction, torch.cat(kept), *of_all)

    def log_likelihood(
        self, x: Float[Tensor, "B *event"], quick: bool = False
    ) -> Callable[[Float[Tensor, "*draws B L"]], Tensor]:
        """log p(x|z) as a function of z: from `[*draws, B, L]` to `[*draws, B]`, with any number of leading
        dimensions. Entry b belongs to observation b.

        The decoder is called for limited numbers of z at a time, so that memory does not grow with their number.

        Args:
            x: the observations.
            quick: use the likelihood's `fast_log_prob`. It has no gradient. So it is not the default here, where
                samplers ask for a gradient, but it is the default of `draws_at`. A pack (many models trained as one
                program) cannot use it: it branches on the values of tensors, which `torch.vmap` forbids. Otherwise
                use the distribution, `decode(z).log_prob(x)`. Both agree to rounding.
        """
        widest = max(x[0].numel(), self.decoder.widest if isinstance(self.decoder, Decoder) else 1)
        most = max(1, DECODED_AT_ONCE.on(x) // (widest * len(x)))  # draws at a time
        score = (
            self.likelihood.fast_log_prob(x) if quick else lambda parameters: self.likelihood(parameters).log_prob(x)
        )

        # The quick way overwrites parameters. Those of an unknown decoder may be z itself, or a part of its table.
        may_overwrite = not quick or (isinstance(self.decoder, Decoder) and self.decoder.returns_new_tensors)

        def parameters_at(z: Tensor) -> Any:
            found: Any = self.parameters_at(z)
            return found if may_overwrite or not isinstance(found, Tensor) else found.clone()

        def log_px(z: Tensor) -> Tensor:
            flat = z.reshape(-1, *z.shape[-2:])
            parts = [score(parameters_at(part)) for part in flat.tensor_split(-(-len(flat) // most))]
            return (parts[0] if len(parts) == 1 else torch.cat(parts)).view(z.shape[:-1])

        return log_px

    @property
    def fact_descriptions(self) -> Mapping[str, Description]:
        return {
            **super().fact_descriptions,
            "beta": Description("β", Panel.OBJECTIVE, 10, meaning="The price of a nat of rate in the objective."),
            "beta_normalised": Description(
                "βL/D",
                Panel.OBJECTIVE,
                20,
                meaning="β·L/D for L latent units and D pixels, the normalisation of Higgins et al. (2017).",
            ),
            "beta_effective": Description(
                "βσ²",
                Panel.OBJECTIVE,
                30,
                meaning="β times σ²: the β with the same optimum at σ² = 1. With the data's spectrum it decides which "
                "units stay active.",
            ),
        }

    def facts(self) -> dict[str, Any]:
        """The parameter counts, and β in three units.

        β as written; β·L/D for L latent units and D pixels, which is comparable between models of different sizes
        (Higgins et al. 2017); β·σ², which is comparable between Gaussian decoders of different fixed variance (Lucas et
        al. 2019).
        """
        facts, beta = super().facts(), float(self.beta)
        betas = {"beta": beta, "beta_normalised": beta * self.latent_dim / facts["dimensions"]}
        if self.likelihood.fixed_variance is not None:
            betas["beta_effective"] = beta * self.likelihood.fixed_variance
        return facts | betas

    def facts_not_applicable(self) -> dict[str, str]:
        reasons = super().facts_not_applicable()
        if self.likelihood.fixed_variance is None:
            learned = f"{type(self.likelihood).__name__} learns σ², so βσ² has no fixed value"
            reasons["beta_effective"] = reasons.get("variance", learned)
        return reasons


def in_larger_parts(noise: Iterable[Float[Tensor, "_ B *any"]], most: int) -> Iterator[Float[Tensor, "_ B *any"]]:
    """The same noise in larger parts: of at most this many draws, or as they came.

    >>> parts = [torch.zeros(draws, 1) for draws in (2, 2, 2, 9, 1)]
    >>> [len(part) for part in in_larger_parts(parts, 5)]
    [4, 2, 9, 1]
    """
    held: list[Tensor] = []
    for some in noise:
        if held and sum(map(len, held)) + len(some) > most:
            yield held[0] if len(held) == 1 else torch.cat(held)
            held = []
        held.append(some)
    if held:
        yield held[0] if len(held) == 1 else torch.cat(held)
