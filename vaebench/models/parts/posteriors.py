"""Posteriors q(z|x): families of distributions over the L latent units, made from the output of the encoder.

A posterior draws z = f(ε; x) from noise ε ~ N(0, I). Training and every bound score only their own draws. So a flow
runs in its quick direction, from ε to z (inverse autoregressive flow, Kingma et al. 2016). The density at any other z
needs the slow direction, L passes.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from enum import Enum
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal

from vaebench.config.registry import POSTERIORS, NonNegativeInt, PositiveInt

POINTS = 256  # the number of fixed noises, in pairs ±ε, from which the mean and the variance of a flow are computed
NOISES_AT_ONCE = 2**15  # the largest number of noises × observations for which moments are computed at a time


class Form(Enum):
    """What is known about q(z|x). The values are the words for it."""

    DIAGONAL = "a normal distribution with independent units"
    GAUSSIAN = "a normal distribution whose units depend on each other"
    FLOW = "a flow, whose single units have no density in closed form"
    OTHER = "no normal distribution"
    LAYERED = "a normal distribution of each of two layers, the second given the first"
    NONE = "no latent z with a prior p(z) and a posterior q(z|x)"


class Posterior(ABC):
    """A family of posteriors."""

    form: Form

    @abstractmethod
    def context_size(self, latent_dim: int) -> int:
        """How many outputs the encoder has beside μ and log σ² of each unit."""

    @abstractmethod
    def head(self, latent_dim: int) -> nn.Module:
        """A module from the encoder's output `[B, F]` to q(z|x), a distribution over `[B, L]`."""


@POSTERIORS.register
class Diagonal(Posterior):
    """N(μ(x), diag σ²(x)): latent units that are independent given x (Kingma & Welling 2014)."""

    form = Form.DIAGONAL

    def context_size(self, latent_dim: int) -> int:
        return 0

    def head(self, latent_dim: int) -> nn.Module:
        return DiagonalHead(latent_dim)


@POSTERIORS.register
class FullCovariance(Posterior):
    """N(μ(x), T(x) T(x)ᵀ), T lower triangular: the encoder gives all L(L + 1)/2 entries of T."""

    form = Form.GAUSSIAN

    def context_size(self, latent_dim: int) -> int:
        return latent_dim * (latent_dim - 1) // 2

    def head(self, latent_dim: int) -> nn.Module:
        return GaussianHead(latent_dim)


@POSTERIORS.register
class Flow(Posterior):
    """Normalizing flow (Rezende & Mohamed 2015): z = f(z₀; h(x)), z₀ ~ q₀ = N(μ(x), diag σ²(x)), f by zuko.

    log q(z|x) = log q₀(z₀|x) − Σ log|det ∂f|. h(x) are further outputs of the encoder. Without a transform this is
    `Diagonal`. The mean of q(z|x), which is the code, and its variances are taken over 256 fixed noises.

    https://arxiv.org/abs/1505.05770, https://github.com/probabilists/zuko

    Args:
        kind: IAF shifts and scales each unit (Kingma et al. 2016, https://arxiv.org/abs/1606.04934). NSF bends it by a
            rational-quadratic spline (Durkan et al. 2019, https://arxiv.org/abs/1906.04032).
        coupling: whether one half of the units changes given the other half (Dinh et al. 2017), instead of each unit
            given all units before it.
        transforms: how many transforms follow each other. The order of the units is reversed after each.
        hidden: widths of the hidden layers of the network in each transform.
        context: the length of h(x).
    """

    form = Form.FLOW

    def __init__(
        self,
        *,
        kind: Literal["IAF", "NSF"] = "IAF",
        coupling: bool = False,
        transforms: NonNegativeInt = 2,
        hidden: tuple[PositiveInt, ...] = (64,),
        context: NonNegativeInt = 16,
    ) -> None:
        self.kind, self.coupling, self.transforms = kind, coupling, transforms
        self.hidden, self.context = tuple(hidden), context if transforms else 0
        self.form = Form.FLOW if transforms else Form.DIAGONAL

    def context_size(self, latent_dim: int) -> int:
        return self.context

    def head(self, latent_dim: int) -> nn.Module:
        if not self.transforms:
            return Diagonal().head(latent_dim)
        import zuko

        family = {"IAF": zuko.flows.MAF, "NSF": zuko.flows.NSF}[self.kind]
        passes = {"passes": 2} if self.coupling and latent_dim > 1 else {}
        wanted = torch.get_default_device()
        with torch.device("cpu"):  # zuko looks at values, which a model on the meta device does not have
            flow = family(latent_dim, self.context, transforms=self.transforms, hidden_features=self.hidden, **passes)
        return FlowHead(flow.transform, latent_dim).to(wanted)


