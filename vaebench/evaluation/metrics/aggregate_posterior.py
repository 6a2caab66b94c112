"""The aggregate posterior q(z) of a whole split, and the parts into which it splits the rate."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Float, Float64
from torch import Tensor
from torch.distributions import Normal
from torchmetrics.utilities.data import dim_zero_cat

from vaebench.config.registry import METRICS
from vaebench.evaluation.metrics.base import MeasuredModel, Metric, without_densities, without_unit_priors
from vaebench.models.draws import ChunkSize, Draws
from vaebench.models.parts.posteriors import Form
from vaebench.records.description import Description, Panel
from vaebench.records.record import Estimate

DENSITIES = ChunkSize(2**18, 2**25)  # densities at a time, 8 bytes each


@dataclass(frozen=True, eq=False)
class AggregatePosterior:
    """q(z) = (1/N) Σ_n q(z|x_n), a mixture of N diagonal Gaussians, and its one-dimensional marginals, in float64.

    The logarithm of a Gaussian density is a sum of three terms, in z², in z and in 1. So the logarithms for M points
    and all N components are one matrix product, of rows (z², z, 1) and columns (−1/2s², μ/s², c), where c does not
    depend on z. For the joint density the product sums over all L units, for a marginal over one. Only a block of the
    points is computed at a time, so that memory stays small.

    The terms nearly cancel where z/s is large, and the sum loses about eps·(z/s)². That is less than the draws have
    lost before, which are float32, unless z/s > 1e8.
    """

    mean: Float64[Tensor, "N L"]  # μ, `[N, L]`
    std: Float64[Tensor, "N L"]  # s, `[N, L]`

    def log_prob(self, z: Float64[Tensor, "M L"]) -> Float64[Tensor, " M"]:
        """log q(z)."""
        square, linear, constant = self._exponents
        components = torch.cat([square, linear, constant.sum(1, keepdim=True)], 1).mT
        points = torch.cat([z.square(), z, torch.ones_like(z[:, :1])], 1)
        # Results go to a place of their own: small ones left between the blocks would keep the allocator from reuse.
        log_q, buffer = torch.empty_like(z[:, 0]), self._buffer(z)
        for block, result in zip(points.split(self._rows), log_q.split(self._rows), strict=True):
            exponents = torch.mm(block, components, out=buffer[: len(block)])
            largest = exponents.amax(1)
            result.copy_(exponents.sub_(largest[:, None]).exp_().sum(1).log_().add_(largest))
        return log_q - math.log(len(self.mean))

    def log_prob_units(self, z: Float64[Tensor, "M L"], at_least: Float64[Tensor, "M L"]) -> Float64[Tensor, "M L"]:
        """log q(z_i) of every unit.

        Args:
            z: the points.
            at_least: at every z_i the log-density of one of the N components; which one does not matter. It is
                subtracted from the exponents, so that their largest is not below 0 and the sum not below 1. To subtract
                the largest itself would take one pass more. The sum overflows only if the chosen component is e^700
                times wider than another.
        """
        log_q, buffer = torch.empty_like(z), self._buffer(z)
        for i in range(z.shape[1]):
            log_q[:, i] = self._unit(i, z[:, i], at_least[:, i], buffer)
        return log_q - math.log(len(self.mean))

    def _unit(self, i: int, z: Tensor, at_least: Tensor, buffer: Tensor) -> Float64[Tensor, " M"]:
        ones, sums = torch.ones_like(self.mean[:, i]), torch.empty_like(z)
        components = torch.stack([*(part[:, i] for part in self._exponents), ones])
        points = torch.stack([z.square(), z, torch.ones_like(z), -at_least], 1)
        for block, result in zip(points.split(self._rows), sums.split(self._rows), strict=True):
            torch.mv(torch.mm(block, components, out=buffer[: len(block)]).exp_(), ones, out=result)
        return at_least + sums.log()

    def _buffer(self, z: Tensor) -> Float64[Tensor, "R N"]:
        return torch.empty(self._rows, len(self.mean), dtype=z.dtype, device=z.device)

    @property
    def _rows(self) -> int:
        return max(1, DENSITIES.on(self.mean) // len(self.mean))

    @cached_property
    def _exponents(self) -> tuple[Tensor, Tensor, Tensor]:
        """Factors of z², of z and of 1 in log q(z_i|x_n), `[N, L]` each."""
        precision = self.std.square().reciprocal()
        constant = -0.5 * precision * self.mean.square() - self.std.log() - 0.5 * math.log(2 * math.pi)
        return -0.5 * precision, self.mean * precision, constant


class Sample(NamedTuple):
    """The kept draws of a split with their log-densities, and the aggregate posterior they are drawn from."""

    aggregate: AggregatePosterior  # q(z)
    z: Float64[Tensor, "N S L"]  # the S kept draws of each observation, `[N, S, L]`
    unit_log_qz: Float64[Tensor, "N S L"]  # log q(z_i|x_n), `[N, S, L]`, from the posterior's parameters
    log_pz: Float64[Tensor, "N S"]  # log p(z) as the model gave it, `[N, S]`
    log_qz: Float64[Tensor, "N S"]  # log q(z|x_n) as the model gave it, `[N, S]`
    rounding: float  # what the model's precision may have added to a mean of log_qz − log_pz

    @property
    def log_aggregate(self) -> Float64[Tensor, "N S"]:
        """log q(z)."""
        return self.aggregate.log_prob(self.z.flatten(0, 1)).view(self.log_qz.shape)

    @property
    def unit_log_aggregate(self) -> Float64[Tensor, "N S L"]:
        """log q(z_i)."""
        points, own = self.z.flatten(0, 1), self.unit_log_qz.flatten(0, 1)
        return self.aggregate.log_prob_units(points, own).view(self.z.shape)

    def gap(self, parts: float) -> tuple[float, str | None]:
        """R less the sum of its parts, R being that of the same draws, and a remark if that is more than rounding."""
        gap = float((self.log_qz - self.log_pz).mean()) - parts
        beyond = f"the parts miss the rate of the same draws by {gap:.3g} nats"
        return gap, beyond if abs(gap) > self.rounding else None


class AggregateMetric(Metric):
    """Keeps a split's posteriors and kept draws until all of them are there, of all processes."""

    mean: list[Tensor]
    std: list[Tensor]
    z: list[Tensor]
    log_pz: list[Tensor]
    log_qz: list[Tensor]

    def why_not_applicable(self, model: MeasuredModel) -> str | None:
        return without_densities(model, Form.DIAGONAL)

    def update(self, draws: Draws) -> None:
        kept = len(draws.z)
        self.mean.append(draws.posterior.mean)
        self.std.append(draws.posterior.stddev)
        self.z.append(draws.z.transpose(0, 1))
        self.log_pz.append(draws.log_pz[:kept].mT)
        self.log_qz.append(draws.log_qz[:kept].mT)

    def sample(self) -> Sample:
        """What was taken in."""
        mean, std, z, log_pz, log_qz = map(dim_zero_cat, (self.mean, self.std, self.z, self.log_pz, self.log_qz))
        size = float((log_pz.abs() + log_qz.abs()).double().mean())
        rounding = 64 * torch.finfo(log_qz.dtype).eps * (1 + size)
        mean, std, z = mean.double(), std.double(), z.double()
        own = Normal(mean[:, None], std[:, None], validate_args=False).log_prob(z)
        return Sample(AggregatePosterior(mean, std), z, own, log_pz.double(), log_qz.double(), rounding)


