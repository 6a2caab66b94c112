"""Models that are made elsewhere: an encoder, a decoder, a likelihood and a prior become a model of this package.

So they are measured by the same metrics and estimators, and are used by the same methods, as every other model.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal

from vaebench.config.registry import LIKELIHOODS, PRIORS, Spec
from vaebench.models.ae import AE
from vaebench.models.base import Autoencoder
from vaebench.models.parts.likelihoods import Likelihood
from vaebench.models.parts.posteriors import CorrelatedNormal, DiagonalHead, Form
from vaebench.models.parts.priors import Encode, Prior
from vaebench.models.vae import VAE

Module = Callable[[Tensor], Any]
"""A module, or any function of a batch."""

Given = Spec | Likelihood | Callable[[Tensor], Distribution] | None
"""A likelihood: by its name here, as an object, or as a function of the decoder's output; None if the decoder itself
returns a distribution."""


class Subject(VAE):
    """A variational autoencoder whose parts come from elsewhere.

    Args:
        encoder: of a batch `[B, *event]`. It returns q(z|x) as a Normal or a MultivariateNormal, or the mean and the
            log-variance as a pair, as one tensor `[B, 2L]`, or under `embedding` and `log_covariance`.
        decoder: of latents `[B, L]`. It returns p(x|z), or what the likelihood takes.
        x: some observations; they give the shapes of x and z.
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
        _begin(self, encoder, decoder, x)
        with torch.no_grad():
            posterior = self.encode(x[:1])
            self.form = Form.DIAGONAL if isinstance(posterior, Normal) else Form.GAUSSIAN
            self.latent_dim = posterior.mean.shape[-1]
            self.posterior = DiagonalHead(self.latent_dim)
            self.likelihood = _likelihood(self, likelihood, posterior.mean)
            self.prior = _prior(prior, self.latent_dim, self.shape)
            event = self.prior(self.encode).event_shape
        if event != (self.latent_dim,):
            raise ValueError(f"expected a prior over {self.latent_dim} units, as the encoder has, got {[*event]}")
        self.standard_normal_prior = self.prior.standard_normal
        self.register_buffer("beta", torch.tensor(float(beta)))

    def encode(self, x: Tensor) -> Distribution:
        return posterior_of(self.encoder(x))

    def parameters_at(self, z: Tensor) -> Any:
        return _parameters_at(self, z)


class DeterministicSubject(AE):
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
        _begin(self, encoder, decoder, x)
        with torch.no_grad():
            code = self.encode(x[:1]).mean
            self.latent_dim = code.shape[-1]
            self.likelihood = _likelihood(self, likelihood, code)

    def encode(self, x: Tensor) -> Normal:
        code = _tensor(self.encoder(x), "embedding")
        return Normal(code, torch.zeros_like(code), validate_args=False)

    def objective(self, x: Tensor, noise: Tensor) -> Float[Tensor, " B"]:
        log_px: Tensor = self.decode(self.encode(x).mean).log_prob(x)
        return log_px

    def parameters_at(self, z: Tensor) -> Any:
        return _parameters_at(self, z)


def _begin(model: Autoencoder, encoder: Module, decoder: Module, x: Tensor) -> None:
    """What the constructor of `Autoencoder` does, with parts that exist already."""
    super(Autoencoder, model).__init__()
    if x.ndim < 2 or not len(x):
        raise ValueError(f"expected some observations [B, …] as the third argument, got shape {[*x.shape]}")
    model.shape, model.seed, model.learning_rate = tuple(x.shape[1:]), 0, 1e-3
    model.encoder, model.decoder = encoder, decoder  # type: ignore[assignment]
    model.register_buffer("progress", torch.ones(()))
    model.optimizer, model.generator, model._noise_state = torch.optim.Adam, None, None


def posterior_of(output: Any) -> Distribution:
    """q(z|x) from what an encoder returned.

    >>> posterior_of((torch.zeros(1, 2), torch.zeros(1, 2))).stddev
    tensor([[1., 1.]])

    Raises:
        ValueError: if it is nothing that `Subject` describes.
    """
    if isinstance(output, Independent) and isinstance(output.base_dist, Normal):
        output = output.base_dist
    if isinstance(output, Normal):
        return output
    if isinstance(output, MultivariateNormal):
        return CorrelatedNormal(output.loc, scale_tril=output.scale_tril, validate_args=False)
    if isinstance(output, Mapping):
        output = [output[key] for key in ("embedding", "log_covariance") if key in output]
    if isinstance(output, Tensor) and output.ndim == 2 and output.shape[1] % 2 == 0:
        output = output.chunk(2, -1)
    if isinstance(output, tuple | list) and len(output) == 2 and all(isinstance(each, Tensor) for each in output):
        mean, log_variance = output
        return Normal(mean, (0.5 * log_variance).exp(), validate_args=False)
    got = f"a tensor of shape {[*output.shape]}" if isinstance(output, Tensor) else type(output).__name__
    raise ValueError(
        f"expected q(z|x) from the encoder: a Normal, a MultivariateNormal, or (mean, log-variance), got {got}; for "
        "codes without a variance use DeterministicSubject"
    )


