"""Distributions that a user gives, as posterior, likelihood or prior."""

import zlib
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import (
    Distribution,
    Independent,
    MultivariateNormal,
    Normal,
    TransformedDistribution,
    constraints,
)
from torch.distributions.constraints import Constraint

from vaebench.config.seeding import seeded
from vaebench.models.parts.likelihoods import Likelihood
from vaebench.models.parts.priors import Encode, Prior


class GivenPosterior(Distribution):
    """q(z|x) that is not normal: batch shape `[B]`, event shape `[L]`.

    Nothing is known of it but its draws and their log-density. A draw takes a seed from its noise, so the same noise
    gives the same draw.

    Args:
        given: batch and event shape together `[B, L]`.

    Raises:
        ValueError: if its shape is another one, or it is a distribution of whole numbers.
    """

    arg_constraints = {}  # noqa: RUF012 (as torch declares it)

    def __init__(self, given: Distribution) -> None:
        shape = given.batch_shape + given.event_shape
        if len(shape) != 2 or is_discrete(given):
            what = "a distribution of whole numbers" if is_discrete(given) else f"one over {[*shape]}"
            raise ValueError(
                f"expected q(z|x) as a density over [B, L], got {what} ({name_of(given)}); flatten the latents in the "
                "encoder, and shape them in the decoder"
            )
        super().__init__(torch.Size(shape[:1]), torch.Size(shape[1:]), validate_args=False)
        self.given = _with_cache(_joint(given, 1))
        self._drawn: tuple[Tensor, Tensor] | None = None

    def draw(self, noise: Float[Tensor, "*S B L"]) -> Float[Tensor, "*S B L"]:
        """The draw that belongs to this noise. It has a gradient if the distribution has `rsample`."""
        q, count = self.given, noise.shape[:-2]
        with seeded(zlib.crc32(noise.detach().cpu().numpy().tobytes()), "posterior"):
            z: Tensor = q.rsample(count) if q.has_rsample else q.sample(count)
        if z.shape != noise.shape:
            raise ValueError(f"expected draws of shape {[*noise.shape]} from {name_of(q)}, got {[*z.shape]}")
        self._drawn = z, q.log_prob(z)  # at once: a flow remembers how it made the latest draw
        return z

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self.given.sample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        log_q: Tensor = self._drawn[1] if self._drawn and value is self._drawn[0] else self.given.log_prob(value)
        return log_q

    def rate_above_standard_normal(self, z: Float[Tensor, "*S B L"]) -> Float[Tensor, "*S B"]:
        """An estimate of KL(q(z|x)‖N(0, I)) at the draw z."""
        return self.log_prob(z) - Normal(0.0, 1.0, validate_args=False).log_prob(z).sum(-1)

    @property
    def mean(self) -> Tensor:
        """E_q[z|x].

        Raises:
            ValueError: if it is not known in closed form.
        """
        return self._moment("mean")

    @property
    def variance(self) -> Tensor:
        """Var_q[z_i|x]; errors as for `mean`."""
        return self._moment("variance")

    @property
    def why_no_mean(self) -> str | None:
        """Why there is no mean, or None."""
        try:
            finite = bool(self.mean.isfinite().all())
        except ValueError as error:
            return str(error)
        return None if finite else f"its q(z|x), a {name_of(self.given)}, has no finite mean"

    def _moment(self, name: str) -> Tensor:
        try:
            found: Tensor = getattr(self.given, name)
        except (NotImplementedError, AttributeError):
            raise ValueError(f"its q(z|x), a {name_of(self.given)}, has no {name} in closed form") from None
        return found


class GivenLikelihood(Likelihood):
    """p(x|z) of a decoder that returns distributions: they take the place of parameters.

    Args:
        shape: of an observation.
        decoder: what makes the distributions.
        discrete: whether they are probabilities.
    """

    def __init__(self, shape: tuple[int, ...], decoder: Callable[[Tensor], Any], discrete: bool) -> None:
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
    def support(self) -> Constraint | None:
        return self.flat.support

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
        # The parameters of what a function returns may change.
        self.standard_normal = isinstance(given, Distribution) and _is_standard_normal(p)

    def forward(self, encode: Encode) -> Distribution:
        p = self.given if isinstance(self.given, Distribution) else self.given()
        if not isinstance(p, Distribution):
            raise ValueError(f"expected a distribution as the prior, got {type(p).__name__}")
        joint = _joint(p, 0)
        return joint if _is_everywhere(joint) else WithinSupport(joint)


