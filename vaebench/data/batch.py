"""What the data gives to a model."""

from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor


class Batch(NamedTuple):
    """Observations x `[B, *event]` and, where the data has them, their class labels `[B]`."""

    x: Float[Tensor, "B *event"]
    label: Int[Tensor, " B"] | None = None
