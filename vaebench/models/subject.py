"""Models that are made elsewhere: an encoder, a decoder, a likelihood and a prior become a model of this package.

So they are measured by the same metrics and estimators, and are used by the same methods, as every other model.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, LowRankMultivariateNormal, MultivariateNormal, Normal

from vaebench.config.registry import LIKELIHOODS, PRIORS, Spec
from vaebench.data.loaders import Batch
from vaebench.models.ae import AE
from vaebench.models.base import Autoencoder
from vaebench.models.parts.given import (
    GivenLikelihood,
    GivenPosterior,
    GivenPrior,
    Unflattened,
    has_in_support,
    is_discrete,
)
from vaebench.models.parts.likelihoods import Likelihood
from vaebench.models.parts.posteriors import CorrelatedNormal, DiagonalHead, Form, components, reparameterise
from vaebench.models.parts.priors import Prior
from vaebench.models.vae import VAE

Module = Callable[[Tensor], Any]  # a module, or any function of a batch

Given = Spec | Likelihood | Callable[[Tensor], Distribution] | None
"""A likelihood: by its name here, as an object, or as a function of the decoder's output; None if the decoder itself
returns a distribution."""


class _OfParts(Autoencoder):
    """A model whose encoder and decoder come from elsewhere, and so without the constructor of `Autoencoder`."""

    def _begin(self, encoder: Module, decoder: Module, x: Any) -> Tensor:
        """What the constructor of `Autoencoder` does, with parts that exist already; returns the first observation."""
        super(Autoencoder, self).__init__()
        if not isinstance(x, Tensor) or x.ndim < 2 or not len(x):
            got = f"shape {[*x.shape]}" if isinstance(x, Tensor) else type(x).__name__
            raise ValueError(f"expected some observations [B, …] as the third argument, got {got}")
        self.shape, self.seed, self.learning_rate = tuple(x.shape[1:]), 0, 1e-3
        self.encoder, self.decoder = encoder, decoder  # type: ignore[assignment]
        self.register_buffer("progress", torch.ones(()))
        self.optimizer, self.generator, self._noise_state = torch.optim.Adam, None, None
        numbers = (p for part in (encoder, decoder) if isinstance(part, nn.Module) for p in part.parameters())
        kind = next((p for p in numbers if p.is_floating_point()), x)
        self.to(kind.device, kind.dtype if kind.is_floating_point() else torch.float32).eval()
        first, _ = Autoencoder.as_batch(self, x[:1])
        return first.to(self.device)

    def as_batch(self, given: Any) -> Batch:
        batch = super().as_batch(given)
        if not bool(batch.x.isfinite().all()):
            raise ValueError("expected finite observations, got NaN or infinity; remove or replace these values")
        self.likelihood.check(batch.x)
        return batch

    def parameters_at(self, z: Tensor) -> Any:
        flat = z.reshape(-1, z.shape[-1])
        if isinstance(self.likelihood, GivenLikelihood):
            p = self.likelihood.decoder(flat)
            return Unflattened(Independent(p, len(p.batch_shape) - 1, validate_args=False), z.shape[:-1])
        output = _tensor(self.decoder(flat), "reconstruction")
        found, shape = output.shape[1:], self.shape
        is_flat = found == (math.prod(shape),)
        if not is_flat and [n for n in found if n != 1] != [n for n in shape if n != 1]:
            raise ValueError(
                f"expected parameters of shape {[*shape]} for each latent from the decoder, got {[*found]}; if it has "
                "the parameters of several numbers, give likelihood= a function of them that returns a distribution"
            )
        return output.reshape(*z.shape[:-1], *shape)

    def _likelihood(self, given: Given, z: Tensor) -> Likelihood:
        if isinstance(given, Likelihood):
            return given
        if isinstance(given, str | Mapping):
            return LIKELIHOODS.build(given, self.shape)
        raw = self.decoder
        decoder: Module = raw if given is None else lambda z: given(_unwrapped(raw(z), "reconstruction"))
        p = _decoded(decoder, z)
        if not isinstance(p, Distribution):
            raise ValueError(
                f"expected p(x|z) as a distribution, got {_described(p)}; give likelihood=, e.g. 'Bernoulli' "
                "(of logits) or {'name': 'Gaussian', 'variance': 1.0}"
            )
        if (p.batch_shape + p.event_shape)[1:] != self.shape:
            got = [*(p.batch_shape + p.event_shape)[1:]]
            raise ValueError(f"expected p(x|z) over observations of shape {[*self.shape]}, got {got}")
        return GivenLikelihood(self.shape, decoder, is_discrete(p))

    def _check_decoder(self, z: Tensor, x: Tensor) -> None:
        """Refuse a decoder that does not take the encoder's latents, or whose p(x|z) is not over one observation."""
        with torch.no_grad():
            p = _decoded(self.decode, z)
            if p.batch_shape != z.shape[:1] or p.event_shape != self.shape:
                got = f"batch {[*p.batch_shape]} and event {[*p.event_shape]}"
                raise ValueError(f"expected p(x|z) of batch [B] and event {[*self.shape]}, got {got} for B = 1")
            self.likelihood.check(x)
            if isinstance(self.likelihood, GivenLikelihood) and not has_in_support(p, x):
                low, high = float(x.min()), float(x.max())
                raise ValueError(
                    f"expected observations that p(x|z) allows, got numbers from {low:.3g} to {high:.3g}; give others, "
                    "or another likelihood"
                )