class WithinSupport(Distribution):
    """A distribution whose density is 0 outside its support; torch's own raises an error there, or returns any number.

    So a z that the prior does not allow has the weight 0, and a chain of Hamiltonian Monte Carlo does not go there.

    Args:
        given: batch shape `[]`, event shape `[L]`.
    """

    arg_constraints = {}  # noqa: RUF012 (as torch declares it)

    def __init__(self, given: Distribution) -> None:
        super().__init__(given.batch_shape, given.event_shape, validate_args=False)
        self.given = given

    @property
    def support(self) -> Constraint | None:
        return self.given.support

    @property
    def mean(self) -> Tensor:
        return self.given.mean

    @property
    def variance(self) -> Tensor:
        return self.given.variance

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self.given.sample(sample_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.given.rsample(sample_shape)

    def log_prob(self, value: Float[Tensor, "*batch L"]) -> Float[Tensor, "*batch"]:
        inside = self.given.support.check(value)  # type: ignore[union-attr]  # the class is for those that have one
        if bool(inside.all()):
            return self.given.log_prob(value)
        with seeded(0, "support"):
            allowed = self.given.sample()  # any point of the support, so that `given` takes it
        log_p = self.given.log_prob(torch.where(inside.unsqueeze(-1), value, allowed))
        return torch.where(inside, log_p, -torch.inf)


def _is_everywhere(p: Distribution) -> bool:
    """Whether all real numbers are possible, or the distribution does not say what is."""
    try:
        support: Any = p.support
    except NotImplementedError:
        return True
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return support is None or support in (constraints.real, constraints.real_vector)


def name_of(distribution: Distribution) -> str:
    """The name of its class, for messages.

    >>> name_of(Independent(Normal(torch.zeros(2), 1.0), 1))
    'Normal'
    """
    while isinstance(distribution, Independent):
        distribution = distribution.base_dist
    return type(distribution).__name__


def is_discrete(distribution: Distribution) -> bool:
    """Whether it has probabilities instead of a density; False if it does not say."""
    try:
        return bool(getattr(distribution.support, "is_discrete", False))
    except (NotImplementedError, AttributeError):
        return False


def has_in_support(distribution: Distribution, value: Tensor) -> bool:
    """Whether all entries of a value are possible; True if the distribution does not say.

    torch's own check in `log_prob` is not enough: zuko turns it off for all distributions when it is imported.

    >>> has_in_support(Normal(0.0, 1.0), torch.tensor([0.5, torch.nan]))
    False
    """
    try:
        return distribution.support is None or bool(distribution.support.check(value).all())
    except NotImplementedError:
        return True


def _joint(p: Distribution, axes: int) -> Distribution:
    """The same distribution with so many axes of its shape as batch, and the others as one event."""
    beyond = len(p.batch_shape) - axes
    return Independent(p, beyond, validate_args=False) if beyond > 0 else p


def _with_cache(p: Distribution) -> Distribution:
    """The same distribution; torch's transforms in it keep their latest draw, so its density needs no inverse."""
    if isinstance(p, Independent):
        return Independent(_with_cache(p.base_dist), p.reinterpreted_batch_ndims, validate_args=False)
    if type(p) is TransformedDistribution:
        transforms = [transform.with_cache() for transform in p.transforms]
        return TransformedDistribution(p.base_dist, transforms, validate_args=False)
    return p


def _is_standard_normal(p: Distribution) -> bool:
    base = p.base_dist if isinstance(p, Independent) else p
    if isinstance(base, MultivariateNormal):
        return bool((base.mean == 0).all() and torch.equal(base.covariance_matrix, torch.eye(len(base.mean))))
    return isinstance(base, Normal) and bool((base.mean == 0).all() and (base.stddev == 1).all())
