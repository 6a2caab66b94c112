"""What a device counts by itself while it trains: its steps, and when each member diverged."""

import torch
from jaxtyping import Float
from torch import Tensor


class Counters:
    """The number of steps, and for each member the step and the objective at which it diverged, all on the device.

    Args:
        rows: a matrix with a row per member, on the device.

    Attributes:
        step: the number of the next step, counted from zero.
    """

    def __init__(self, rows: Float[Tensor, "M P"]) -> None:
        self.step = rows.new_zeros((), dtype=torch.float64)
        self._diverged_at = rows.new_full((len(rows),), -1.0, dtype=torch.float64)
        self._objective = rows.new_zeros(len(rows))

    def count(self, mean: Float[Tensor, " M"]) -> None:
        """Count a step, with the mean objective of each member before it. Nothing waits for the device."""
        diverges = mean.isfinite().logical_not() & (self._diverged_at < 0)
        self._diverged_at.copy_(torch.where(diverges, self.step, self._diverged_at))
        self._objective.copy_(torch.where(diverges, mean, self._objective))
        self.step += 1

    def diverged(self) -> dict[int, tuple[int, float]]:
        """For each member that has diverged its step and its objective. This waits for the device."""
        found = enumerate(zip(self._diverged_at.tolist(), self._objective.tolist(), strict=True))
        return {i: (int(step), value) for i, (step, value) in found if step >= 0}
