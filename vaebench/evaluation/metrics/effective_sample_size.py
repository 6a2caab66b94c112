"""How many draws a bound really rests on."""

import torch
from torch import Tensor

from vaebench.config.registry import METRICS
from vaebench.evaluation import bounds
from vaebench.evaluation.metrics.base import Diagnostic
from vaebench.models.draws import Draws
from vaebench.records.record import Estimate


@METRICS.register
class EffectiveSampleSize(Diagnostic):
    """Effective sample size (Σw)²/Σw² of the K draws, median and 5 % quantile over observations (Kong 1992).

    Between 1 and K. Itself estimated from the weights, so a heavy tail that no draw has met does not show.
    """

    higher_is_better = True
    sizes: list[Tensor]

    def __init__(self) -> None:
        super().__init__()
        self.add_state("sizes", [], dist_reduce_fx="cat")

    def columns(self, draws: int) -> tuple[str, ...]:
        return ("effective_sample_size_median", "effective_sample_size_5%")

    def update(self, draws: Draws) -> None:
        self.sizes.append(draws.of_weights(bounds.effective_sample_size))

    def compute(self) -> tuple[Estimate, ...]:
        sizes = torch.cat(self.sizes) if isinstance(self.sizes, list) else self.sizes
        low, median = torch.quantile(sizes, sizes.new_tensor([0.05, 0.5])).tolist()
        return (
            Estimate("effective_sample_size_median", median, n=len(sizes)),
            Estimate("effective_sample_size_5%", low, n=len(sizes)),
        )
