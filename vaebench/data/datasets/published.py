"""Published sets of images: those of scikit-learn and torchvision. torchvision downloads and checks its files."""

import os
import pickle
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
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


SCALE = 255.0
"""The grey level of white in MNIST."""

SIXTH = 1 / 6
"""The share of MNIST's training images that are held out, as usual: 10 000 of 60 000."""


@DATASETS.register
class MNIST(Dataset):
    """70 000 handwritten digits of 28 × 28 grey pixels (LeCun et al. 1998). Split 50 000 / 10 000 / 10 000."""

    support = "unit"

    def load(self, root: Path) -> Splits:
        return Splits.official(*self.halves(root), scale=SCALE, validation=self.held_out(SIXTH))

    def preview(self, root: Path) -> Preview:
        return Preview(training_size(60_000, self.held_out(SIXTH)), (1, 28, 28))

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


@DATASETS.register
class CIFAR10(Dataset):
    """60 000 photographs of 3 × 32 × 32 pixels in ten classes (Krizhevsky 2009). Split 45 000 / 5 000 / 10 000."""

    support = "unit"

    def load(self, root: Path) -> Splits:
        return Splits.official(
            _photographs(root, True), _photographs(root, False), scale=255.0, validation=self.held_out()
        )

    def preview(self, root: Path) -> Preview:
        return Preview(training_size(50_000, self.held_out()), (3, 32, 32))


def _photographs(root: Path, train: bool) -> Examples:
    source = fetched("CIFAR10", root, "cifar-10-python.tar.gz (or its folder cifar-10-batches-py)", train=train)
    images = torch.from_numpy(source.data).permute(0, 3, 1, 2).contiguous()
    return Examples(images, torch.tensor(source.targets, dtype=torch.int64))


SIZE = 28
"""The number of pixels of each side of Omniglot after resizing. The drawings have 105."""


@DATASETS.register
class Omniglot(Dataset):
    """32 460 drawings of 1623 characters, resized to 28 × 28, strokes 1 on 0 (Lake et al. 2015).

    The background alphabets are the training set, with 10 % of the drawings held out for validation. The evaluation
    alphabets are the test set. The label is the character. No character of the test set is in the training set.
    """

    support = "unit"

    def load(self, root: Path) -> Splits:
        background, evaluation = _omniglot(root, True), _omniglot(root, False)
        first = int(background[1].max()) + 1
        test = _drawings(evaluation[0], evaluation[1] + first)
        return Splits.official(_drawings(*background), test, scale=255.0, validation=self.held_out())

    def preview(self, root: Path) -> Preview:
        return Preview(training_size(19_280, self.held_out()), (1, SIZE, SIZE))


def _drawings(images: np.ndarray, label: np.ndarray) -> Examples:
    return Examples(torch.from_numpy(images)[:, None], torch.from_numpy(label))


@lru_cache(maxsize=2)
def _omniglot(root: Path, background: bool) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of one half. They are cached, because all runs of a sweep need the same thousands of files."""
    from PIL import Image

    needs = "omniglot-py/images_background.zip, omniglot-py/images_evaluation.zip and the folders unpacked from them"
    folder = Path(fetched("Omniglot", root, needs, background=background).target_folder)
    # Sorted, because torchvision uses the order of the file system, which differs between machines.
    files = sorted(folder.glob("*/*/*.png"), key=Path.as_posix)
    classes = {place: n for n, place in enumerate(dict.fromkeys(file.parent for file in files))}
    images = np.empty((len(files), SIZE, SIZE), dtype=np.uint8)
    for row, file in zip(images, files, strict=True):
        with Image.open(file) as drawing:
            row[:] = 255 - np.asarray(drawing.convert("L").resize((SIZE, SIZE), Image.Resampling.BOX))
    return images, np.array([classes[file.parent] for file in files], dtype=np.int64)


def fetched(name: str, root: Path, files: str, **split: bool) -> Any:
    """The training or test half of a torchvision data set.

    Args:
        name: the class in `torchvision.datasets`.
        root: the common folder of downloaded data sets.
        files: the files that must be there, for the message if they are missing and cannot be downloaded.
        split: the argument that selects the half, `train=True` or `background=True`.

    Raises:
        FileNotFoundError: if the files are missing and cannot be downloaded.
        ValueError: if the files are there but cannot be read.
    """
    from torchvision import datasets

    source = getattr(datasets, name)
    with _lock(root, name):
        try:
            return source(str(root), **split)
        except (RuntimeError, OSError, ValueError, AssertionError, EOFError, pickle.UnpicklingError) as error:
            if "not found" not in str(error) and not isinstance(error, FileNotFoundError):
                raise ValueError(
                    f"{name}: the files under {root.resolve()} cannot be read ({_last_line(error)}); "
                    "they may be incomplete: remove them and run again"
                ) from error
        try:
            return source(str(root), download=True, **split)
        except (RuntimeError, URLError, OSError) as error:
            raise FileNotFoundError(
                f"{name}: not found in {root.resolve()}, and the download failed ({_last_line(error)}). "
                f"Put {files} there, or set the environment variable VAEBENCH_DATA to the folder that holds them"
            ) from error


def _lock(root: Path, name: str) -> AbstractContextManager[object]:
    """Lock the data set, so that no process reads a file while another writes it.

    A read-only folder needs no lock.
    """
    from filelock import FileLock

    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileNotFoundError(
            f"{name}: the data folder {root.resolve()} does not exist and cannot be made ({error}); "
            "set the environment variable VAEBENCH_DATA to a folder for data"
        ) from error
    return FileLock(root / f".{name}.lock") if os.access(root, os.W_OK) else nullcontext()


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
