"""The evidence lower bound."""

from jaxtyping import Float64
from torch import Tensor

from vaebench.config.registry import METRICS
from vaebench.evaluation import bounds
from vaebench.evaluation.metrics.base import ScalarMean, variance_of_mean
from vaebench.models.draws import Draws


@METRICS.register
class ELBO(ScalarMean):
    """Evidence lower bound E_q[log w], nats per observation (Kingma & Welling 2014).

    The mean over all K draws; unbiased. It is minus the sum of the rate and the distortion of the same draws.
    """

    column = "elbo"
    higher_is_better = True

    def per_observation(self, draws: Draws) -> Float64[Tensor, " B"]:
        return bounds.elbo(draws.log_weight)

    def monte_carlo_variance(self, draws: Draws) -> Tensor | None:
        return variance_of_mean(draws.log_weight)
