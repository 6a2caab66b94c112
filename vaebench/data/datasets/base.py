"""What a data set is: raw tensors in three splits, the number that scales them, and a rule that makes grey binary."""

import hashlib
import math
import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

from vaebench.config.registry import BINARIZATIONS, Spec

VALIDATION = 0.1
"""Share of the examples held out for validation where the source names no validation set."""

TEST = 0.2
"""Share of the examples held out for testing where the source names no test set."""


class Examples(NamedTuple):
    """Raw observations `[N, *shape]`, uint8 or float32, and their class labels `[N]` where the source has them."""

    x: Shaped[Tensor, "N *shape"]
    label: Int64[Tensor, " N"] | None = None

    def at(self, index: Int64[np.ndarray, " M"]) -> "Examples":
        """The examples with the given numbers."""
        chosen = torch.from_numpy(index)
        return Examples(self.x[chosen], None if self.label is None else self.label[chosen])

    def check(self, source: str) -> None:
        """Refuse an empty set, NaN and infinity, and labels that do not match (see `Splits.check`)."""
        if self.x.dtype not in (torch.uint8, torch.float32):
            raise ValueError(f"{source}: expected observations in uint8 or float32, got {self.x.dtype}; convert them")
        if self.x.ndim < 2 or not self.x.numel():
            raise ValueError(
                f"{source}: expected at least one observation of at least one number, got shape {[*self.x.shape]}; "
                "give more examples"
            )
        if self.x.is_floating_point() and (bad := int((~self.x.isfinite()).sum())):
            raise ValueError(
                f"{source}: expected finite numbers, got {bad} NaN or infinite; remove or replace these values"
            )
        if self.label is not None and (self.label.shape, self.label.dtype) != (self.x.shape[:1], torch.int64):
            raise ValueError(
                f"{source}: expected {len(self.x)} labels in int64, one an observation, "
                f"got shape {[*self.label.shape]} in {self.label.dtype}"
            )


class Splits(NamedTuple):
    """The three splits of a data set; what a model observes is `x / scale`."""

    train: Examples
    validation: Examples
    test: Examples
    scale: float

    @classmethod
    def of(cls, examples: Examples, scale: float) -> "Splits":
        """70 % / 10 % / 20 % of a source that comes in one piece, by a fixed permutation."""
        n = len(examples.x)
        rest, test = held_out(examples, round(TEST * n))
        return cls(*held_out(rest, round(VALIDATION * n)), test, scale)

    @classmethod
    def official(cls, train: Examples, test: Examples, scale: float, validation: float = VALIDATION) -> "Splits":
        """The source's own test set, and a share of its training set held out for validation."""
        return cls(*held_out(train, round(validation * len(train.x))), test, scale)

    def named(self) -> dict[str, Examples]:
        """The splits by the names that configurations and tables use."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def check(self, source: str) -> None:
        """Refuse data that would train without complaint and mean nothing.

        Raises:
            ValueError: if a split is empty, its labels do not match it, its shape or kind of number differs from the
                other splits', or it holds NaN or infinity.
        """
        if not 0 < self.scale < math.inf:
            raise ValueError(f"{source}: expected a positive, finite scale, got {self.scale}")
        for split, examples in self.named().items():
            examples.check(f"{source}, {split}")
            self._check_size(f"{source}, {split}", examples.x)
            if (examples.x.shape[1:], examples.x.dtype) != (self.train.x.shape[1:], self.train.x.dtype):
                raise ValueError(
                    f"{source}, {split}: expected observations like the training set's, {_kind(self.train)}, "
                    f"got {_kind(examples)}"
                )

    def _check_size(self, source: str, x: Tensor) -> None:
        """Refuse observations whose sum of squares is beyond float32, in which every model computes."""
        largest = max(abs(float(x.min())), abs(float(x.max()))) / self.scale
        limit = math.sqrt(torch.finfo(torch.float32).max / x[0].numel())
        if largest > limit:
            raise ValueError(
                f"{source}: expected numbers of which the squares have a sum in float32, up to {limit:.2g} in "
                f"magnitude, got {largest:.3g} (where {self.scale:g} stands for 1); scale the data, best to a "
                "standard deviation of about 1"
            )
        if 0 < largest < torch.finfo(torch.float32).tiny:
            raise ValueError(
                f"{source}: expected numbers that are not 0 in float32, got none above {largest:.3g} in magnitude "
                f"(where {self.scale:g} stands for 1); scale the data, best to a standard deviation of about 1"
            )

    def checksum(self) -> str:
        """SHA-256 of every split's raw tensor and labels, with their names, shapes and kinds, and of the scale."""
        digest = hashlib.sha256(f"scale {self.scale!r}\n".encode())
        for split, examples in self.named().items():
            for field, tensor in examples._asdict().items():
                digest.update(f"{split} {field} ".encode())
                if tensor is not None:
                    array = tensor.contiguous().numpy()
                    little = array.dtype.newbyteorder("<")
                    digest.update(f"{little.str} {array.shape}\n".encode())
                    digest.update(array.astype(little, copy=False).data)
        return digest.hexdigest()


