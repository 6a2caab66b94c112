"""p(z): modules that return the distribution of the latent.

`prior(encode)` returns a distribution with event shape `[L]`. The encoder is handed over because a VampPrior is made
of posteriors; the others do not look at it.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent, MixtureSameFamily, Normal

from vaebench.config.registry import PRIORS, Positive, PositiveInt

Encode = Callable[[Tensor], Normal]


class Prior(nn.Module, ABC):
    """A distribution over latents of L units.

    Args:
        latent_dim: L.
        shape: the shape of one observation.
    """

    factorised = False
    """Whether p(z) = Π p(z_i), so that KL divergences have a value for every unit."""

    def __init__(self, latent_dim: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.latent_dim, self.shape = latent_dim, shape

    @abstractmethod
    def forward(self, encode: Encode) -> Distribution:
        """p(z), batch shape `[]`, event shape `[L]`."""

    def rate(self, posterior: Normal, z: Float[Tensor, "B L"], encode: Encode) -> Float[Tensor, " B"]:
        """KL(q(z|x)‖p(z)) estimated from one draw, log q(z|x) − log p(z); a closed form where a subclass has one."""
        return posterior.log_prob(z).sum(-1) - self(encode).log_prob(z)

    def prepare(self, x: Float[Tensor, "N *shape"], generator: torch.Generator) -> None:
        """Start from the training observations, where the prior has something to start."""


class UnitNormal(Independent):
    """N(0, I). Its log-density, wanted at every draw, takes two passes over z; torch's own takes five."""

    def log_prob(self, value: Float[Tensor, "*batch L"]) -> Float[Tensor, "*batch"]:
        """−½ |z|² − L/2 · log 2π."""
        return -0.5 * (value.square().sum(-1) + value.shape[-1] * math.log(2 * math.pi))


@PRIORS.register
class StandardNormal(Prior):
    """N(0, I)."""

    factorised = True
    zero: Tensor

    def __init__(self, latent_dim: int, shape: tuple[int, ...]) -> None:
        super().__init__(latent_dim, shape)
        self.register_buffer("zero", torch.zeros(latent_dim))

    def forward(self, encode: Encode) -> Distribution:
        return UnitNormal(Normal(self.zero, torch.ones_like(self.zero), validate_args=False), 1, validate_args=False)

    def rate(self, posterior: Normal, z: Tensor, encode: Encode) -> Tensor:
        return kl_from_standard_normal(posterior).sum(-1)


@PRIORS.register
class GaussianMixture(Prior):
    """A mixture of learned diagonal Gaussians with learned weights.

    Args:
        components: how many.
        spread: standard deviation of the means at the start.
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

    Args:
        pseudo_inputs: how many; they start as random training observations.
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


def mixture(logits: Float[Tensor, " C"], components: Normal) -> Distribution:
    """Σ_c softmax(logits)_c · N(z; mean_c, std_c), event shape `[L]`."""
    weights = Categorical(logits=logits, validate_args=False)
    return MixtureSameFamily(weights, Independent(components, 1, validate_args=False), validate_args=False)


def kl_from_standard_normal(posterior: Normal) -> Float[Tensor, "*batch L"]:
    """KL(N(m, s²)‖N(0, 1)) = ½(m² + s² − 1 − log s²), a unit at a time."""
    return 0.5 * (posterior.mean.square() + posterior.variance - 1) - posterior.stddev.log()
