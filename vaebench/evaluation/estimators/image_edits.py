"""What is done to an image that leaves it the same, or takes a part of it: pure functions of pixels, 0 the ground."""

import torch
from jaxtyping import Float
from torch import Tensor


def shifted(x: Float[Tensor, "N C H W"], pixels: int) -> Float[Tensor, "N C H W"]:
    """Images moved to the right by whole pixels; what leaves on the right is lost, ground enters on the left."""
    moved = torch.zeros_like(x)
    moved[..., pixels:] = x[..., :-pixels]
    return moved


def erased(x: Float[Tensor, "N C H W"], share: float) -> Float[Tensor, "N C H W"]:
    """Images without their uppermost rows, as few of them as hold a share of the ink, the sum of all pixels."""
    ink = x.double().sum((1, 3))
    above = ink.cumsum(1) - ink
    kept = above >= share * ink.sum(1, keepdim=True)
    return x * kept[:, None, :, None]
