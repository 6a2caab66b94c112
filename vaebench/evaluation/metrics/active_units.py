"""Which units say something of x."""

import torch
from torch import Tensor

from vaebench.config.registry import METRICS, Positive
from vaebench.evaluation.metrics.base import Diagnostic
from vaebench.models.draws import Draws
from vaebench.records.record import Estimate


@METRICS.register
class ActiveUnits(Diagnostic):
    """Active units #{i : Var_x(E_q[z_i|x]) > threshold} over the whole split (Burda et al. 2016).

    The variance divides by N, as the oracle's does; the sorted spectrum of variances is reported with the count.

    Args:
        threshold: a variance (not a standard deviation).
    """

    count: Tensor
    total: Tensor
    squares: Tensor

    def __init__(self, *, threshold: Positive = 0.01) -> None:
        super().__init__()
        self.threshold = threshold
        for name in ("count", "total", "squares"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def columns(self, draws: int) -> tuple[str, ...]:
        return ("active_units",)

    def update(self, draws: Draws) -> None:
        code = draws.posterior.mean.double()
        self.count = self.count + len(code)
        self.total = self.total + code.sum(0)
        self.squares = self.squares + code.square().sum(0)

    def compute(self) -> tuple[Estimate, ...]:
        variance = (self.squares / self.count - (self.total / self.count).square()).clamp(min=0)
        spectrum = variance.sort(descending=True).values
        n = int(self.count)
        return (
            Estimate("active_units", float((spectrum > self.threshold).sum()), n=n),
            Estimate("variance_spectrum", spectrum.tolist(), n=n),
        )
