"""Priors p(z): modules that return the distribution of the latent.

`prior(encode)` returns a distribution with event shape `[L]`. Only a VampPrior uses the encoder, because it is a
mixture of posteriors.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent, MixtureSameFamily, Normal

from vaebench.config.registry import PRIORS, Positive, PositiveInt
from vaebench.models.parts.posteriors import components, log_density, rate_above_standard_normal

Encode = Callable[[Tensor], Distribution]


class Prior(nn.Module, ABC):
    """A distribution over latents with L units.

    A pack maps `forward` over its members (`torch.vmap`), so the distribution must not branch on the values of tensors.
    In torch's own, pass `validate_args=False`. StudentT makes a Chi2 inside and does not pass it on, so it needs a
    subclass. Numbers that `forward` reads are buffers or parameters: a pack stacks them, and they move to the model's
    device. Random initial values come from torch's global generator, which the model seeds. Mean and standard deviation
    must be finite: pictures of units use them. A constructor refuses keywords that break this with a ValueError.

    Args:
        latent_dim: L.
        shape: the shape of one observation.
    """

    standard_normal = False  # whether p(z) = N(0, I). Then each unit has a KL in closed form

    def __init__(self, latent_dim: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.latent_dim, self.shape = latent_dim, shape

    @abstractmethod
    def forward(self, encode: Encode) -> Distribution:
        """p(z), batch shape `[]`, event shape `[L]`."""

    def rate(self, posterior: Distribution, z: Float[Tensor, "B L"], encode: Encode) -> Float[Tensor, " B"]:
        """KL(q(z|x)‖p(z)) estimated from one draw, log q(z|x) − log p(z). A subclass may have a closed form."""
        return log_density(posterior, z) - self(encode).log_prob(z)

    def prepare(self, x: Float[Tensor, "N *shape"], generator: torch.Generator) -> None:
        """Initialise the prior from the training observations, if it needs them."""


class UnitNormal(Independent):
    """N(0, I). Its log-density is computed for every draw, in two passes over z instead of torch's five."""

    def log_prob(self, value: Float[Tensor, "*batch L"]) -> Float[Tensor, "*batch"]:
        """−½ |z|² − L/2 · log 2π.

        >>> standard = UnitNormal(Normal(torch.zeros(2), torch.ones(2)), 1)
        >>> round(standard.log_prob(torch.zeros(2)).item(), 6) == round(-math.log(2 * math.pi), 6)
        True
        """
        return -0.5 * (value.square().sum(-1) + value.shape[-1] * math.log(2 * math.pi))


@PRIORS.register
class StandardNormal(Prior):
    """N(0, I)."""

    standard_normal = True
    zero: Tensor

    def __init__(self, latent_dim: int, shape: tuple[int, ...]) -> None:
        super().__init__(latent_dim, shape)
        self.register_buffer("zero", torch.zeros(latent_dim))

    def forward(self, encode: Encode) -> Distribution:
        return UnitNormal(Normal(self.zero, torch.ones_like(self.zero), validate_args=False), 1, validate_args=False)

    def rate(self, posterior: Distribution, z: Tensor, encode: Encode) -> Tensor:
        return rate_above_standard_normal(posterior, z)


@PRIORS.register
class GaussianMixture(Prior):
    """A mixture of learned diagonal Gaussians with learned weights.

    Args:
        components: the number of Gaussians.
        spread: the standard deviation of the initial means.
    """

    def __init__(
        self, latent_dim: int, shape: tuple[int, ...], *, components: PositiveInt = 10, spread: Positive = 1.0
    ) -> None:
        super().__init__(latent_dim, shape)
        self.logits = nn.Parameter(torch.zeros(components))
        self.mean = nn.Parameter(spread * torch.randn(components, latent_dim))
        self.log_std = nn.Parameter(torch.zeros(components, latent_dim))

    def forward(self, encode: Encode) -> Distribution:
        return mixture(self.logits, Normal(self.mean, self.log_std.exp(), validate_args=False))


@PRIORS.register
class VampPrior(Prior):
    """A mixture of the posteriors of learned pseudo-inputs, with learned weights (Tomczak & Welling 2018).

    https://arxiv.org/abs/1705.07120

    Args:
        pseudo_inputs: the number of pseudo-inputs, which are initialised with random training observations.
    """

    def __init__(self, latent_dim: int, shape: tuple[int, ...], *, pseudo_inputs: PositiveInt = 500) -> None:
        super().__init__(latent_dim, shape)
        self.logits = nn.Parameter(torch.zeros(pseudo_inputs))
        self.pseudo_inputs = nn.Parameter(torch.rand(pseudo_inputs, *shape))

    def forward(self, encode: Encode) -> Distribution:
        return mixture(self.logits, encode(self.pseudo_inputs))

    @torch.no_grad()
    def prepare(self, x: Tensor, generator: torch.Generator) -> None:
        chosen = torch.randint(len(x), (len(self.logits),), generator=generator, device=generator.device)
        self.pseudo_inputs.copy_(x[chosen.to(x.device)])


def mixture(logits: Float[Tensor, " C"], each: Distribution) -> Distribution:
    """Σ_c softmax(logits)_c · q_c(z) of C distributions, event shape `[L]`."""
    weights = Categorical(logits=logits, validate_args=False)
    return MixtureSameFamily(weights, components(each), validate_args=False)
