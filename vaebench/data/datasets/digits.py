"""The digits of scikit-learn: real handwriting without a download, the default of small studies."""

from pathlib import Path

import torch

from vaebench.config.registry import DATASETS
from vaebench.data.datasets.base import TEST, Dataset, Examples, Preview, Splits, training_size


@DATASETS.register
class Digits(Dataset):
    """1797 handwritten digits of 8 × 8 pixels with 17 grey levels, which come with scikit-learn.

    The test half of the UCI "Optical Recognition of Handwritten Digits" (Alpaydin & Kaynak 1998). Split 70/10/20.
    """

    support = "unit"

    def load(self, root: Path) -> Splits:
        from sklearn.datasets import load_digits

        source = load_digits()
        images = torch.from_numpy(source.images).to(torch.uint8)[:, None]
        return Splits.of(Examples(images, torch.from_numpy(source.target).long()), 16.0, self.held_out())

    def preview(self, root: Path) -> Preview:
        return Preview(training_size(1797, TEST, self.held_out()), (1, 8, 8))
