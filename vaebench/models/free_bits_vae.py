"""The VAE with free bits: some nats of every group of units cost nothing."""

from typing import Any

from jaxtyping import Float
from torch import Tensor
from torch.distributions import Normal

from vaebench.config.registry import MODELS, NonNegative, PositiveInt
from vaebench.models.parts.posteriors import kl_from_standard_normal, reparameterise
from vaebench.models.vae import VAE


@MODELS.register
class FreeBitsVAE(VAE):
    """VAE with free bits (Kingma et al. 2016): max E_q[log p(x|z)] − Σ_j max(λ, E_x KL(q(z_j|x)‖p(z_j))).

    p(z) = N(0, I), and E_x is the mean over the batch, as in the paper. So the objective of an observation depends on
    the others of its batch: it is the ELBO − Σ_j max(0, λ − E_x KL_j), whose mean over the batch is the formula. Free
    bits change nothing for a group whose rate is above λ. So an optimum of the VAE stays an optimum if λ is at most the
    rate of each of its groups.

    https://arxiv.org/abs/1606.04934

    Args:
        free_bits: λ, in nats for each group; 0 gives the VAE.
        group: how many neighbouring units share λ.

    Raises:
        ValueError: if the units cannot be divided into such groups.
    """

    fixed = ("prior", "posterior")
    one_device = "its free bits are of a whole batch, but each device has only a part of it"

    def __init__(
        self,
        shape: tuple[int, ...],
        seed: int = 0,
        *,
        free_bits: NonNegative = 0.25,
        group: PositiveInt = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(shape, seed, prior="StandardNormal", posterior="Diagonal", **kwargs)
        if self.latent_dim % group:
            raise ValueError(
                f"model.group: expected a divisor of model.latent_dim = {self.latent_dim}, got {group}; change one of "
                "the two"
            )
        self.free_bits, self.group = free_bits, group

    def objective(self, x: Tensor, noise: Tensor) -> Float[Tensor, " B"]:
        posterior = self.encode(x)
        assert isinstance(posterior, Normal)
        z = reparameterise(posterior, noise)
        rate = kl_from_standard_normal(posterior).unflatten(-1, (-1, self.group)).sum(-1)
        missing = (self.free_bits - rate.mean(0)).clamp(min=0)
        return self.expected_log_likelihood(x, posterior, z) - rate.sum(-1) - missing.sum()
