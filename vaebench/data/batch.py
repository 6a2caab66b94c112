"""The input of a model: a batch of observations."""

from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor


class Batch(NamedTuple):
    """Observations x `[B, *event]`, and their class labels `[B]` if the data has labels."""

    x: Float[Tensor, "B *event"]
    label: Int[Tensor, " B"] | None = None