class GivenLikelihood(Likelihood):
    """p(x|z) of a decoder that returns distributions: they take the place of parameters.

    Args:
        shape: of an observation.
        decoder: what makes the distributions.
        discrete: whether they are probabilities.
    """

    def __init__(self, shape: tuple[int, ...], decoder: Module, discrete: bool) -> None:
        super().__init__(shape)
        self.decoder, self.discrete = decoder, discrete

    def pixels(self, parameters: Any) -> Any:
        return parameters

    def forward(self, parameters: Any) -> Any:
        return parameters

    def log_prob(self, parameters: Any, x: Tensor) -> Tensor:
        log_px: Tensor = parameters.log_prob(x)
        return log_px


class Unflattened(Distribution):
    """A distribution of batch shape `[N]` under another batch shape of N members."""

    def __init__(self, flat: Distribution, batch: torch.Size) -> None:
        super().__init__(batch, flat.event_shape, validate_args=False)
        self.flat = flat

    @property
    def mean(self) -> Tensor:
        return self.flat.mean.reshape(self.batch_shape + self.event_shape)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self.flat.sample(sample_shape).reshape(*sample_shape, *self.batch_shape, *self.event_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        whole = value.expand(self.batch_shape + self.event_shape).reshape(-1, *self.event_shape)
        return self.flat.log_prob(whole).reshape(self.batch_shape)


class GivenPrior(Prior):
    """A prior that is a distribution, or a function that returns one."""

    def __init__(self, latent_dim: int, shape: tuple[int, ...], given: Distribution | Callable[[], Any]) -> None:
        super().__init__(latent_dim, shape)
        self.given = given
        p = self.forward(lambda x: Normal(x, x))
        base = p.base_dist if isinstance(p, Independent) else p
        standard = isinstance(base, Normal) and bool((base.mean == 0).all() and (base.stddev == 1).all())
        self.standard_normal = isinstance(given, Distribution) and standard  # that of a function may change

    def forward(self, encode: Encode) -> Distribution:
        p = self.given if isinstance(self.given, Distribution) else self.given()
        if not isinstance(p, Distribution):
            raise ValueError(f"expected a distribution as the prior, got {type(p).__name__}")
        return Independent(p, len(p.batch_shape), validate_args=False) if p.batch_shape else p


def _prior(given: Any, latent_dim: int, shape: tuple[int, ...]) -> Prior:
    if isinstance(given, Prior):
        return given
    if isinstance(given, str | Mapping):
        return PRIORS.build(given, latent_dim, shape)
    if not callable(given) and not isinstance(given, Distribution):
        raise ValueError(f"expected a prior, got {given!r}; without one, use DeterministicSubject")
    return GivenPrior(latent_dim, shape, given)


def _likelihood(model: Autoencoder, given: Given, z: Tensor) -> Likelihood:
    if isinstance(given, Likelihood):
        return given
    if isinstance(given, str | Mapping):
        return LIKELIHOODS.build(given, model.shape)
    raw = model.decoder
    decoder: Module = raw if given is None else lambda z: given(_tensor(raw(z), "reconstruction"))
    p = decoder(z)
    if not isinstance(p, Distribution):
        raise ValueError(
            f"expected p(x|z) as a distribution, got {type(p).__name__}; give likelihood=, e.g. 'Bernoulli' "
            "(of logits) or {'name': 'Gaussian', 'variance': 1.0}"
        )
    if (p.batch_shape + p.event_shape)[1:] != model.shape:
        got = [*(p.batch_shape + p.event_shape)[1:]]
        raise ValueError(f"expected p(x|z) over observations of shape {[*model.shape]}, got {got}")
    support = p.support
    return GivenLikelihood(model.shape, decoder, bool(getattr(support, "is_discrete", False)))


def _parameters_at(model: Autoencoder, z: Tensor) -> Any:
    flat = z.reshape(-1, z.shape[-1])
    if isinstance(model.likelihood, GivenLikelihood):
        p = model.likelihood.decoder(flat)
        return Unflattened(Independent(p, len(p.batch_shape) - 1, validate_args=False), z.shape[:-1])
    output = _tensor(model.decoder(flat), "reconstruction")
    return output.reshape(*z.shape[:-1], *model.shape)


def _tensor(output: Any, key: str) -> Tensor:
    """The tensor that a module returned, perhaps under a key."""
    found = output[key] if isinstance(output, Mapping) else output
    if not isinstance(found, Tensor):
        raise ValueError(
            f"expected a tensor from {'the encoder' if key == 'embedding' else 'the decoder'}, "
            f"got {type(found).__name__}"
        )
    return found


def frozen(module: nn.Module) -> nn.Module:
    """The module in evaluation mode, without gradients."""
    return module.eval().requires_grad_(False)
