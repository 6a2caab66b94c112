"""The interface of data sets: raw tensors in three splits, with their scale and an optional binarisation."""

import hashlib
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

from vaebench.config.registry import BINARIZATIONS, Spec, Validation

VALIDATION = 0.1  # the share of examples that are held out for validation if the source has no validation set
TEST = 0.2  # the share of examples that are held out for testing if the source has no test set
INTEGERS = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)  # the types of whole numbers


class Examples(NamedTuple):
    """Raw observations `[N, *shape]` in uint8 or float32, with class labels `[N]` and factors if the source has them.

    Other floats are converted to float32, and other whole numbers from 0 to 255 to uint8, when the data are loaded.

    Factors `[N, F]` say what made an observation, for example the position of a shape; each is numbered.
    """

    x: Shaped[Tensor, "N *shape"]
    label: Int64[Tensor, " N"] | None = None
    factors: Int64[Tensor, "N F"] | None = None

    def at(self, index: Int64[np.ndarray, " M"]) -> "Examples":
        """The examples at these indices."""
        chosen = torch.from_numpy(index)
        label, factors = (None if tensor is None else tensor[chosen] for tensor in (self.label, self.factors))
        return Examples(self.x[chosen], label, factors)

    def converted(self, source: str) -> "Examples":
        """As models take them: floats in float32, whole numbers from 0 to 255 in uint8, labels and factors in int64.

        Raises:
            ValueError: if they are no tensors, or float32 cannot hold the floats.
        """
        for name, given in self._asdict().items():
            if not isinstance(given, Tensor) and (name == "x" or given is not None):
                got = type(given).__name__
                raise ValueError(f"{source}: expected a tensor as {name}, got {got}; convert it, e.g. by torch.tensor")
        x = self.x
        if x.is_floating_point() and x.dtype is not torch.float32:
            x = torch.from_numpy(float32(source, x.double().numpy()))
        elif x.dtype in INTEGERS and not (x.numel() and (x.min() < 0 or x.max() > 255)):
            x = x.to(torch.uint8)
        return Examples(
            x, *(t.long() if t is not None and t.dtype in INTEGERS else t for t in (self.label, self.factors))
        )

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
        f = self.factors
        if f is not None and (f.ndim != 2 or len(f) != len(self.x) or not f.shape[1] or f.dtype != torch.int64):
            raise ValueError(
                f"{source}: expected factors of shape [{len(self.x)}, F] in int64, one row an observation, "
                f"got shape {[*f.shape]} in {f.dtype}"
            )


