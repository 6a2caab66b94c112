"""How much of the variance of the data a reconstruction explains."""

from collections.abc import Mapping

import torch
from torch import Tensor

from vaebench.config.registry import METRICS
from vaebench.evaluation.metrics.base import Diagnostic, Subject
from vaebench.models.draws import Draws
from vaebench.records.description import Description, Direction, Panel
from vaebench.records.record import Estimate, NotApplicable


@METRICS.register
class ExplainedVariance(Diagnostic):
    """1 − Σ‖x − x̂‖² / Σ‖x − x̄‖², both sums over the whole split, x̄ its mean; at most 1.

    It is one ratio of two sums. A mean of the ratios of batches or observations is another number, because it gives
    observations near the mean a large weight.
    """

    error: Tensor
    squares: Tensor
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("error", "squares", "total", "count"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def applies_to(self, model: Subject) -> str | None:
        return None

    def columns(self, draws: int) -> Mapping[str, Description]:
        described = Description("explained variance", Panel.REPRESENTATION, 5, better=Direction.HIGHER)
        return {"explained_variance": described}

    def update(self, draws: Draws) -> None:
        x = draws.x.double().flatten(1)
        self.error = self.error + (x - draws.reconstruction.double().flatten(1)).square().sum()
        self.squares = self.squares + x.square().sum()
        self.total = self.total + x.sum(0)
        self.count = self.count + len(x)

    def compute(self) -> tuple[Estimate | NotApplicable, ...]:
        n = int(self.count)
        variance = float(self.squares - self.total.square().sum() / n)
        if variance <= 1e-12 * float(self.squares):
            return (NotApplicable("explained_variance", "all observations are equal: there is no variance"),)
        return (Estimate("explained_variance", 1 - float(self.error) / variance, n=n),)