class Subject(_OfParts, VAE):
    """A variational autoencoder whose parts come from elsewhere.

    Args:
        encoder: of a batch `[B, *event]`. It returns q(z|x) over `[B, L]` as a distribution, or the mean and the
            log-variance as a pair, as one tensor `[B, 2L]`, or under `embedding` and `log_covariance`. A distribution
            that is not normal needs `log_prob`, and `rsample` or `sample`. Every KL is then a mean over draws. If its
            mean has no closed form, what needs a mean is left blank, with this reason.
        decoder: of latents `[B, L]`. It returns p(x|z), or what the likelihood takes.
        x: some observations. They give the shapes of x and z. Encoder and decoder are put into evaluation mode.
        likelihood: p(x|z), from the output of the decoder.
        prior: p(z): by its name here, as an object, as a distribution, or as a function that returns one.
        beta: the weight of the rate in training; only the forecast of active units reads it.

    Raises:
        ValueError: if a part returns something else.
    """

    def __init__(
        self,
        encoder: Module,
        decoder: Module,
        x: Float[Tensor, "B *event"],
        *,
        likelihood: Given = None,
        prior: Spec | Prior | Distribution | Callable[[], Distribution] = "StandardNormal",
        beta: float = 1.0,
    ) -> None:
        first = self._begin(encoder, decoder, x)
        with torch.no_grad():
            posterior = self.encode(first)
            if posterior.batch_shape[0] != 1:
                got = posterior.batch_shape[0]
                raise ValueError(f"expected one q(z|x) for each observation from the encoder, got {got} for B = 1")
            if isinstance(posterior, GivenPosterior):
                self.form, self.why_no_code = Form.OTHER, posterior.why_no_mean
            else:
                self.form = Form.DIAGONAL if isinstance(posterior, Normal) else Form.GAUSSIAN
            self.latent_dim = components(posterior).event_shape[-1]
            z = reparameterise(posterior, first.new_zeros(1, self.latent_dim))
            self.posterior = DiagonalHead(self.latent_dim)
            self.likelihood = self._likelihood(likelihood, z)
            self.prior = _prior(prior, self.latent_dim, self.shape).to(first)
            event = self.prior(self.encode).event_shape
        if event != (self.latent_dim,):
            raise ValueError(f"expected a prior over {self.latent_dim} units, as the encoder has, got {[*event]}")
        self._check_decoder(z, first)
        self.standard_normal_prior = self.prior.standard_normal
        self.register_buffer("beta", torch.tensor(float(beta)))

    def encode(self, x: Tensor) -> Distribution:
        return posterior_of(self.encoder(x))


