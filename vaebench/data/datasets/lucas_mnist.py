"""The images on which Lucas et al. 2019 show that a linear VAE climbs to the maximum likelihood and no further."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vaebench.config.registry import DATASETS
from vaebench.data.datasets.base import Ahead, Dataset, Splits, held_out
from vaebench.data.datasets.mnist import MNIST, SCALE

SHARDS = 10
"""Files into which TensorFlow Datasets wrote the training images."""

SHUFFLE = 42
"""Seed by which it shuffled them."""

SHARE = 1 / 60
"""Of every shard: 100 of 6000."""


@DATASETS.register
class LucasMNIST(Dataset):
    """The 1000 MNIST images of the notebook that came with Lucas et al. 2019. Split 1000 / 1000 / 10 000.

    They are the first 1000 training images in the order of TensorFlow Datasets' mnist 1.0.0. It dealt the images to ten
    shards like cards and shuffled every shard, one after another, by one NumPy RandomState(42); 100 come from each. On
    these, and on no other images tried, the maximum with N − 1 in the covariance is the 941.6543 that the notebook
    prints; with N it is 942.0466. Validation: 1000 of the other training images; test: MNIST's own.
    """

    support = "unit"
    source = "MNIST"

    def load(self, root: Path) -> Splits:
        train, test = MNIST().halves(root)
        chosen = np.fromiter(first_of_shards(len(train.x)), np.int64)
        rest = np.setdiff1d(np.arange(len(train.x)), chosen)
        _, validation = held_out(train.at(rest), len(chosen))
        return Splits(train.at(chosen), validation, test, SCALE)

    def ahead(self, root: Path) -> Ahead:
        return Ahead(1000, (1, 28, 28))


def first_of_shards(n: int) -> Iterator[int]:
    """Numbers of those of n training images that the notebook took, in its order: a sixtieth of every shard."""
    shuffle = np.random.RandomState(SHUFFLE).shuffle
    for first in range(SHARDS):
        shard = list(range(first, n, SHARDS))
        shuffle(shard)
        yield from shard[: math.ceil(SHARE * len(shard))]
