"""The images on which Lucas et al. 2019 show that a linear VAE reaches the maximum likelihood of probabilistic PCA."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np

from vaebench.config.registry import BINARIZATIONS, DATASETS, Spec
from vaebench.data.datasets.base import Dataset, Preview, Splits, held_out
from vaebench.data.datasets.mnist import MNIST, SCALE

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
