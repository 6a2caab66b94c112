"""How sparse a code is, and how many units never take part."""

from collections.abc import Mapping

import torch
from torch import Tensor

from vaebench.config.registry import METRICS
from vaebench.evaluation.metrics.base import ScalarMean, Subject
from vaebench.models.draws import Draws
from vaebench.records.description import Description, Direction, Panel
from vaebench.records.record import Estimate


@METRICS.register
class Sparsity(ScalarMean):
    """L0, the mean number of units of a code that are not 0; and dead units, which are 0 for every observation."""

    column = "l0"
    description = Description("L0", Panel.OBJECTIVE, 95)
    used: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("used", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def applies_to(self, model: Subject) -> str | None:
        return None if model.sparse else f"the codes of {type(model).__name__} are not sparse"

    def columns(self, draws: int) -> Mapping[str, Description]:
        dead = Description("dead units", Panel.OBJECTIVE, 96, better=Direction.LOWER)
        return {**super().columns(draws), "dead_units": dead}

    def per_observation(self, draws: Draws) -> Tensor:
        return (draws.posterior.mean != 0).double().sum(-1)

    def update(self, draws: Draws) -> None:
        super().update(draws)
        self.used = self.used + (draws.posterior.mean != 0).double().sum(0)

    def compute(self) -> tuple[Estimate, ...]:
        (l0,) = super().compute()
        assert isinstance(l0, Estimate)
        return l0, Estimate("dead_units", float((self.used == 0).sum()), n=l0.n)