class DiagonalHead(nn.Module):
    """Splits the encoder's output into μ, log σ² and the rest, and makes q from them."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim

    def forward(self, features: Float[Tensor, "B F"]) -> Distribution:
        if features.shape[-1] == 2 * self.latent_dim:
            mean, log_variance = features.chunk(2, -1)
            context = None
        else:
            mean, log_variance, context = features.tensor_split((self.latent_dim, 2 * self.latent_dim), -1)
        return self.posterior(Normal(mean, (0.5 * log_variance).exp(), validate_args=False), context)

    def posterior(self, base: Normal, context: Float[Tensor, "B H"] | None) -> Distribution:
        """q(z|x) from N(μ, diag σ²) and the rest of the encoder's output."""
        return base


class GaussianHead(DiagonalHead):
    """Makes N(μ, T Tᵀ): the diagonal of T is σ, and the rest are its entries below the diagonal, row by row."""

    def posterior(self, base: Normal, context: Tensor | None) -> Distribution:
        lower = torch.diag_embed(base.stddev)
        if context is not None:
            place = torch.zeros(self.latent_dim, self.latent_dim, dtype=torch.long, device=context.device)
            rows, columns = torch.tril_indices(self.latent_dim, self.latent_dim, -1, device=context.device)
            place[rows, columns] = 1 + torch.arange(len(rows), device=context.device)
            entries = torch.cat([torch.zeros_like(context[..., :1]), context], -1)
            lower = lower + entries.index_select(-1, place.flatten()).unflatten(-1, place.shape)
        return CorrelatedNormal(base.mean, scale_tril=lower, validate_args=False)