class DeterministicSubject(_OfParts, AE):
    """An autoencoder without a prior whose parts come from elsewhere. Its encoder returns codes `[B, L]`.

    Args:
        encoder: of a batch `[B, *event]`; it may return the codes under `embedding`.
        decoder: as for `Subject`.
        x: some observations.
        likelihood: as for `Subject`.
    """

    def __init__(
        self, encoder: Module, decoder: Module, x: Float[Tensor, "B *event"], *, likelihood: Given = None
    ) -> None:
        first = self._begin(encoder, decoder, x)
        with torch.no_grad():
            code = self.encode(first).mean
            if code.ndim != 2:
                raise ValueError(f"expected codes [B, L] from the encoder, got shape {[*code.shape]}; flatten them")
            self.latent_dim = code.shape[-1]
            self.likelihood = self._likelihood(likelihood, code)
        self._check_decoder(code, first)

    def encode(self, x: Tensor) -> Normal:
        code = _tensor(self.encoder(x), "embedding")
        return Normal(code, torch.zeros_like(code), validate_args=False)

    def objective(self, x: Tensor, noise: Tensor) -> Float[Tensor, " B"]:
        log_px: Tensor = self.decode(self.encode(x).mean).log_prob(x)
        return log_px


def posterior_of(output: Any) -> Distribution:
    """q(z|x) from what an encoder returned.

    >>> posterior_of((torch.zeros(1, 2), torch.zeros(1, 2))).stddev
    tensor([[1., 1.]])

    Raises:
        ValueError: if it is nothing that `Subject` describes.
    """
    if isinstance(output, Independent) and isinstance(output.base_dist, Normal):
        output = output.base_dist
    if isinstance(output, Normal) and len(output.batch_shape) == 2:
        return output
    if isinstance(output, MultivariateNormal | LowRankMultivariateNormal) and len(output.batch_shape) == 1:
        return CorrelatedNormal(output.loc, scale_tril=output.scale_tril, validate_args=False)
    if isinstance(output, Distribution):
        return GivenPosterior(output)
    if isinstance(output, Mapping):
        output = [output[key] for key in ("embedding", "log_covariance") if key in output]
    if isinstance(output, Tensor) and output.ndim == 2 and output.shape[1] % 2 == 0:
        output = output.chunk(2, -1)
    if isinstance(output, tuple | list) and len(output) == 2 and all(isinstance(each, Tensor) for each in output):
        mean, log_variance = output
        if mean.ndim == 2 and mean.shape == log_variance.shape:
            return Normal(mean, (0.5 * log_variance).exp(), validate_args=False)
    raise ValueError(
        f"expected q(z|x) from the encoder: a distribution over [B, L], or (mean, log-variance) of shape [B, L] each, "
        f"got {_described(output)}; for codes without a variance use DeterministicSubject"
    )


def _prior(given: Any, latent_dim: int, shape: tuple[int, ...]) -> Prior:
    if isinstance(given, Prior):
        return given
    if isinstance(given, str | Mapping):
        return PRIORS.build(given, latent_dim, shape)
    if not callable(given) and not isinstance(given, Distribution):
        raise ValueError(f"expected a prior, got {given!r}; without one, use DeterministicSubject")
    prior = GivenPrior(latent_dim, shape, given)
    if is_discrete(prior.forward(lambda x: Normal(x, x))):
        raise ValueError("expected a density as the prior, as q(z|x) is one, got a distribution of whole numbers")
    return prior


def _decoded(decoder: Module, z: Tensor) -> Any:
    """What a decoder returns.

    Raises:
        ValueError: if it does not take these latents.
    """
    try:
        return decoder(z)
    except (RuntimeError, TypeError, IndexError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"the decoder fails on latents of shape {[*z.shape]}: {reason}") from error


def _unwrapped(output: Any, key: str) -> Any:
    """What a module returned, perhaps under a key."""
    return output[key] if isinstance(output, Mapping) and key in output else output


def _tensor(output: Any, key: str) -> Tensor:
    """The tensor that a module returned, perhaps under a key."""
    found = _unwrapped(output, key)
    if not isinstance(found, Tensor):
        part, remedy = ("encoder", "") if key == "embedding" else ("decoder", "; give likelihood= a function of it")
        raise ValueError(f"expected a tensor from the {part}, got {_described(found)}{remedy}")
    return found


def _described(output: Any) -> str:
    """What a module returned, for messages."""
    if isinstance(output, Tensor):
        return f"a tensor of shape {[*output.shape]}"
    if isinstance(output, tuple | list):
        return f"a {type(output).__name__} of {len(output)}: {', '.join(map(_described, output))}"
    return f"a mapping of {', '.join(map(str, output))}" if isinstance(output, Mapping) else type(output).__name__


def frozen(module: nn.Module) -> nn.Module:
    """The module in evaluation mode, without gradients."""
    return module.eval().requires_grad_(False)
