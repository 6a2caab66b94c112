"""The VAE with two stochastic layers."""

from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Normal

from vaebench.config.registry import MODELS, NETWORKS, NetworkSpec, PositiveInt
from vaebench.config.seeding import seeded
from vaebench.data.loaders import Batch
from vaebench.models.draws import Draws
from vaebench.models.parts.networks import Network
from vaebench.models.parts.posteriors import POINTS, Form, TwoLayers, reparameterise
from vaebench.models.parts.priors import Encode, Prior
from vaebench.models.vae import VAE


class Conditional(nn.Module):
    """N(m(z), diag s²(z)) of one layer given the other: a network from z to m and log s².

    Args:
        network: the architecture; its encoder is used.
        given: the number of units of the layer that is given.
        units: the number of units of the layer that is drawn.
    """

    def __init__(self, network: Network, given: int, units: int) -> None:
        super().__init__()
        self.network = network.encoder((given,), 2 * units)

    def forward(self, z: Float[Tensor, "*batch G"]) -> Normal:
        mean, log_variance = self.network(z.flatten(0, -2)).unflatten(0, z.shape[:-1]).chunk(2, -1)
        return Normal(mean, (0.5 * log_variance).exp(), validate_args=False)


@MODELS.register
class HierarchicalVAE(VAE):
    """VAE with two stochastic layers (Burda et al. 2016): max ELBO of p(z₂) p(z₁|z₂) p(x|z₁) and q(z₁|x) q(z₂|z₁).

    This is Burda's factorisation: q goes up through z₁, and x reaches z₂ through it alone. p(z₂) = N(0, I); the other
    distributions are normal with independent units, whose mean and variance are a network of the layer before. z is
    (z₁, z₂) in one vector: every bound, the rate and AIS are those of both layers together.

    The rate of a unit is E_q[log q(z_i|·) − log p(z_i|·)], each given the layer before. A unit of z₂ is active if
    Var_x(E_q[z_i|x]) is above the threshold, with the mean over z₁, as Burda defines it. (Burda's program takes the
    mean at one sample of z₁, whose variance is larger by that of the sample.)

    https://arxiv.org/abs/1509.00519

    Args:
        latent_dim: the number of latent units of both layers.
        upper_dim: the number of units of z₂; if None, a third of all units, as in Burda's 100 and 50.
        between: the architecture of the networks between z₁ and z₂.

    Raises:
        ValueError: if no unit is left for z₁.
    """

    fixed = ("prior", "posterior")

    def __init__(
        self,
        shape: tuple[int, ...],
        seed: int = 0,
        *,
        latent_dim: PositiveInt = 9,
        upper_dim: PositiveInt | None = None,
        between: NetworkSpec = "MLP",
        **kwargs: Any,
    ) -> None:
        upper = max(1, latent_dim // 3) if upper_dim is None else upper_dim
        if upper >= latent_dim:
            raise ValueError(
                f"model.latent_dim: expected more than the {upper} units of z₂, so that z₁ has some, got {latent_dim}; "
                "raise it, or lower model.upper_dim"
            )
        lower = latent_dim - upper
        super().__init__(shape, seed, latent_dim=lower, prior="StandardNormal", posterior="Diagonal", **kwargs)
        self.latent_dim, self.layers = latent_dim, (lower, upper)
        self.form, self.standard_normal_prior = Form.LAYERED, False
        with seeded(seed, "layers"):
            network = NETWORKS.build(between)
            self.prior = LayeredPrior(self.layers, self.shape, network)
            self.upwards = Conditional(network, lower, upper)
            self.register_buffer("points", _points(lower), persistent=False)

    points: Tensor

    def encode(self, x: Tensor) -> TwoLayers:
        first = self.posterior(self.encoder(x))
        return TwoLayers(first, self.upwards, self.points, upwards=True)

    def parameters_at(self, z: Tensor) -> Float[Tensor, "*batch_event"]:
        return super().parameters_at(z[..., : self.layers[0]])

    def draws_at(
        self, batch: Batch, noise: Iterable[Tensor], keep: int = 1, out: Tensor | None = None, quick: bool = True
    ) -> Draws:
        posterior, prior = self.encode(batch.x), self.prior(self.encode)
        rates = []

        def noted() -> Iterable[Tensor]:
            for some in noise:
                z = reparameterise(posterior, some)
                rates.append((posterior.unit_log_prob(z) - prior.unit_log_prob(z)).sum(0))
                yield some

        draws = super().draws_at(batch, noted(), keep, out, quick)
        return draws._replace(unit_rates=torch.stack(rates).sum(0) / len(draws.log_px))


class LayeredPrior(Prior):
    """p(z₂) p(z₁|z₂), z₂ ~ N(0, I)."""

    zero: Tensor
    points: Tensor

    def __init__(self, layers: tuple[int, int], shape: tuple[int, ...], network: Network) -> None:
        super().__init__(sum(layers), shape)
        lower, upper = layers
        self.downwards = Conditional(network, upper, lower)
        self.register_buffer("zero", torch.zeros(upper))
        self.register_buffer("points", _points(upper), persistent=False)

    def forward(self, encode: Encode) -> TwoLayers:
        first = Normal(self.zero, torch.ones_like(self.zero), validate_args=False)
        return TwoLayers(first, self.downwards, self.points, upwards=False)


def _points(units: int) -> Float[Tensor, "P units"]:
    """Noises in pairs ±ε, so that the mean of a linear function is exact."""
    half = torch.randn(POINTS // 2, units)
    return torch.cat([half, -half])