def estimate(name: str, values: Float[Tensor, "N S"], *remarks: str | None) -> Estimate:
    """A mean over observations and kept draws.

    The standard error is that of independent values. They are not quite independent: the posterior of one observation
    is a part of q(z), and so moves log q(z) at the draws of all others. To first order it moves it by
    (q(z|x)/q(z) − 1)/N, and the mean of that over z ~ q(z) is 0.
    """
    n, kept = values.shape
    means = values.mean(1)
    error = float((means.var() / n).sqrt()) if n > 1 else None
    monte_carlo_error = float((values.var(1) / kept).sum().sqrt()) / n if kept > 1 else None
    return Estimate(name, float(means.mean()), error, n, monte_carlo_error, "; ".join(filter(None, remarks)) or None)


SATURATED = 0.1  # nats below its cap where the mutual information no longer tells


@METRICS.register
class RateDecomposition(AggregateMetric):
    """R = I_q(x;z) + KL(q(z)‖p(z)), nats per observation, with q(z) = (1/N) Σ_n q(z|x_n) over the whole evaluated
    split (Hoffman & Johnson 2016).

    I is the mean of log q(z_n|x_n) − log q(z_n) at the kept draws. It is unbiased for the mutual information of z and
    the number of an observation in the split, and never above log N, the cap. As an estimate for all x it is too low,
    by (E[q(z|x)/q(z)] − 1)/2N to first order. KL(q(z)‖p(z)) is too high by the same amount. Within 0.1 nats of the cap,
    I is marked as saturated. The prior may be any. The parts must add up to the rate of the same draws; a note says
    where they do not.
    """

    def columns(self, draws: int) -> Mapping[str, Description]:
        return {
            "mutual_information": Description("I(x;z)", Panel.RATE, 10, "nats"),
            "mutual_information_cap": Description("its cap log N", Panel.RATE, 20, "nats"),
            "aggregate_kl": Description("aggregate KL", Panel.RATE, 30, "nats"),
        }

    def compute(self) -> tuple[Estimate, ...]:
        sample = self.sample()
        log_q = sample.log_aggregate
        information, aggregate_kl = sample.unit_log_qz.sum(-1) - log_q, log_q - sample.log_pz
        _, remark = sample.gap(float((information + aggregate_kl).mean()))
        cap = math.log(len(log_q))
        near = float(information.mean()) > cap - SATURATED
        saturated = f"saturated: within {SATURATED:g} nats of its cap log N = {cap:.4g}" if near else None
        return (
            estimate("mutual_information", information, saturated, remark),
            Estimate("mutual_information_cap", cap, n=len(log_q)),
            estimate("aggregate_kl", aggregate_kl, saturated, remark),
        )


