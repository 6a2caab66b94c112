"""What each layer of a hierarchical model does: its rate and its active units."""

from collections.abc import Mapping

import torch
from torch import Tensor

from vaebench.config.registry import METRICS, Positive
from vaebench.evaluation.metrics.base import Diagnostic, Subject, without_densities
from vaebench.evaluation.metrics.rate import unit_rates
from vaebench.models.draws import Draws
from vaebench.models.parts.posteriors import Form
from vaebench.models.parts.two_layers import TwoLayers
from vaebench.records.description import Description, Panel
from vaebench.records.record import Estimate


@METRICS.register
class Layers(Diagnostic):
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
        for name in ("count", "rate", "total", "squares"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def applies_to(self, model: Subject) -> str | None:
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
        active = self.squares / self.count - (self.total / self.count).square() > self.threshold
        layers = (slice(self.lower), slice(self.lower, None))
        values = [*(float(rate[units].sum()) for units in layers), *(float(active[units].sum()) for units in layers)]
        return tuple(Estimate(name, value, n=n) for name, value in zip(self.columns(1), values, strict=True))
