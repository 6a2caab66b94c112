"""How far the importance weights behind a number can be trusted."""

from typing import Annotated, NamedTuple

from pydantic import Field

HEAVY_TAIL = 0.7
"""The Pareto k̂ above which no practical number of draws makes a mean weight reliable (Vehtari et al. 2024)."""


class Weights(NamedTuple):
    """How far the importance weights behind an estimate can be trusted.

    Attributes:
        pareto_k: k̂, the shape of the weights' tail; the median over observations. None where no tail can be fitted:
            below 25 draws, or where the largest weights are equal.
        effective: effective sample size, between 1 and `draws`; the median over observations.
        draws: K, of each observation.
    """

    pareto_k: Annotated[float, Field(allow_inf_nan=False)] | None
    effective: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    draws: Annotated[int, Field(ge=1)]

    @property
    def unreliable(self) -> bool:
        """Whether a few draws carry the estimate, so that it may be far from log p(x) and other draws may move it.

        Both signs are asked for: k̂ above 0.7, and fewer effective draws than half of all. One alone says little. The
        weights of a model whose latent has collapsed are all but equal: nearly every draw counts, and their k̂ is noise.
        Without a k̂, as for a few annealed chains, the sign is that one draw carries more than all others.
        """
        few = self.effective < self.draws / 2
        return few and (self.effective < 2 if self.pareto_k is None else self.pareto_k > HEAVY_TAIL)
