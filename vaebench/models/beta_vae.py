"""The β-VAE: the VAE with a weight β on the rate."""

from typing import Any

from jaxtyping import Float
from torch import Tensor

from vaebench.config.registry import MODELS, SCHEDULES, NonNegative, ScheduleSpec
from vaebench.models.vae import VAE


@MODELS.register
class BetaVAE(VAE):
    """β-VAE (Higgins et al. 2017): max E_q[log p(x|z)] − β·KL(q(z|x)‖p(z)).

    It is trained on this objective, and measured by the same ELBO and IWAE as every model. At β = 1 it is the VAE.

    Args:
        beta: the weight of the rate.
        schedule: how the weight reaches β during training.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        seed: int = 0,
        *,
        beta: NonNegative = 4.0,
        schedule: ScheduleSpec = "Constant",
        **kwargs: Any,
    ) -> None:
        super().__init__(shape, seed, **kwargs)
        self.beta.fill_(beta)
        self.schedule = SCHEDULES.build(schedule)

    def rate_weight(self) -> Float[Tensor, ""]:
        return self.beta * self.schedule(self.progress)