@METRICS.register
class TotalCorrelation(AggregateMetric):
    """KL(q(z)‖p(z)) = TC + Σ_i KL(q(z_i)‖p(z_i)), TC = KL(q(z)‖Π_i q(z_i)), nats per observation, with q(z) =
    (1/N) Σ_n q(z|x_n) over the whole evaluated split (Chen et al. 2018).

    Means at the kept draws of log q(z) − Σ_i log q(z_i) and log q(z_i) − log p(z_i). They are unbiased for the split's
    own q(z), so a small one may come out below zero. As an estimate for all x, the KL of a unit is too high by
    (E[q(z_i|x)/q(z_i)] − 1)/2N to first order. The total correlation is too high by the rest of the bias of
    KL(q(z)‖p(z)) (see `RateDecomposition`). It costs N²L exponentials. The array `rate_identity` has R of the same
    draws, I, TC, Σ_i KL_i, R − (I + TC + Σ_i KL_i), and the largest difference that rounding explains. If the
    difference is larger, a note beside the numbers says so.
    """

    def why_not_applicable(self, model: MeasuredModel) -> str | None:
        return super().why_not_applicable(model) or without_unit_priors(model)

    def columns(self, draws: int) -> Mapping[str, Description]:
        return {
            "total_correlation": Description("total correlation", Panel.RATE, 40, "nats"),
            "dimension_kl": Description("dimension-wise KL", Panel.RATE, 50, "nats"),
        }

    def compute(self) -> tuple[Estimate, ...]:
        sample = self.sample()
        log_q, units = sample.log_aggregate, sample.unit_log_aggregate
        information = float((sample.unit_log_qz.sum(-1) - log_q).mean())
        correlation, unit_kl = log_q - units.sum(-1), units - Normal(0.0, 1.0).log_prob(sample.z)
        parts = [information, float(correlation.mean()), float(unit_kl.sum(-1).mean())]
        gap, remark = sample.gap(sum(parts))
        n = len(log_q)
        return (
            estimate("total_correlation", correlation, remark),
            estimate("dimension_kl", unit_kl.sum(-1), remark),
            Estimate("dimension_kl_per_unit", unit_kl.mean((0, 1)).tolist(), n=n),
            Estimate("rate_identity", [sum(parts) + gap, *parts, gap, sample.rounding], n=n),
        )
