"""How reliable the importance weights behind a number are."""

from typing import Annotated, NamedTuple

from pydantic import Field

HEAVY_TAIL = 0.7
"""The Pareto k̂ above which no practical number of draws makes a mean weight reliable (Vehtari et al. 2024)."""


class Weights(NamedTuple):
    """How reliable the importance weights behind an estimate are.

    Attributes:
        pareto_k: k̂, the shape of the weights' tail; the median over observations. None if no tail can be fitted:
            below 25 draws, or if the largest weights are equal.
        effective: effective sample size, between 1 and `draws`; the median over observations.
        draws: K, for each observation.
    """

    pareto_k: Annotated[float, Field(allow_inf_nan=False)] | None
    effective: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    draws: Annotated[int, Field(ge=1)]

    @property
    def unreliable(self) -> bool:
        """Whether a few draws dominate the estimate. Then it may be far from log p(x), and other draws may change it.

        Two conditions must hold: k̂ is above 0.7, and fewer than half of the draws are effective. One condition is not
        enough. If the latent has collapsed, the weights are nearly equal: then nearly all draws are effective, and k̂
        is noise. Without a k̂ (a few annealed chains) the condition is that fewer than two draws are effective.
        """
        few = self.effective < self.draws / 2
        return few and (self.effective < 2 if self.pareto_k is None else self.pareto_k > HEAVY_TAIL)
