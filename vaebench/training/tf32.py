"""TF32: matrix products and convolutions on a CUDA device with 10 bits of mantissa instead of 23.

On an H200 a large product is eight times as fast. Training may use TF32 if the user asks for it. Evaluation never
does, so bounds are always computed in float32. On a CPU nothing changes.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """A block in which TF32 is allowed or not. After it, TF32 is not allowed."""
    _allow(allowed)
    try:
        yield
    finally:
        _allow(False)


def forbid() -> None:
    """Compute in float32 alone. By default torch allows TF32 in convolutions."""
    _allow(False)


def is_allowed() -> bool:
    """Whether TF32 is allowed now."""
    return torch.backends.cudnn.allow_tf32


def _allow(allowed: bool) -> None:
    # On some CPUs "high" would change the products too.
    torch.set_float32_matmul_precision("high" if allowed and torch.cuda.is_available() else "highest")
    torch.backends.cudnn.allow_tf32 = allowed
