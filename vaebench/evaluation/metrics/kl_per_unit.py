"""Where the rate is spent."""

from jaxtyping import Float64
from torch import Tensor
from torch.distributions import Normal

from vaebench.config.registry import METRICS
from vaebench.evaluation.metrics.base import Columns, MeanOverObservations, Subject
from vaebench.models.draws import Draws
from vaebench.models.parts.priors import kl_from_standard_normal
from vaebench.records.record import Estimate


def unit_kl(posterior: Normal) -> Float64[Tensor, "B L"]:
    """KL(q(z_i|x)‖N(0, 1)) of every unit, nats, in float64."""
    return kl_from_standard_normal(Normal(posterior.mean.double(), posterior.stddev.double(), validate_args=False))


def without_unit_priors(model: Subject) -> str | None:
    """The reason why a model has no KL for a single unit, or None."""
    if not model.stochastic:
        return f"{type(model).__name__} has no posterior q(z|x)"
    return None if model.factorised else f"the prior of this {type(model).__name__} does not factorise over units"


@METRICS.register
class KLPerUnit(MeanOverObservations):
    """E_x KL(q(z_i|x)‖p(z_i)) of every unit, in closed form, nats; an array in the order of the units."""

    def applies_to(self, model: Subject) -> str | None:
        return without_unit_priors(model)

    def columns(self, draws: int) -> tuple[str, ...]:
        return ()

    def observe(self, draws: Draws) -> Float64[Tensor, "B L"]:
        return unit_kl(draws.posterior)

    def estimates(self, columns: Columns) -> tuple[Estimate, ...]:
        return (Estimate("kl_per_unit", columns.mean.tolist(), n=columns.n),)
