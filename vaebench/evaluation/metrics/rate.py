"""The two parts of the ELBO, rate and distortion, and the rate of every unit."""

from collections.abc import Mapping

from jaxtyping import Float64
from torch import Tensor
from torch.distributions import Distribution, Normal

from vaebench.config.registry import METRICS
from vaebench.evaluation.metrics.base import (
    Columns,
    MeanOverObservations,
    ScalarMean,
    Subject,
    variance_of_mean,
    without_densities,
)
from vaebench.models.draws import Draws
from vaebench.models.parts.posteriors import Form, kl_from_standard_normal
from vaebench.records.description import Description, Direction, Panel, Role
from vaebench.records.record import UNIT_RATES, Estimate


@METRICS.register
class Rate(ScalarMean):
    """Rate E_q[log q(z|x) − log p(z)] = KL(q(z|x)‖p(z)), nats per observation (Alemi et al. 2018).

    The mean over the K draws, unbiased for any prior.
    """

    reads_log_densities_only = True

    column = "rate"
    description = Description("rate", Panel.OBJECTIVE, 50, "nats", role=Role.RATE)

    def applies_to(self, model: Subject) -> str | None:
        return without_latents(model)

    def per_observation(self, draws: Draws) -> Float64[Tensor, " B"]:
        return (draws.log_qz.double() - draws.log_pz.double()).mean(0)

    def monte_carlo_variance(self, draws: Draws) -> Tensor | None:
        return variance_of_mean(draws.log_qz - draws.log_pz)


@METRICS.register
class Distortion(ScalarMean):
    """Distortion −E_q[log p(x|z)], nats per observation (Alemi et al. 2018).

    The mean over the K draws; for a deterministic model, at its code.
    """

    reads_log_densities_only = True

    column = "distortion"
    description = Description(
        "distortion", Panel.OBJECTIVE, 60, "nats", Direction.LOWER, ranked=False, role=Role.DISTORTION
    )

    def applies_to(self, model: Subject) -> str | None:
        return without_latents(model) if model.stochastic else None

    def per_observation(self, draws: Draws) -> Float64[Tensor, " B"]:
        return -draws.log_px.double().mean(0)

    def monte_carlo_variance(self, draws: Draws) -> Tensor | None:
        return variance_of_mean(draws.log_px)


def unit_kl(posterior: Distribution) -> Float64[Tensor, "B L"]:
    """KL(q(z_i|x)‖N(0, 1)) of every unit, nats, in float64. Each unit is normal; the units may depend on each other."""
    return kl_from_standard_normal(Normal(posterior.mean.double(), posterior.stddev.double(), validate_args=False))


def unit_rates(draws: Draws) -> Float64[Tensor, "B L"]:
    """The rate of every unit, nats: KL(q(z_i|x)‖N(0, 1)), or what the model says of units with a layer before them."""
    return unit_kl(draws.posterior) if draws.unit_rates is None else draws.unit_rates.double()


def without_latents(model: Subject) -> str | None:
    """The reason why a model has no p(z) and q(z|x), or None."""
    return without_densities(model, *(form for form in Form if form is not Form.NONE))


def without_unit_priors(model: Subject) -> str | None:
    """The reason why a model has no KL for a single unit, or None."""
    if (reason := without_densities(model, Form.DIAGONAL, Form.GAUSSIAN)) is not None:
        return reason
    return None if model.standard_normal_prior else f"the prior of this {type(model).__name__} is not N(0, I)"


@METRICS.register
class KLPerUnit(MeanOverObservations):
    """E_x KL(q(z_i|x)‖p(z_i)) of every unit, in closed form, nats; an array in the order of the units.

    Where units have a layer before them, it is their rate E_q[log q(z_i|·) − log p(z_i|·)] given it, over the K draws.
    """

    def applies_to(self, model: Subject) -> str | None:
        return None if model.form is Form.LAYERED else without_unit_priors(model)

    def columns(self, draws: int) -> Mapping[str, Description]:
        return {}

    def observe(self, draws: Draws) -> Float64[Tensor, "B L"]:
        return unit_rates(draws)

    def estimates(self, columns: Columns) -> tuple[Estimate, ...]:
        return (Estimate(UNIT_RATES, columns.mean.tolist(), n=columns.n),)