class Ahead(NamedTuple):
    """What is known of a data set before it is loaded.

    Attributes:
        training: the number of training examples.
        shape: of one observation.
    """

    training: int
    shape: tuple[int, ...]


def kept(n: int, *shares: float) -> int:
    """How many of n examples are left for training where so large shares are held out."""
    return n - sum(round(share * n) for share in shares)


def held_out(examples: Examples, n: int) -> tuple[Examples, Examples]:
    """The examples without, and those with, the last n places of a fixed permutation, each in the source's order.

    The permutation is the same for every run, whatever its seed. It comes from NumPy's RandomState, whose streams are
    frozen by NumPy's promise: a split must not move when a library is brought up to date.
    """
    if examples.label is not None and len(examples.label) != len(examples.x):
        raise ValueError(f"expected {len(examples.x)} labels, one an observation, got {len(examples.label)}")
    order = np.random.RandomState(0).permutation(len(examples.x))
    kept, out = np.split(order, [len(order) - n])
    return examples.at(np.sort(kept)), examples.at(np.sort(out))


def _kind(examples: Examples) -> str:
    return f"shape {[*examples.x.shape[1:]]} in {examples.x.dtype}"


def data_root() -> Path:
    """Where data lies and is downloaded to: the environment's VAEBENCH_DATA, else `data` in the working directory."""
    return Path(os.environ.get("VAEBENCH_DATA") or "data").expanduser()


def own(path: str, root: Path, source: str) -> Path:
    """A file or folder of the user's, seen from the working directory, or else from the data folder.

    Raises:
        FileNotFoundError: with both places that were tried.
    """
    places = (Path(path).expanduser(), root / path)
    for place in places:
        if place.exists():
            return place
    tried = " nor ".join(dict.fromkeys(str(p.absolute()) for p in places))
    raise FileNotFoundError(f"{source}: expected a file or folder {path!r}, found neither {tried}; see `path`")


class Dataset(ABC):
    """A source of observations.

    A subclass has one duty, `load`. It is registered by `@DATASETS.register`, and its keyword-only parameters are what
    a YAML file may set.

    Args:
        binarize: how grey levels become 0 and 1 (`Fixed`, `Dynamic`, `Threshold`); None leaves them as they are.
    """

    source: str | None = None
    """The class of torchvision that it is made of, where that is not its own name."""

    def __init__(self, *, binarize: Annotated[Spec, BINARIZATIONS] | None = None) -> None:
        self.binarization = None if binarize is None else BINARIZATIONS.build(binarize)

    @property
    def name(self) -> str:
        """The name in YAML and in tables."""
        return type(self).__name__

    @abstractmethod
    def load(self, root: Path) -> Splits:
        """The splits, as raw tensors on the CPU.

        Args:
            root: the folder that downloaded data sets share (see `data_root`).

        Raises:
            FileNotFoundError: if the data is not there and cannot be fetched; the message says where to put it.
        """

    def ahead(self, root: Path) -> Ahead | None:
        """What is known before the data is loaded, at next to no cost and without the network; None if nothing is.

        Args:
            root: as for `load`.

        Raises:
            FileNotFoundError: if the data is not there and cannot be fetched.
            ValueError: if the data is there and is known to be no good.
        """
        return None
