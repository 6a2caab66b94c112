"""The importance-weighted bounds."""

import torch
from jaxtyping import Float64
from torch import Tensor
from torchmetrics.utilities.data import dim_zero_cat

from vaebench.config.registry import METRICS, DrawsDivisors
from vaebench.evaluation import bounds
from vaebench.evaluation.metrics.base import Columns, MeanOverObservations
from vaebench.evaluation.pareto import pareto_k, summary
from vaebench.models.draws import Draws
from vaebench.records.record import Estimate
from vaebench.records.weights import Weights

SIZES = (1, 5, 50, 500, 5000)
"""The k of the bounds where a study does not choose."""


@METRICS.register
class IWAE(MeanOverObservations):
    """Importance-weighted bounds E[log (1/k) Σ w] for several k from the same draws, nats per observation
    (Burda et al. 2016).

    Biased downwards, towards log p(x) as k grows. The bound at k = K, a single group of draws, says how far its weights
    can be trusted. Those at k < K are means over K/k groups, whose spread is their error whatever the weights are.

    Args:
        k: sizes of the bounds, each a divisor of the number of draws; those of 1, 5, 50, 500, 5000 that are, if None.
    """

    higher_is_better = True
    shapes: list[Tensor]
    effective: list[Tensor]

    def __init__(self, *, k: DrawsDivisors | None = None) -> None:
        super().__init__()
        self.k = k
        self.sizes: tuple[int, ...] = ()
        self._groups: list[Tensor] = []
        for name in ("shapes", "effective"):
            self.add_state(name, [], dist_reduce_fx="cat")

    def columns(self, draws: int) -> tuple[str, ...]:
        return tuple(f"iwae_{k}" for k in self._sizes(draws))

    def _sizes(self, draws: int) -> tuple[int, ...]:
        return self.k or tuple(k for k in SIZES if draws % k == 0)

    def update(self, draws: Draws) -> None:
        log_weight = draws.log_weight.double()
        self.draws, self.sizes = len(log_weight), self._sizes(len(log_weight))
        if self.draws in self.sizes:
            self.shapes.append(draws.of_weights(pareto_k))
            self.effective.append(draws.of_weights(bounds.effective_sample_size))
        self._groups = bounds.iwae_curve(log_weight, self.sizes)
        super().update(draws)
        self._groups = []

    def observe(self, draws: Draws) -> Float64[Tensor, "B C"]:
        return torch.stack([groups.mean(0) for groups in self._groups], 1)

    def monte_carlo_variance(self, draws: Draws) -> Float64[Tensor, "B C"] | None:
        variances = [bounds.variance_of_groups(groups, draws.log_weight) for groups in self._groups]
        told = [variance for variance in variances if variance is not None]
        return torch.stack(told, 1) if told else None

    def estimates(self, columns: Columns) -> tuple[Estimate, ...]:
        noise = [None] * len(self.sizes) if columns.monte_carlo_error is None else columns.monte_carlo_error.tolist()
        rows = zip(self.sizes, columns.mean.tolist(), columns.standard_error.tolist(), noise, strict=True)
        return tuple(
            Estimate(f"iwae_{k}", mean, se, columns.n, mc, weights=self._weights(k)) for k, mean, se, mc in rows
        )

    def _weights(self, k: int) -> Weights | None:
        if k < self.draws:
            return None
        return summary(dim_zero_cat(self.shapes), dim_zero_cat(self.effective), k)
