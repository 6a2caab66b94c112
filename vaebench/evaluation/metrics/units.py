"""Which latent units carry information about x, which have collapsed to the prior, and which a sparse code uses."""

from collections.abc import Mapping

import torch
from jaxtyping import Float64
from torch import Tensor

from vaebench.config.registry import METRICS, Fraction, Positive
from vaebench.evaluation.metrics.base import (
    MeasuredModel,
    Metric,
    ScalarMean,
    count_above,
    without_latents,
    without_unit_priors,
)
from vaebench.evaluation.metrics.rate import unit_kl
from vaebench.models.draws import Draws
from vaebench.models.parts.posteriors import POINTS, OverFixedNoises
from vaebench.records.description import Description, Direction, Panel, Role
from vaebench.records.record import COLLAPSED, EPSILONS, Estimate


@METRICS.register
class ActiveUnits(Metric):
    """Active units #{i : Var_x(E_q[z_i|x]) > threshold} over the whole split (Burda et al. 2016).

    The variance divides by N, as the oracle's does; the sorted spectrum of variances is reported with the count. The
    mean of a flow, or of a second layer, has no closed form: it is taken over fixed noises, the same for each x, and
    the count says so.

    Args:
        threshold: a variance (not a standard deviation).
    """

    reads_codes_only = True
    count: Tensor
    total: Tensor
    squares: Tensor
    sampled: Tensor

    def __init__(self, *, threshold: Positive = 0.01) -> None:
        super().__init__()
        self.threshold = threshold

    def why_not_applicable(self, model: MeasuredModel) -> str | None:
        return without_latents(model)

    def columns(self, draws: int) -> Mapping[str, Description]:
        return {"active_units": Description("active units", Panel.OBJECTIVE, 90, role=Role.ACTIVE_UNITS)}

    def update(self, draws: Draws) -> None:
        code = draws.posterior.mean.double()
        self.count = self.count + len(code)
        self.sampled = self.sampled + len(code) * isinstance(draws.posterior, OverFixedNoises)
        self.total = self.total + code.sum(0)
        self.squares = self.squares + code.square().sum(0)

    def compute(self) -> tuple[Estimate, ...]:
        variance = (self.squares / self.count - (self.total / self.count).square()).clamp(min=0)
        spectrum = variance.sort(descending=True).values
        n, note = int(self.count), f"E_q[z|x] over {POINTS} fixed noises" if self.sampled else None
        return (
            Estimate("active_units", count_above(spectrum, self.threshold), n=n, note=note),
            Estimate("variance_spectrum", spectrum.tolist(), n=n),
        )


GRID = tuple(10 ** (exponent / 4) for exponent in range(-16, 9))
"""ε from 1e-4 to 100 nats, four for each power of ten: the axis of the collapse curve."""


@METRICS.register
class CollapsedUnits(Metric):
    """(ε, δ)-collapse: units with P_x[KL(q(z_i|x)‖p(z_i)) < ε] ≥ 1 − δ (Lucas et al. 2019).

    Reported as a count, and as the share of collapsed units over a grid of ε.

    Args:
        epsilon: ε, nats.
        delta: δ, the share of observations that may have a larger KL.
    """

    below: Tensor
    count: Tensor

    def __init__(self, *, epsilon: Positive = 0.01, delta: Fraction = 0.01) -> None:
        super().__init__()
        self.epsilon, self.delta = epsilon, delta

    def why_not_applicable(self, model: MeasuredModel) -> str | None:
        return without_unit_priors(model)

    def columns(self, draws: int) -> Mapping[str, Description]:
        return {"collapsed_units": Description("collapsed units", Panel.OBJECTIVE, 100, role=Role.COLLAPSED_UNITS)}

    def update(self, draws: Draws) -> None:
        kl = unit_kl(draws.posterior)[:, :, None]
        is_below = (kl < kl.new_tensor([self.epsilon, *GRID])).double()
        self.below = self.below + is_below.where(~kl.isnan(), torch.nan).sum(0)  # NaN is neither below nor above
        self.count = self.count + len(kl)

    def compute(self) -> tuple[Estimate, ...]:
        above = self.count - self.below  # [L, 1 + grid]
        collapsed = (above <= self.delta * self.count * (1 + 1e-12)).double().where(~above.isnan(), torch.nan)
        n = int(self.count)
        return (
            Estimate("collapsed_units", float(collapsed[:, 0].sum()), n=n),
            Estimate(COLLAPSED, collapsed[:, 1:].mean(0).tolist(), n=n),
            Estimate(EPSILONS, list(GRID), n=n),
        )


@METRICS.register
class Sparsity(ScalarMean):
    """L0, the mean number of units of a code that are not 0; and dead units, which are 0 for every observation."""

    column = "l0"
    description = Description("L0", Panel.OBJECTIVE, 95)
    used: Tensor

    def why_not_applicable(self, model: MeasuredModel) -> str | None:
        return None if model.sparse else f"the codes of {type(model).__name__} are not sparse"

    def columns(self, draws: int) -> Mapping[str, Description]:
        dead = Description("dead units", Panel.OBJECTIVE, 96, better=Direction.LOWER)
        return {**super().columns(draws), "dead_units": dead}

    def per_observation(self, draws: Draws) -> Tensor:
        return self._used(draws).sum(-1)

    def update(self, draws: Draws) -> None:
        super().update(draws)
        self.used = self.used + self._used(draws).sum(0)

    def compute(self) -> tuple[Estimate, ...]:
        (l0,) = super().compute()
        assert isinstance(l0, Estimate)
        return l0, Estimate("dead_units", count_above(-self.used, -1.0), n=l0.n)

    def _used(self, draws: Draws) -> Float64[Tensor, "B L"]:
        """1 for a unit of a code that is not 0; NaN for one that is NaN."""
        code = draws.posterior.mean
        return (code != 0).double().where(~code.isnan(), torch.nan)
