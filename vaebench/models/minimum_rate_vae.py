"""The VAE whose rate is pushed up to a minimum."""

from typing import Any

from jaxtyping import Float
from torch import Tensor

from vaebench.config.registry import MODELS, NonNegative
from vaebench.models.parts.posteriors import reparameterise
from vaebench.models.vae import VAE


@MODELS.register
class MinimumRateVAE(VAE):
    """VAE with a minimum rate (after the δ-VAE, Razavi et al. 2019): max ELBO(x) − w·max(0, C − KL(q(z|x)‖p(z))).

    The δ-VAE chooses families of q and p between which no KL is smaller than C. Here q and p stay as they are, and a
    rate below C is penalised, for each observation. Above C the objective is the ELBO. Below C, a nat more of rate
    costs 1 − w. With w = 2 the objective is E_q[log p(x|z)] − |KL − C| − C, so there a nat more gains a nat. An optimum
    of the VAE stays an optimum if C is at most its rate at each observation.

    https://arxiv.org/abs/1901.03416

    Args:
        rate: C, in nats for each observation; 0 gives the VAE.
        weight: w.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        seed: int = 0,
        *,
        rate: NonNegative = 5.0,
        weight: NonNegative = 2.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(shape, seed, **kwargs)
        self.rate, self.weight = rate, weight

    def objective(self, x: Tensor, noise: Tensor) -> Float[Tensor, " B"]:
        posterior = self.encode(x)
        z = reparameterise(posterior, noise)
        rate = self.prior.rate(posterior, z, self.encode)
        missing = (self.rate - rate).clamp(min=0)
        return self.expected_log_likelihood(x, posterior, z) - rate - self.weight * missing
