"""Chunk sizes per device: how much is computed at a time."""

from typing import NamedTuple

from torch import Tensor


class ChunkSize(NamedTuple):
    """Elements computed at a time. A chunk fits a CPU's cache; on an accelerator it fills one kernel launch.

    The chunk size decides in which order random numbers are used. So the size on a CPU is part of every result.
    """

    cpu: int
    accelerator: int

    def on(self, x: Tensor) -> int:
        """The chunk size on the device of a tensor."""
        return self.cpu if x.device.type == "cpu" else self.accelerator
