"""Variants of MNIST on which stacked autoencoders were compared, drawn again from MNIST by the same law."""

import math
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from vaebench.config.registry import DATASETS, Seed
from vaebench.config.seeding import generator
from vaebench.data.datasets.base import Dataset, Examples, Preview, Splits
from vaebench.data.datasets.mnist import MNIST, SCALE

SIZES = (10_000, 2_000, 50_000)
"""Examples of the three splits."""

ALL = 70_000
"""Images of MNIST."""

CHUNK = 1000
"""Images that are rotated at a time."""


@DATASETS.register
class MNISTVariant(Dataset):
    """MNIST digits, plain, rotated or on a background of noise (Larochelle et al. 2007). Split 10 000 / 2 000 / 50 000.

    The published files are not used. 62 000 of MNIST's 70 000 images are drawn here by the same law, so the images are
    another sample.

    Args:
        variant: `basic` leaves the images as they are. `rot` rotates each by an angle that is uniform on [0, 2π). In
            `bg-rand`, a pixel is the larger one of its own grey level and of noise that is uniform on 0 … 255.
        data_seed: seed of the choice of images, the angles and the noise. The seed of a run does not change them.
    """

    support = "unit"
    source = "MNIST"

    def __init__(
        self, *, variant: Literal["basic", "rot", "bg-rand"] = "basic", data_seed: Seed = 0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.variant, self.data_seed = variant, data_seed

    def load(self, root: Path) -> Splits:
        first, second = MNIST().halves(root)
        x, label = torch.cat([first.x, second.x]), torch.cat([_labels(first), _labels(second)])
        stream = generator(self.data_seed, f"MNIST variant {self.variant}")
        sizes = [size * len(x) // ALL for size in SIZES]
        chosen = torch.randperm(len(x), generator=stream)[: sum(sizes)]
        x = x[chosen]
        if self.variant == "rot":
            x = rotated(x, torch.rand(len(x), generator=stream) * 2 * math.pi)
        elif self.variant == "bg-rand":
            x = torch.maximum(x, torch.randint(0, 256, x.shape, generator=stream, dtype=torch.uint8))
        pairs = zip(x.split(sizes), label[chosen].split(sizes), strict=True)
        train, validation, test = (Examples(*pair) for pair in pairs)
        return Splits(train, validation, test, SCALE)

    def preview(self, root: Path) -> Preview:
        return Preview(SIZES[0], (1, 28, 28))


def rotated(x: UInt8[Tensor, "N 1 H W"], angle: Tensor) -> UInt8[Tensor, "N 1 H W"]:
    """Each image turned around its centre by its own angle in radians; bilinear, black beyond its edges."""
    out = torch.empty_like(x)
    for images, angles, target in zip(x.split(CHUNK), angle.split(CHUNK), out.split(CHUNK), strict=True):
        cosine, sine, zero = angles.cos(), angles.sin(), torch.zeros_like(angles)
        turn = torch.stack([cosine, -sine, zero, sine, cosine, zero], 1).view(-1, 2, 3)
        grid = affine_grid(turn, [*images.shape], align_corners=False)
        target.copy_(grid_sample(images.float(), grid, align_corners=False).round().clamp(0, 255))
    return out


def _labels(examples: Examples) -> Tensor:
    assert examples.label is not None  # MNIST has labels
    return examples.label
