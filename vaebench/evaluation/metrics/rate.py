"""The two parts of the ELBO, rate and distortion, and the rate of every unit and of every layer."""

from collections.abc import Mapping

from jaxtyping import Float64
from torch import Tensor
from torch.distributions import Distribution, Normal

from vaebench.config.registry import METRICS, Positive
from vaebench.evaluation.metrics.base import (
    Columns,
    MeanOverObservations,
    MeasuredModel,
    Metric,
    ScalarMean,
    count_above,
    variance_of_mean,
    without_densities,
    without_latents,
    without_unit_priors,
)
from vaebench.models.draws import Draws
from vaebench.models.parts.posteriors import Form, TwoLayers, kl_from_standard_normal
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

    def why_not_applicable(self, model: MeasuredModel) -> str | None:
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

    def why_not_applicable(self, model: MeasuredModel) -> str | None:
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


@METRICS.register
class KLPerUnit(MeanOverObservations):
    """E_x KL(q(z_i|x)‖p(z_i)) of every unit, in closed form, nats; an array in the order of the units.

    Where units have a layer before them, it is their rate E_q[log q(z_i|·) − log p(z_i|·)] given it, over the K draws.
    """

    def why_not_applicable(self, model: MeasuredModel) -> str | None:
        return None if model.form is Form.LAYERED else without_unit_priors(model)

    def columns(self, draws: int) -> Mapping[str, Description]:
        return {}

    def observe(self, draws: Draws) -> Float64[Tensor, "B L"]:
        return unit_rates(draws)

    def estimates(self, columns: Columns) -> tuple[Estimate, ...]:
        return (Estimate(UNIT_RATES, columns.mean.tolist(), n=columns.n),)


@METRICS.register
class Layers(Metric):
    """Rate and active units of each of two stochastic layers, nats per observation (Burda et al. 2016).

    The rate of a layer is E_q[log q(z_l|·) − log p(z_l|·)] over the K draws, each given the layer before; the two add
    up to the rate. Active units are counted as by `ActiveUnits`, from E_q[z|x]. In draws of a model with one layer, all
    units are of z₁.

    Args:
        threshold: a variance, above which a unit is active.
    """

    count: Tensor
    rate: Tensor
    total: Tensor
    squares: Tensor

    def __init__(self, *, threshold: Positive = 0.01) -> None:
        super().__init__()
        self.threshold, self.lower = threshold, 0

    def why_not_applicable(self, model: MeasuredModel) -> str | None:
        if model.form is Form.LAYERED:
            return None
        return without_densities(model, *Form) or f"{type(model).__name__} has one layer of latent units"

    def columns(self, draws: int) -> Mapping[str, Description]:
        described = Description("", Panel.OBJECTIVE)
        return {
            "rate_layer_1": described._replace(heading="rate of z₁", place=52, unit="nats"),
            "rate_layer_2": described._replace(heading="rate of z₂", place=54, unit="nats"),
            "active_units_layer_1": described._replace(heading="active units of z₁", place=92),
            "active_units_layer_2": described._replace(heading="active units of z₂", place=94),
        }

    def update(self, draws: Draws) -> None:
        posterior, code = draws.posterior, draws.posterior.mean.double()
        self.lower = posterior.first.mean.shape[-1] if isinstance(posterior, TwoLayers) else code.shape[-1]
        self.count = self.count + len(code)
        self.rate = self.rate + unit_rates(draws).sum(0)
        self.total = self.total + code.sum(0)
        self.squares = self.squares + code.square().sum(0)

    def compute(self) -> tuple[Estimate, ...]:
        n, rate = int(self.count), self.rate / self.count
        variance = self.squares / self.count - (self.total / self.count).square()
        layers = (slice(self.lower), slice(self.lower, None))
        values = [
            *(float(rate[units].sum()) for units in layers),
            *(count_above(variance[units], self.threshold) for units in layers),
        ]
        return tuple(Estimate(name, value, n=n) for name, value in zip(self.columns(1), values, strict=True))
