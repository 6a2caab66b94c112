"""How much of something is computed at a time."""

from typing import NamedTuple

from torch import Tensor


class Block(NamedTuple):
    """Elements at a time: on a CPU so many that its cache holds them, elsewhere so many that one launch is filled.

    The shape of a block decides how a generator's numbers fall, so the size on a CPU is part of every result.
    """

    cpu: int
    accelerator: int

    def where(self, x: Tensor) -> int:
        """The size on the device of a tensor."""
        return self.cpu if x.device.type == "cpu" else self.accelerator
