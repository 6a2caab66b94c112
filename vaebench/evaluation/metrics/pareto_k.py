"""How heavy the tail of the importance weights is."""

from torch import Tensor
from torchmetrics.utilities.data import dim_zero_cat

from vaebench.config.registry import METRICS
from vaebench.evaluation.metrics.base import Blank, Diagnostic
from vaebench.evaluation.pareto import FEWEST, pareto_k, tail_length
from vaebench.models.draws import Draws
from vaebench.records.record import Estimate
from vaebench.records.weights import HEAVY_TAIL


@METRICS.register
class ParetoK(Diagnostic):
    """Pareto k̂, the shape of the tail of each observation's K importance weights (Vehtari et al. 2024): the median
    over observations, and the share above 0.7.

    Weights of shape k have 1/k finite moments: from 0.5 on no variance, from 1 on no mean. The generalised Pareto
    distribution is fitted to the largest min(K/5, 3√K) weights, so 25 draws are the fewest; below some 2200 the share
    is flattering, as k̂ is safe only below 1 − 1/log10(K). k̂ is drawn towards 0.5 with the weight of ten draws and has a
    standard deviation of about (1 + k)/√(tail). Where the largest weights are tied there is no tail and no k̂.
    """

    shapes: list[Tensor]
    draws: int = 0

    def __init__(self) -> None:
        super().__init__()
        self.add_state("shapes", [], dist_reduce_fx="cat")

    def columns(self, draws: int) -> tuple[str, ...]:
        return ("pareto_k_median", f"pareto_k_above_{HEAVY_TAIL:g}")

    def update(self, draws: Draws) -> None:
        self.draws = len(draws.log_weight)
        self.shapes.append(draws.of_weights(pareto_k))

    def compute(self) -> tuple[Estimate | Blank, ...]:
        shapes = dim_zero_cat(self.shapes)
        n, names = len(shapes), self.columns(self.draws)
        fitted = shapes[~shapes.isnan()]
        if not len(fitted):
            few = f"{FEWEST * FEWEST} draws are the fewest that have a tail, got {self.draws}"
            tied = "the largest weights of every observation are tied: there is no tail"
            return tuple(Blank(name, few if tail_length(self.draws) < FEWEST else tied) for name in names)
        note = f"the largest weights of {n - len(fitted)} of {n} observations are tied" if len(fitted) < n else None
        values = float(fitted.quantile(0.5)), float((fitted > HEAVY_TAIL).sum()) / n
        return tuple(Estimate(name, value, n=n, note=note) for name, value in zip(names, values, strict=True))
