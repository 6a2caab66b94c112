"""Sets made of MNIST's images, so that results in print can be compared."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from vaebench.config.registry import BINARIZATIONS, DATASETS, Seed, Spec
from vaebench.config.seeding import generator
from vaebench.data.datasets.base import Dataset, Examples, Preview, Splits, held_out
from vaebench.data.datasets.published import MNIST, SCALE

SHARDS = 10
"""The number of files in which TensorFlow Datasets stores the training images."""

SHUFFLE = 42
"""The seed with which it shuffles each file."""

SHARE = 1 / 60
"""The share that is taken from each file: 100 of 6000 images."""


@DATASETS.register
class LucasMNIST(Dataset):
    """The 1000 MNIST images of the notebook that came with Lucas et al. 2019. Split 1000 / 1000 / 10 000.

    They are the first 1000 training images in the order of TensorFlow Datasets' mnist 1.0.0. TensorFlow Datasets
    puts every tenth image into the same of ten files, and shuffles the files one after another with one NumPy
    RandomState(42). The 1000 images are the first 100 of each file. Only with these images, of all that were tried, the
    maximum with N − 1 in the covariance is 941.6543, which the notebook prints. With N it is 942.0466. The validation
    set is 1000 of the other training images; the test set is that of MNIST.
    """

    support = "unit"
    source = "MNIST"

    def __init__(self, *, binarize: Annotated[Spec, BINARIZATIONS] | None = None) -> None:
        super().__init__(binarize=binarize)  # its validation set is no part of the 1000 images

    def load(self, root: Path) -> Splits:
        train, test = MNIST().halves(root)
        chosen = np.fromiter(first_of_shards(len(train.x)), np.int64)
        rest = np.setdiff1d(np.arange(len(train.x)), chosen)
        _, validation = held_out(train.at(rest), len(chosen))
        return Splits(train.at(chosen), validation, test, SCALE)

    def preview(self, root: Path) -> Preview:
        return Preview(1000, (1, 28, 28))


def first_of_shards(n: int) -> Iterator[int]:
    """Indices of the training images that the notebook uses, in its order: a sixtieth of each file."""
    shuffle = np.random.RandomState(SHUFFLE).shuffle
    for first in range(SHARDS):
        shard = list(range(first, n, SHARDS))
        shuffle(shard)
        yield from shard[: math.ceil(SHARE * len(shard))]


SPLITS = (10_000, 2_000, 50_000)
"""Examples of the three splits of a variant."""

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
        sizes = [size * len(x) // ALL for size in SPLITS]
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
        return Preview(SPLITS[0], (1, 28, 28))


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
