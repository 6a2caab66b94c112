"""The input of a model: a batch of observations."""

from typing import Any, NamedTuple

from jaxtyping import Float, Int
from torch import Tensor


class _Pair(NamedTuple):
    """What a batch is when it is unpacked: `x, label = batch`."""

    x: Float[Tensor, "B *event"]
    label: Int[Tensor, " B"] | None = None


class Batch(_Pair):
    """Observations x `[B, *event]`, and their class labels `[B]` if the data has labels. It unpacks as this pair.

    Attributes:
        factors: the factors that made the observations, `[B, F]`, each numbered; None if the data has none.
    """

    factors: Int[Tensor, "B F"] | None

    def __new__(cls, x: Tensor, label: Tensor | None = None, factors: Tensor | None = None) -> "Batch":
        batch = super().__new__(cls, x, label)
        batch.factors = factors
        return batch

    def _replace(self, **changes: Any) -> "Batch":
        return Batch(**{"x": self.x, "label": self.label, "factors": self.factors, **changes})