class Splits(NamedTuple):
    """The three splits of a data set. A model observes `x / scale`."""

    train: Examples
    validation: Examples
    test: Examples
    scale: float

    @classmethod
    def of(cls, examples: Examples, scale: float, validation: float = VALIDATION) -> "Splits":
        """Split a source without splits into 70 % / 10 % / 20 %, by a fixed permutation."""
        n = len(examples.x)
        rest, test = held_out(examples, round(TEST * n))
        return cls(*held_out(rest, round(validation * n)), test, scale)

    @classmethod
    def official(cls, train: Examples, test: Examples, scale: float, validation: float = VALIDATION) -> "Splits":
        """Use the test set of the source, and hold out a share of its training set for validation."""
        return cls(*held_out(train, round(validation * len(train.x))), test, scale)

    def without_validation(self, source: str) -> "Splits":
        """The examples of the validation split after the training examples; nothing changes if there are none.

        Args:
            source: what the data is called. Its splits are checked already.

        Raises:
            ValueError: if one of the two has labels or factors, and the other has none or other ones.
        """
        if not len(self.validation.x):
            return self
        both = (self.train, self.validation)
        for name, mine, other in zip(("labels", "factors"), self.train[1:], self.validation[1:], strict=True):
            kinds = {None if each is None else each.shape[1:] for each in (mine, other)}
            if len(kinds) > 1:
                has = "other" if mine is not None and other is not None else "no" if other is None else "its own"
                raise ValueError(
                    f"{source}, validation: expected {name} like those of the training set, which it joins, but it has "
                    f"{has} {name}; give both or none of them, or leave `validation: 0` out"
                )
        joined = Examples(torch.cat([e.x for e in both]), *(_joined([e[i] for e in both]) for i in (1, 2)))
        return self._replace(train=joined, validation=self.validation.at(np.empty(0, np.int64)))

    def named(self) -> dict[str, Examples]:
        """The splits by their names in configurations and tables."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def converted(self, source: str) -> "Splits":
        """As models take them (see `Examples.converted`).

        Raises:
            ValueError: if a split is something else than examples of tensors, or float32 cannot hold them.
        """
        given: dict[str, object] = dict(self.named())
        converted = []
        for split, examples in given.items():
            if not isinstance(examples, Examples):
                got = type(examples).__name__
                raise ValueError(f"{source}, {split}: expected Examples(x, label), got {got}; an empty one is x[:0]")
            converted.append(examples.converted(f"{source}, {split}"))
        train, validation, test = converted
        return Splits(train, validation, test, self.scale)

    def check(self, source: str, has_validation: bool = True) -> None:
        """Refuse data on which training would succeed but mean nothing.

        Args:
            source: what the data is called.
            has_validation: whether the validation split must have examples.

        Raises:
            ValueError: if a split is empty or has NaN or infinity, if its labels do not match it, or if its shape or
                dtype differs from the other splits.
        """
        if not 0 < self.scale <= torch.finfo(torch.float32).max:
            raise ValueError(f"{source}: expected a positive, finite scale that float32 can hold, got {self.scale}")
        for split, examples in self.named().items():
            if split == "validation" and not has_validation:
                continue
            examples.check(f"{source}, {split}")
            self._check_size(f"{source}, {split}", examples.x)
            if (examples.x.shape[1:], examples.x.dtype) != (self.train.x.shape[1:], self.train.x.dtype):
                raise ValueError(
                    f"{source}, {split}: expected observations like the training set's, {_kind(self.train)}, "
                    f"got {_kind(examples)}"
                )

    def _check_size(self, source: str, x: Tensor) -> None:
        """Refuse observations whose sum of squares overflows or underflows in float32, the precision of all models."""
        largest = max(abs(float(x.min())), abs(float(x.max()))) / self.scale
        limit = math.sqrt(torch.finfo(torch.float32).max / x[0].numel())
        if largest > limit:
            raise ValueError(
                f"{source}: expected numbers whose sum of squares is finite in float32, up to {limit:.2g} in "
                f"magnitude, got {largest:.3g} (where {self.scale:g} stands for 1); scale the data, best to a "
                "standard deviation of about 1"
            )
        if 0 < largest < torch.finfo(torch.float32).tiny:
            raise ValueError(
                f"{source}: expected numbers that are not 0 in float32, got none above {largest:.3g} in magnitude "
                f"(where {self.scale:g} stands for 1); scale the data, best to a standard deviation of about 1"
            )

    def checksum(self) -> str:
        """SHA-256 of the scale and of all raw tensors, labels and factors, with their names, shapes and dtypes."""
        digest = hashlib.sha256(f"scale {self.scale!r}\n".encode())
        for split, examples in self.named().items():
            for field, tensor in examples._asdict().items():
                if field == "factors" and tensor is None:
                    continue  # data without factors keep the checksums that they had before there were any
                digest.update(f"{split} {field} ".encode())
                if tensor is not None:
                    array = tensor.contiguous().numpy()
                    # Little-endian on every machine, so that equal data have equal checksums.
                    little = array.dtype.newbyteorder("<")
                    digest.update(f"{little.str} {array.shape}\n".encode())
                    digest.update(array.astype(little, copy=False).data)
        return digest.hexdigest()


class Preview(NamedTuple):
    """What is known about a data set before it is loaded."""

    training: int  # the number of training examples
    shape: tuple[int, ...]  # the shape of one observation


def training_size(n: int, *shares: float) -> int:
    """The number of training examples after these shares of n examples are held out.

    >>> training_size(1797, TEST, VALIDATION)
    1258
    """
    return n - sum(round(share * n) for share in shares)


def _joined(parts: list[Tensor | None]) -> Tensor | None:
    there = [part for part in parts if part is not None]
    return torch.cat(there) if len(there) == len(parts) else None


def held_out(examples: Examples, n: int) -> tuple[Examples, Examples]:
    """Hold out the last n examples of a fixed permutation; both parts keep the order of the source.

    The permutation is the same for all seeds. It comes from NumPy's RandomState, whose streams NumPy promises never to
    change, so an update of a library cannot change a split.
    """
    if examples.label is not None and len(examples.label) != len(examples.x):
        raise ValueError(f"expected {len(examples.x)} labels, one an observation, got {len(examples.label)}")
    order = np.random.RandomState(0).permutation(len(examples.x))
    remaining, out = np.split(order, [len(order) - n])
    return examples.at(np.sort(remaining)), examples.at(np.sort(out))


def float32(source: str, x: np.ndarray) -> np.ndarray:
    """Convert numbers to single precision.

    Raises:
        ValueError: if a finite number overflows, or if all numbers underflow to 0.
    """
    with np.errstate(over="ignore", under="ignore"):
        single = x.astype(np.float32)
    if (lost := np.isfinite(x) & ~np.isfinite(single)).any():
        raise ValueError(
            f"{source}: expected numbers that float32 can hold, up to {np.finfo(np.float32).max:.2g} in magnitude, "
            f"got {lost.sum()} beyond, up to {np.abs(x[lost]).max():.3g}; divide them before they are saved"
        )
    if x.any() and not single.any():
        raise ValueError(
            f"{source}: expected numbers that float32 can hold, got none above {np.abs(x).max():.3g}, which it takes "
            "for 0; multiply them before they are saved"
        )
    return single


def _kind(examples: Examples) -> str:
    return f"shape {[*examples.x.shape[1:]]} in {examples.x.dtype}"


def data_root() -> Path:
    """The folder for data: the environment variable VAEBENCH_DATA, else `data` in the working directory."""
    return Path(os.path.expanduser(os.environ.get("VAEBENCH_DATA") or "data"))


def find_path(path: str, root: Path, source: str) -> Path:
    """Find a file or folder of the user, relative to the working directory or to the data folder.

    Raises:
        FileNotFoundError: with both paths that were tried.
    """
    places = (Path(os.path.expanduser(path)), root / path)  # `Path.expanduser` raises for a user that does not exist
    for place in places:
        if place.exists():
            return place
    tried = " nor ".join(dict.fromkeys(str(p.absolute()) for p in places))
    raise FileNotFoundError(f"{source}: expected a file or folder {path!r}, found neither {tried}; see `path`")


class Dataset(ABC):
    """A source of observations.

    A subclass must implement `load`. `@DATASETS.register` registers it. A YAML file may set its keyword-only
    parameters.

    Args:
        binarize: how grey levels become 0 and 1 (`Fixed`, `Dynamic`, `Threshold`, `Expected`); None does not change
            them.
        validation: 0 for no validation split: its examples are trained on. None uses the source's, or holds out the
            usual examples.
    """

    source: str | None = None  # the name of its class in torchvision, if that is a different name

    def __init__(
        self, *, binarize: Annotated[Spec, BINARIZATIONS] | None = None, validation: Validation = None
    ) -> None:
        self.binarization = None if binarize is None else BINARIZATIONS.build(binarize)
        self.validation = validation

    def held_out(self, share: float = VALIDATION) -> float:
        """The share of examples that is held out for validation, where `share` is the usual one."""
        return share if self.validation is None else float(self.validation)

    def training_size(self, train: int, validation: int) -> int:
        """The number of training examples, where the source has this many in splits of its own."""
        return train + validation * (self.validation == 0)

    @property
    def name(self) -> str:
        """The name in YAML and in tables."""
        return type(self).__name__

    @abstractmethod
    def load(self, root: Path) -> Splits:
        """Load the splits as raw tensors on the CPU.

        Args:
            root: the common folder of downloaded data sets (see `data_root`).

        Raises:
            FileNotFoundError: if the data is missing and cannot be downloaded. The message says where to put it.
        """

    def preview(self, root: Path) -> Preview | None:
        """Say what is known before the data is loaded, fast and without the network; None if nothing is known.

        With it, a sweep is checked against its data before anything is trained, and knows how much memory it needs.

        Args:
            root: as for `load`.

        Raises:
            FileNotFoundError: if the data is missing and cannot be downloaded.
            ValueError: if the data is there and is known to be invalid.
        """
        return None


MOST = 2**30  # splits with more numbers than this, together, are not compared, because it would take too long


def repeated(seen: Shaped[Tensor, "N *shape"], other: Shaped[Tensor, "M *shape"]) -> int | None:
    """Count the observations of the second split that are equal to one in the first; None if the splits are too large.

    On these, a model is evaluated with examples from its training.
    """
    if seen.numel() + other.numel() > MOST:
        return None
    wanted = set(_octets(other))
    both = {octets for octets in _octets(seen) if octets in wanted}
    return sum(octets in both for octets in _octets(other))


def _octets(x: Tensor) -> Iterator[bytes]:
    """The bytes of each observation. Equal numbers have equal bytes: -0.0 becomes 0.0."""
    rows = (x + 0.0 if x.is_floating_point() else x).contiguous().numpy()
    return (row.tobytes() for row in rows)
