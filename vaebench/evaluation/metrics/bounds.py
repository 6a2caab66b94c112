"""Bounds on log p(x), ELBO and IWAE, and how far their importance weights can be trusted: ESS and Pareto k̂."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from jaxtyping import Float64
from torch import Tensor
from torchmetrics.utilities.data import dim_zero_cat

from vaebench.config.registry import METRICS, DrawsDivisors
from vaebench.evaluation import bounds
from vaebench.evaluation.bounds import FEWEST_IN_TAIL, median_reliability, pareto_k, tail_length
from vaebench.evaluation.metrics.base import Columns, MeanOverObservations, Metric, ScalarMean, variance_of_mean
from vaebench.models.draws import Draws
from vaebench.records.description import HEAVY_TAIL, Description, Direction, Panel, Role, Weights
from vaebench.records.record import Estimate, NotApplicable


@METRICS.register
class ELBO(ScalarMean):
    """Evidence lower bound E_q[log w], nats per observation (Kingma & Welling 2014).

    The mean over all K draws; unbiased. It is minus the sum of the rate and the distortion of the same draws.
    """

    reads_log_densities_only = True

    column = "elbo"
    description = Description("ELBO", Panel.BOUNDS, 10, "nats", Direction.HIGHER, role=Role.BOUND)
    identities: ClassVar[Mapping[str, Sequence[Mapping[str, float]]]] = {
        "elbo": ({"iwae_1": 1}, {"rate": -1, "distortion": -1})
    }

    def per_observation(self, draws: Draws) -> Float64[Tensor, " B"]:
        return bounds.elbo(draws.log_weight)

    def monte_carlo_variance(self, draws: Draws) -> Tensor | None:
        return variance_of_mean(draws.log_weight)


SIZES = (1, 5, 50, 500, 5000)  # the k of the bounds where a study does not choose


@METRICS.register
class IWAE(MeanOverObservations):
    """Importance-weighted bounds E[log (1/k) Σ w] for several k from the same draws, nats per observation
    (Burda et al. 2016).

    Biased downwards, towards log p(x) as k grows. The bound at k = K, a single group of draws, says how far its weights
    can be trusted. Those at k < K are means over K/k groups, whose spread is their error whatever the weights are.

    Args:
        k: sizes of the bounds, each a divisor of the number of draws; those of 1, 5, 50, 500, 5000 that are, if None.
    """

    reads_log_densities_only = True

    shapes: list[Tensor]
    effective: list[Tensor]

    def __init__(self, *, k: DrawsDivisors | None = None) -> None:
        super().__init__()
        self.k = k
        self.sizes: tuple[int, ...] = ()
        self._groups: list[Tensor] = []  # of the batch that `update` takes in, for each size

    def columns(self, draws: int) -> Mapping[str, Description]:
        described = Description("", Panel.BOUNDS, 20, "nats", Direction.HIGHER, role=Role.BOUND)
        return {f"iwae_{k}": described._replace(heading=f"IWAE-{k}") for k in self._sizes(draws)}

    def _sizes(self, draws: int) -> tuple[int, ...]:
        return tuple(self.k or (k for k in SIZES if draws % k == 0))

    def update(self, draws: Draws) -> None:
        log_weight = draws.log_weight.double()
        self.draws, self.sizes = len(log_weight), self._sizes(len(log_weight))
        if self.draws in self.sizes:
            self.shapes.append(draws.of_weights(pareto_k))
            self.effective.append(draws.of_weights(bounds.effective_sample_size))
        self._groups = bounds.iwae_groups_by_size(log_weight, self.sizes)
        super().update(draws)
        self._groups = []

    def observe(self, draws: Draws) -> Float64[Tensor, "B C"]:
        return torch.stack([groups.mean(0) for groups in self._groups], 1)

    def monte_carlo_variance(self, draws: Draws) -> Float64[Tensor, "B C"] | None:
        variances = [bounds.variance_of_groups(groups, draws.log_weight) for groups in self._groups]
        known = [variance for variance in variances if variance is not None]
        return torch.stack(known, 1) if known else None

    def estimates(self, columns: Columns) -> tuple[Estimate, ...]:
        estimates = columns.estimates([f"iwae_{k}" for k in self.sizes])
        return tuple(e._replace(weights=self._weights(k)) for k, e in zip(self.sizes, estimates, strict=True))

    def _weights(self, k: int) -> Weights | None:
        if k < self.draws:
            return None
        # On the CPU: a few numbers, for which a GPU would start thirty kernels.
        return median_reliability(dim_zero_cat(self.shapes).cpu(), dim_zero_cat(self.effective).cpu(), k)


@METRICS.register
class EffectiveSampleSize(Metric):
    """Effective sample size (Σw)²/Σw² of the K draws, median and 5 % quantile over observations (Kong 1992).

    Between 1 and K. Itself estimated from the weights, so a heavy tail that no draw has met does not show.
    """

    reads_log_densities_only = True

    sizes: list[Tensor]

    def columns(self, draws: int) -> Mapping[str, Description]:
        described = Description("", Panel.BOUNDS, unit="draws", better=Direction.HIGHER, ranked=False)
        return {
            "effective_sample_size_median": described._replace(heading="ESS median", place=40),
            "effective_sample_size_5%": described._replace(heading="ESS 5 %", place=50),
        }

    def update(self, draws: Draws) -> None:
        self.sizes.append(draws.of_weights(bounds.effective_sample_size))

    def compute(self) -> tuple[Estimate, ...]:
        sizes = torch.cat(self.sizes) if isinstance(self.sizes, list) else self.sizes
        low, median = torch.quantile(sizes, sizes.new_tensor([0.05, 0.5])).tolist()
        return (
            Estimate("effective_sample_size_median", median, n=len(sizes)),
            Estimate("effective_sample_size_5%", low, n=len(sizes)),
        )


@METRICS.register
class ParetoK(Metric):
    """Pareto k̂, the shape of the tail of each observation's K importance weights (Vehtari et al. 2024): the median
    over observations, and the share above 0.7.

    Weights of shape k have 1/k finite moments: from 0.5 on no variance, from 1 on no mean. The generalised Pareto
    distribution is fitted to the largest min(K/5, 3√K) weights, so at least 25 draws are needed. k̂ is safe only below
    1 − 1/log10(K), which is less than 0.7 for fewer than about 2200 draws; then the share is too low. k̂ is pulled
    towards 0.5 with the weight of ten draws, and has a standard deviation of about (1 + k)/√(tail). If the largest
    weights are equal, there is no tail and no k̂.
    """

    reads_log_densities_only = True

    shapes: list[Tensor]
    not_finite: Tensor
    draws: int = 0

    def columns(self, draws: int) -> Mapping[str, Description]:
        described = Description("", Panel.BOUNDS, better=Direction.LOWER, ranked=False)
        return {
            "pareto_k_median": described._replace(heading="Pareto k median", place=60),
            f"pareto_k_above_{HEAVY_TAIL:g}": described._replace(heading=f"share of k > {HEAVY_TAIL:g}", place=70),
        }

    def update(self, draws: Draws) -> None:
        self.draws = len(draws.log_weight)
        self.shapes.append(draws.of_weights(pareto_k))
        self.not_finite = self.not_finite + (~(draws.log_weight < torch.inf)).any(0).sum()  # NaN is not below infinity

    def compute(self) -> tuple[Estimate | NotApplicable, ...]:
        shapes = dim_zero_cat(self.shapes)
        n, names = len(shapes), tuple(self.columns(self.draws))
        fitted = shapes[~shapes.isnan()]
        if not len(fitted):
            return tuple(NotApplicable(name, self._why_none(n)) for name in names)
        note = self._why_not_all(n, len(fitted)) or None
        values = float(fitted.quantile(0.5)), float((fitted > HEAVY_TAIL).sum()) / n
        return tuple(Estimate(name, value, n=n, note=note) for name, value in zip(names, values, strict=True))

    def _why_none(self, n: int) -> str:
        """Why no observation has a k̂."""
        if tail_length(self.draws) < FEWEST_IN_TAIL:
            return f"{FEWEST_IN_TAIL * FEWEST_IN_TAIL} draws are the fewest that have a tail, got {self.draws}"
        if self.not_finite:
            return self._why_not_all(n, 0)
        return "the largest weights of every observation are tied: there is no tail"

    def _why_not_all(self, n: int, fitted: int) -> str:
        """Why some of n observations have no k̂; empty if all have one."""
        not_finite = int(self.not_finite)
        tied = n - fitted - not_finite
        notes = [f"the largest weights of {tied} of {n} observations are tied"] if tied > 0 else []
        notes += [f"some weights of {not_finite} of {n} observations are not finite"] if not_finite else []
        return "; ".join(notes)
