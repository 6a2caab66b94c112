"""Edits of images: a shift keeps the content, an erasure does not. Pixels of value 0 are background."""

import torch
from jaxtyping import Float
from torch import Tensor


def shift(x: Float[Tensor, "N C H W"], pixels: int) -> Float[Tensor, "N C H W"]:
    """Shift images to the right. Pixels that leave on the right are lost, and background enters on the left.

    >>> shift(torch.tensor([[[[1.0, 2.0, 3.0]]]]), 1).flatten().tolist()
    [0.0, 1.0, 2.0]
    """
    moved = torch.zeros_like(x)
    moved[..., pixels:] = x[..., :-pixels]
    return moved


def erase(x: Float[Tensor, "N C H W"], share: float) -> Float[Tensor, "N C H W"]:
    """Erase the uppermost rows: as few as together hold at least this share of the ink, the sum of all pixels.

    >>> erase(torch.tensor([[[[1.0], [2.0], [5.0]]]]), 0.25).flatten().tolist()
    [0.0, 0.0, 5.0]
    """
    ink = x.double().sum((1, 3))
    above = ink.cumsum(1) - ink  # ink in the rows above each row
    kept = above >= share * ink.sum(1, keepdim=True)
    return x * kept[:, None, :, None]
