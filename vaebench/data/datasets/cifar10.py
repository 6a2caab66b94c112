"""CIFAR-10: small colour photographs."""

from pathlib import Path

import torch

from vaebench.config.registry import DATASETS
from vaebench.data.datasets.base import Dataset, Examples, Preview, Splits, training_size
from vaebench.data.datasets.fetch import fetched


@DATASETS.register
class CIFAR10(Dataset):
    """60 000 photographs of 3 × 32 × 32 pixels in ten classes (Krizhevsky 2009). Split 45 000 / 5 000 / 10 000."""

    support = "unit"

    def load(self, root: Path) -> Splits:
        return Splits.official(_half(root, True), _half(root, False), scale=255.0, validation=self.held_out())

    def preview(self, root: Path) -> Preview:
        return Preview(training_size(50_000, self.held_out()), (3, 32, 32))


def _half(root: Path, train: bool) -> Examples:
    source = fetched("CIFAR10", root, "cifar-10-python.tar.gz (or its folder cifar-10-batches-py)", train=train)
    images = torch.from_numpy(source.data).permute(0, 3, 1, 2).contiguous()
    return Examples(images, torch.tensor(source.targets, dtype=torch.int64))
