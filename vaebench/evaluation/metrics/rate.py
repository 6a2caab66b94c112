"""What the latent costs."""

from jaxtyping import Float64
from torch import Tensor

from vaebench.config.registry import METRICS
from vaebench.evaluation.metrics.base import ScalarMean, variance_of_mean
from vaebench.models.draws import Draws


@METRICS.register
class Rate(ScalarMean):
    """Rate E_q[log q(z|x) − log p(z)] = KL(q(z|x)‖p(z)), nats per observation (Alemi et al. 2018).

    The mean over the K draws, unbiased for any prior.
    """

    column = "rate"

    def per_observation(self, draws: Draws) -> Float64[Tensor, " B"]:
        return (draws.log_qz.double() - draws.log_pz.double()).mean(0)

    def monte_carlo_variance(self, draws: Draws) -> Tensor | None:
        return variance_of_mean(draws.log_qz - draws.log_pz)
