"""What the decoder misses."""

from jaxtyping import Float64
from torch import Tensor

from vaebench.config.registry import METRICS
from vaebench.evaluation.metrics.base import ScalarMean, Subject, variance_of_mean
from vaebench.models.draws import Draws


@METRICS.register
class Distortion(ScalarMean):
    """Distortion −E_q[log p(x|z)], nats per observation (Alemi et al. 2018).

    The mean over the K draws; for a deterministic model, at its code.
    """

    column = "distortion"
    higher_is_better = False

    def applies_to(self, model: Subject) -> str | None:
        return None

    def per_observation(self, draws: Draws) -> Float64[Tensor, " B"]:
        return -draws.log_px.double().mean(0)

    def monte_carlo_variance(self, draws: Draws) -> Tensor | None:
        return variance_of_mean(draws.log_px)