class FlowHead(DiagonalHead):
    """Makes a flow from N(μ, diag σ²), with the networks of its transforms."""

    points: Tensor

    def __init__(self, transform: nn.Module, latent_dim: int) -> None:
        super().__init__(latent_dim)
        self.transform = transform
        half = np.random.default_rng(0).standard_normal((POINTS // 2, latent_dim))
        points = torch.tensor(np.concatenate([half, -half]), dtype=torch.float32)
        self.register_buffer("points", points, persistent=False)

    def posterior(self, base: Normal, context: Tensor | None) -> Distribution:
        return FlowPosterior(base, self.transform(context), self.points)


class CorrelatedNormal(MultivariateNormal):
    """N(μ, T Tᵀ), batch shape `[B]`, event shape `[L]`."""

    _drawn: tuple[Tensor, Tensor] | None = None

    def draw(self, noise: Float[Tensor, "*S B L"]) -> Float[Tensor, "*S B L"]:
        """z = μ + T·noise."""
        z = self.loc + torch.einsum("bij,...bj->...bi", self.scale_tril, noise)
        constant = self._log_diagonal + 0.5 * math.log(2 * math.pi) * noise.shape[-1]
        self._drawn = z, -0.5 * noise.square().sum(-1) - constant
        return z

    def log_prob(self, value: Tensor) -> Tensor:
        """log q(z|x); for the latest draw it is known from its noise."""
        return self._drawn[1] if self._drawn and value is self._drawn[0] else super().log_prob(value)

    def rate_above_standard_normal(self, z: Tensor) -> Float[Tensor, "*S B"]:
        """KL(q(z|x)‖N(0, I)) in closed form."""
        squares = self.scale_tril.square().sum((-1, -2)) + self.loc.square().sum(-1)
        return 0.5 * (squares - self.loc.shape[-1]) - self._log_diagonal

    @property
    def _log_diagonal(self) -> Tensor:
        return self.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)


class OverFixedNoises(Distribution):
    """A distribution whose mean and variance are taken over fixed noises, the same for all x: they have no closed form.

    So a unit that ignores x has exactly the same mean for each x.
    """

    arg_constraints = {}  # noqa: RUF012 (as torch declares it)
    _moments: Any

    @property
    def mean(self) -> Tensor:
        """E[z]."""
        return self._moments[0]

    @property
    def variance(self) -> Tensor:
        """Var[z_i]."""
        return self._moments[1]


class FlowPosterior(OverFixedNoises):
    """The distribution of z = f(z₀), z₀ ~ q₀; batch shape `[B]`, event shape `[L]`.

    Args:
        base: q₀, batch shape `[B, L]`.
        transform: f, of zuko.
        points: the fixed noises `[P, L]`.
    """

    has_rsample = True
    _drawn: tuple[Tensor, Tensor, Tensor] | None = None  # the latest draw z, its z₀, and log|det ∂z/∂z₀|

    def __init__(self, base: Normal, transform: Any, points: Float[Tensor, "P L"]) -> None:
        super().__init__(base.batch_shape[:-1], base.batch_shape[-1:], validate_args=False)
        self.base, self.transform, self.points = base, transform, points

    def draw(self, noise: Float[Tensor, "*S B L"]) -> Float[Tensor, "*S B L"]:
        """z = f(μ + σ·noise)."""
        start = self.base.mean + self.base.stddev * noise
        z, log_det = self.transform.call_and_ladj(start)
        self._drawn = z, start, log_det
        return z

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(torch.Size(sample_shape))
        return self.draw(torch.randn(shape, dtype=self.base.mean.dtype, device=self.base.mean.device))

    def log_prob(self, value: Tensor) -> Tensor:
        """log q(z|x); for the latest draw it is known from its z₀, for other z it takes the slow direction."""
        start, log_det = self._start(value)
        return self.base.log_prob(start).sum(-1) - log_det

    def rate_above_standard_normal(self, z: Tensor) -> Float[Tensor, "*S B"]:
        """An estimate of KL(q(z|x)‖N(0, I)): KL(q₀‖N(0, I)) in closed form, and what f changes from the draw."""
        start, log_det = self._start(z)
        change = 0.5 * (z.square() - start.square()).sum(-1) - log_det
        return kl_from_standard_normal(self.base).sum(-1) + change

    @property
    def stddev(self) -> Tensor:
        raise AttributeError("mean + stddev·noise is no draw of a flow; use `reparameterise(posterior, noise)`")

    def _start(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """z₀ and log|det ∂f/∂z₀|."""
        if self._drawn and z is self._drawn[0]:
            return self._drawn[1:]
        start, inverse = self.transform.inv.call_and_ladj(z)
        return start, -inverse

    @cached_property
    def _moments(self) -> tuple[Tensor, Tensor]:
        total = squares = torch.zeros_like(self.base.mean)
        for some in self.points.to(self.base.mean).unsqueeze(1).split(max(1, NOISES_AT_ONCE // len(total))):
            z = self.transform(self.base.mean + self.base.stddev * some)
            total, squares = total + z.sum(0), squares + z.square().sum(0)
        mean = total / POINTS
        return mean, (squares / POINTS - mean.square()).clamp(min=0)


class TwoLayers(OverFixedNoises):
    """The distribution of z = (z₁, z₂) in which one layer is drawn first, and the other one given it.

    Upwards z₁ is first, as in a posterior q(z₁|x) q(z₂|z₁); downwards z₂ is first, as in a prior p(z₂) p(z₁|z₂).
    The fixed noises are those of the first layer.

    Args:
        first: the distribution of the first layer, batch shape `[B, …]`.
        given: the distribution of the other layer, as a function of the first.
        points: the fixed noises `[P, …]` of the first layer.
        upwards: whether z₁ is the first layer.
    """

    def __init__(self, first: Normal, given: Callable[[Tensor], Normal], points: Tensor, *, upwards: bool) -> None:
        super().__init__(first.batch_shape[:-1], validate_args=False)
        self.first, self.given, self.points, self.upwards = first, given, points, upwards

    def draw(self, noise: Float[Tensor, "*S B L"]) -> Float[Tensor, "*S B L"]:
        """The z that belongs to noise ε ~ N(0, I)."""
        ahead, behind = self._split(noise)
        drawn = self.first.mean + self.first.stddev * ahead
        other = self.given(drawn)
        return self._join(drawn, other.mean + other.stddev * behind)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        with torch.no_grad():
            drawn = self.first.sample(sample_shape)
            return self._join(drawn, self.given(drawn).sample())

    def log_prob(self, value: Float[Tensor, "*S B L"]) -> Float[Tensor, "*S B"]:
        return self.unit_log_prob(value).sum(-1)

    def unit_log_prob(self, value: Float[Tensor, "*S B L"]) -> Float[Tensor, "*S B L"]:
        """The log-density of each unit, given the layer before its own; their sum is `log_prob`."""
        ahead, behind = self._split(value)
        return self._join(self.first.log_prob(ahead), self.given(ahead).log_prob(behind))

    @cached_property
    def _moments(self) -> tuple[Tensor, Tensor]:
        first, n = self.first, len(self.points)
        points = self.points.to(first.mean).view(n, *(1,) * (first.mean.ndim - 1), -1)
        parts: list[Tensor] = []  # E[m], E[m²] and E[s²] of the other layer, a limited number of noises at a time
        for some in points.split(max(1, NOISES_AT_ONCE // max(1, first.mean[..., 0].numel()))):
            other = self.given(first.mean + first.stddev * some)
            parts.append(torch.stack([v.sum(0) for v in (other.mean, other.mean.square(), other.variance)]) / n)
        mean, squares, inner = torch.stack(parts).sum(0)
        variance = inner + (squares - mean.square()).clamp(min=0)
        return self._join(first.mean, mean), self._join(first.variance, variance)

    def _join(self, ahead: Tensor, behind: Tensor) -> Tensor:
        return torch.cat([ahead, behind] if self.upwards else [behind, ahead], -1)

    def _split(self, z: Tensor) -> tuple[Tensor, Tensor]:
        units = self.first.mean.shape[-1]
        if self.upwards:
            return z[..., :units], z[..., units:]
        return z[..., -units:], z[..., :-units]


def reparameterise(posterior: Distribution, noise: Float[Tensor, "*S B L"]) -> Float[Tensor, "*S B L"]:
    """The draw z ~ q(z|x) that belongs to noise ε ~ N(0, I).

    >>> reparameterise(Normal(torch.ones(1, 2), 2.0), torch.tensor([[0.0, 1.0]])).tolist()
    [[1.0, 3.0]]
    """
    if isinstance(posterior, Normal):
        return (posterior.stddev * noise).add_(posterior.mean)  # in place: the same bits in half the time
    return posterior.draw(noise)  # type: ignore[attr-defined]


def unit_stddev(posterior: Distribution) -> Float[Tensor, "B L"]:
    """The standard deviation of each unit given x. A draw is made by `reparameterise`, not from this."""
    return posterior.stddev if isinstance(posterior, Normal) else posterior.variance.sqrt()


def log_density(posterior: Distribution, z: Float[Tensor, "*S B L"]) -> Float[Tensor, "*S B"]:
    """log q(z|x), summed over units. It is quick for the latest draw of `reparameterise`."""
    return components(posterior).log_prob(z)


def log_density_of_draw(posterior: Distribution, z: Tensor, noise: Float[Tensor, "S B L"]) -> Float[Tensor, "S B"]:
    """log q(z|x) of the draw that belongs to this noise; exact to the rounding of the noise, not of z."""
    if not isinstance(posterior, Normal):
        return posterior.log_prob(z)
    constant = posterior.stddev.log().sum(-1) + 0.5 * math.log(2 * math.pi) * noise.shape[-1]
    return -0.5 * torch.linalg.vector_norm(noise, dim=-1).square() - constant


def rate_above_standard_normal(posterior: Distribution, z: Float[Tensor, "*S B L"]) -> Float[Tensor, "*any"]:
    """KL(q(z|x)‖N(0, I)): in closed form if there is one, else estimated at the draw z."""
    if isinstance(posterior, Normal):
        return kl_from_standard_normal(posterior).sum(-1)
    return posterior.rate_above_standard_normal(z)  # type: ignore[attr-defined]


def without_gradient(posterior: Distribution) -> Distribution:
    """The same normal distribution, whose parameters get no gradient."""
    if isinstance(posterior, CorrelatedNormal):
        return CorrelatedNormal(posterior.loc.detach(), scale_tril=posterior.scale_tril.detach(), validate_args=False)
    return Normal(posterior.mean.detach(), posterior.stddev.detach(), validate_args=False)


def components(posterior: Distribution) -> Distribution:
    """q(z|x) as a distribution with batch shape `[B]` and event shape `[L]`."""
    return Independent(posterior, 1, validate_args=False) if isinstance(posterior, Normal) else posterior


def kl_from_standard_normal(posterior: Normal) -> Float[Tensor, "*batch L"]:
    """KL(N(m, s²)‖N(0, 1)) = ½(m² + s² − 1 − log s²) for each unit.

    >>> kl_from_standard_normal(Normal(torch.tensor([0.0, 2.0]), torch.ones(2))).tolist()
    [0.0, 2.0]
    """
    return 0.5 * (posterior.mean.square() + posterior.variance - 1) - posterior.stddev.log()
