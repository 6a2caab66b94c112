"""MNIST and two data sets of the same format: 60 000 + 10 000 grey images of 28 × 28 pixels in ten classes."""

from pathlib import Path

from vaebench.config.registry import DATASETS
from vaebench.data.datasets.base import Dataset, Examples, Preview, Splits, training_size
from vaebench.data.datasets.fetch import fetched

SCALE = 255.0
"""The grey level of white."""

VALIDATION = 1 / 6
"""The share of training images that are held out, as usual: 10 000 of 60 000."""


@DATASETS.register
class MNIST(Dataset):
    """70 000 handwritten digits of 28 × 28 grey pixels (LeCun et al. 1998). Split 50 000 / 10 000 / 10 000."""

    support = "unit"

    def load(self, root: Path) -> Splits:
        return Splits.official(*self.halves(root), scale=SCALE, validation=self.held_out(VALIDATION))

    def preview(self, root: Path) -> Preview:
        return Preview(training_size(60_000, self.held_out(VALIDATION)), (1, 28, 28))

    def halves(self, root: Path) -> tuple[Examples, Examples]:
        """The training and test images of the source, each in its own order."""
        return self._half(root, True), self._half(root, False)

    def _half(self, root: Path, train: bool) -> Examples:
        files = f"{self.name}/raw/{{train,t10k}}-{{images-idx3,labels-idx1}}-ubyte (or the same four with .gz)"
        source = fetched(self.name, root, files, train=train)
        return Examples(source.data[:, None], source.targets.long())


@DATASETS.register
class FashionMNIST(MNIST):
    """70 000 images of clothes like MNIST (Xiao et al. 2017). Split 50 000 / 10 000 / 10 000."""


@DATASETS.register
class KMNIST(MNIST):
    """70 000 cursive Japanese characters like MNIST (Clanuwat et al. 2018). Split 50 000 / 10 000 / 10 000."""
