"""Published sets of images: those of scikit-learn and torchvision, and sets made of MNIST's images.

torchvision downloads its files and checks them.
"""

import math
import os
import pickle
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.error import URLError

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from vaebench.config.registry import BINARIZATIONS, DATASETS, Seed, Spec
from vaebench.config.seeding import generator
from vaebench.data.datasets.base import TEST, Dataset, Examples, Preview, Splits, held_out, training_size


@DATASETS.register
class Digits(Dataset):
    """1797 handwritten digits of 8 × 8 pixels with 17 grey levels, which come with scikit-learn.

    The test half of the UCI "Optical Recognition of Handwritten Digits" (Alpaydin & Kaynak 1998). Split 70/10/20.
    """

    support = "unit"

    def load(self, root: Path) -> Splits:
        # The file itself: to import the package that reads it takes a second.
        package = find_spec("sklearn")
        assert package is not None
        assert package.origin is not None
        rows = np.loadtxt(Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz", delimiter=",")
        images, label = torch.from_numpy(rows).split([64, 1], 1)
        examples = Examples(images.to(torch.uint8).view(-1, 1, 8, 8), label.flatten().long())
        return Splits.of(examples, 16.0, self.held_out())

    def preview(self, root: Path) -> Preview:
        return Preview(training_size(1797, TEST, self.held_out()), (1, 8, 8))


SCALE = 255.0  # the grey level of white
SIXTH = 1 / 6  # the share of MNIST's training images that are held out, as usual: 10 000 of 60 000


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
        train, test = (_photographs(root, half) for half in (True, False))
        return Splits.official(train, test, SCALE, self.held_out())

    def preview(self, root: Path) -> Preview:
        return Preview(training_size(50_000, self.held_out()), (3, 32, 32))


def _photographs(root: Path, train: bool) -> Examples:
    source = fetched("CIFAR10", root, "cifar-10-python.tar.gz (or its folder cifar-10-batches-py)", train=train)
    images = torch.from_numpy(source.data).permute(0, 3, 1, 2).contiguous()
    return Examples(images, torch.tensor(source.targets, dtype=torch.int64))


SIZE = 28  # the number of pixels of each side of Omniglot after resizing. The drawings have 105


@DATASETS.register
class Omniglot(Dataset):
    """32 460 drawings of 1623 characters, resized to 28 × 28, strokes 1 on 0 (Lake et al. 2015).

    The background alphabets are the training set, with 10 % of the drawings held out for validation. The evaluation
    alphabets are the test set. The label is the character. No character of the test set is in the training set.
    """

    support = "unit"

    def load(self, root: Path) -> Splits:
        train, test = _omniglot(root, True), _omniglot(root, False)
        test = test._replace(label=_labels(test) + int(_labels(train).max()) + 1)
        return Splits.official(train, test, SCALE, self.held_out())

    def preview(self, root: Path) -> Preview:
        return Preview(training_size(19_280, self.held_out()), (1, SIZE, SIZE))


@lru_cache(maxsize=2)
def _omniglot(root: Path, background: bool) -> Examples:
    """One half, its characters numbered from 0. Cached, since all runs of a sweep need the same thousands of files."""
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
    return Examples(torch.from_numpy(images)[:, None], torch.tensor([classes[file.parent] for file in files]))


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


SHARDS = 10  # the number of files in which TensorFlow Datasets stores the training images
SHUFFLE = 42  # the seed with which it shuffles each file
SHARE = 1 / 60  # the share that is taken from each file: 100 of 6000 images


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


SPLITS = (10_000, 2_000, 50_000)  # examples of the three splits of a variant
ALL = 70_000  # images of MNIST
CHUNK = 1000  # images that are rotated at a time


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
        return Preview(self.training_size(*SPLITS[:2]), (1, 28, 28))


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
    assert examples.label is not None  # these sets have labels
    return examples.label
