"""The one number that every model has."""

from jaxtyping import Float64
from torch import Tensor

from vaebench.config.registry import METRICS
from vaebench.evaluation.metrics.base import ScalarMean, Subject
from vaebench.models.draws import Draws


@METRICS.register
class SquaredError(ScalarMean):
    """Squared error of the decoder's mean at the posterior's mean, summed over pixels, in units of x²."""

    column = "squared_error"
    higher_is_better = False

    def applies_to(self, model: Subject) -> str | None:
        return None

    def per_observation(self, draws: Draws) -> Float64[Tensor, " B"]:
        return (draws.reconstruction.double() - draws.x.double()).square().flatten(1).sum(1)
