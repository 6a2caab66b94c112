"""Your own data: a file of arrays, or a folder of image files."""

import os
from collections.abc import Callable, Iterator, Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from vaebench.config.registry import DATASETS, Positive, PositiveInt
from vaebench.data.datasets import base
from vaebench.data.datasets.base import Dataset, Examples, Preview, Splits, find_path, float32, training_size
from vaebench.records.arrays import ArraysError, read_arrays, shapes

if TYPE_CHECKING:
    from PIL.Image import Image


Found = TypeVar("Found")

WHOLE = ("x", "images")
TRAIN = ("train", "x_train", "train_images")
VALIDATION = ("validation", "x_validation", "val_images")
TEST = ("test", "x_test", "test_images")
"""The names of observation arrays in an .npz file: of vaebench, Keras and MedMNIST."""

LABEL = {
    **dict.fromkeys(WHOLE, ("label", "labels", "y")),
    **{name: (f"{name}_label", f"{name}_labels") for name in ("train", "validation", "test")},
    **{f"x_{name}": (f"y_{name}",) for name in ("train", "validation", "test")},
    **{f"{name}_images": (f"{name}_labels",) for name in ("train", "val", "test")},
}
"""The names of the labels that belong to each observation array."""


FACTORS = {
    **dict.fromkeys(WHOLE, ("factors",)),
    **{name: (f"{name}_factors",) for name in ("train", "validation", "test")},
    **{f"x_{name}": (f"factors_{name}",) for name in ("train", "validation", "test")},
    **{f"{name}_images": (f"{name}_factors",) for name in ("train", "val", "test")},
}
"""The names of the factors that belong to each observation array."""

WHITE = 255.0  # the grey level that becomes 1, if nothing else is known


@DATASETS.register
class Arrays(Dataset):
    """An .npy or .npz file of images `[N, H, W]`, `[N, C, H, W]`, `[N, H, W, C]` or vectors `[N, D]`.

    Integers from 0 to 255 are grey levels. Floats are images in [0, 1], or vectors with any values. An .npz file has an
    array `x` (or `images`), perhaps with `label`, which is split 70/10/20. Or it has `train` and `test`, perhaps with
    `validation` and with labels `train_label` and so on. Files of Keras and MedMNIST can be used without changes.

    Beside them there may be `factors` (or `train_factors` and so on): whole numbers `[N, F]` that say what made each
    observation. Scores of disentanglement read them.

    Args:
        path: the file, relative to the working directory or to the data folder.
        scale: the raw value that becomes 1. The default is 1 for floats, and 255 for integers unless all are 0 or 1.
    """

    def __init__(self, *, path: str, scale: Positive | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.path, self.scale = path, scale

    def load(self, root: Path) -> Splits:
        arrays = _read(find_path(self.path, root, "Arrays"), read_arrays)
        if whole := _first(WHOLE, arrays):
            found = {"all": self._examples(whole, arrays)}
        elif (train := _first(TRAIN, arrays)) and (test := _first(TEST, arrays)):
            chosen = {"train": train, "test": test, "validation": _first(VALIDATION, arrays)}
            found = {split: self._examples(name, arrays) for split, name in chosen.items() if name}
        else:
            raise ValueError(
                f"{self.path}: expected an array named x or images, or two named train and test; "
                f"got {', '.join(sorted(arrays)) or 'none'}; rename one"
            )
        return _splits(found, self.scale or _scale([e.x for e in found.values()]), self.held_out())

    def preview(self, root: Path) -> Preview | None:
        found = _read(find_path(self.path, root, "Arrays"), shapes)
        whole = _first(WHOLE, found)
        name = whole or _first(TRAIN, found)
        if name is None or not 2 <= len(found[name]) <= 4:
            return None  # `load` will raise, with the reason
        n, *shape = found[name]
        if whole or not (validation := _first(VALIDATION, found)):
            size = training_size(n, *[base.TEST] * bool(whole), self.held_out())
        else:
            size = self.training_size(n, *found[validation][:1])
        return Preview(size, _channels_first(tuple(shape)))

    def _examples(self, name: str, arrays: Mapping[str, np.ndarray]) -> Examples:
        x = torch.from_numpy(_observations(f"{self.path}, {name}", arrays[name], images=self.scale is None))
        beside: list[torch.Tensor | None] = []
        for names, checked, word in ((LABEL, _labels, "labels"), (FACTORS, _factors, "rows of factors")):
            found = _first(names[name], arrays)
            given = None if found is None else checked(f"{self.path}, {found}", arrays[found])
            if given is not None and len(given) != len(x):
                text = f"expected {len(x)} {word}, one for each of {name}, got {len(given)}"
                raise ValueError(f"{self.path}, {found}: {text}")
            beside.append(None if given is None else torch.from_numpy(given))
        return Examples(x, *beside)


def whole(file: Path, shape: tuple[int, ...], scale: float | None = None) -> tuple[Examples, float]:
    """All observations of a file, unsplit, and the raw value that becomes 1.

    Args:
        file: as `Arrays` reads it, with an array `x` or `images`, perhaps with labels.
        shape: of an observation, for a model. The file may have flat vectors of as many numbers.
        scale: the raw value that becomes 1; None to choose it as `Arrays` does.

    Raises:
        ValueError: if the file has no such array, its values are not finite numbers, or they do not fit the shape.
    """
    arrays, source = _read(file, read_arrays), Arrays(path=str(file), scale=scale)
    name = _first(WHOLE, arrays)
    if name is None:
        raise ValueError(
            f"{file}: expected an array named x or images, got {', '.join(sorted(arrays)) or 'none'}; rename one"
        )
    examples = source._examples(name, arrays)
    examples.check(str(file))
    got = tuple(examples.x.shape[1:])
    if got not in (shape, (1, *shape), (prod(shape),)):  # an image of one channel has no axis for it in some files
        raise ValueError(f"{file}: expected observations of shape {[*shape]}, got {[*got]}; give others")
    x = examples.x.reshape(len(examples.x), *shape)
    return examples._replace(x=x), scale or _scale([x])


def _splits(found: Mapping[str, Examples], scale: float, validation: float) -> Splits:
    if "all" in found:
        return Splits.of(found["all"], scale, validation)
    if "validation" in found:
        return Splits(found["train"], found["validation"], found["test"], scale)
    return Splits.official(found["train"], found["test"], scale, validation)


def _scale(arrays: list[torch.Tensor]) -> float:
    grey = arrays[0].dtype == torch.uint8 and any(x.numel() and x.max() > 1 for x in arrays)
    return WHITE if grey else 1.0


def _first(names: tuple[str, ...], arrays: Mapping[str, object]) -> str | None:
    return next((name for name in names if name in arrays), None)


def _read(file: Path, of: Callable[[Path], dict[str, Found]]) -> dict[str, Found]:
    try:
        return {name or WHOLE[0]: found for name, found in of(file).items()}
    except ArraysError as error:
        raise ValueError(
            f"{file}: expected an .npy or .npz file of numbers ({error}); write it with numpy.save or numpy.savez"
        ) from error


def _observations(source: str, x: np.ndarray, images: bool) -> np.ndarray:
    """Convert observations to uint8 or float32, with channels first."""
    if not 2 <= x.ndim <= 4:
        raise ValueError(f"{source}: expected [N, D], [N, H, W], [N, C, H, W] or [N, H, W, C], got {[*x.shape]}")
    if x.dtype.kind in "bui" and not (x.size and (x.min() < 0 or x.max() > 255)):
        x = x.astype(np.uint8)
    elif x.dtype.kind == "f":
        x = float32(source, x)
        if images and x.ndim > 2 and x.size and (x.min() < 0 or x.max() > 1):
            raise ValueError(
                f"{source}: expected float images in [0, 1], got {x.min():g} to {x.max():g}; give `scale`, or flatten "
                "them to vectors [N, D]"
            )
    else:
        held = f"{x.min()} to {x.max()}" if x.dtype.kind in "ui" else f"numbers of type {x.dtype}"
        raise ValueError(f"{source}: expected integers from 0 to 255, or floats, got {held}; convert them to floats")
    if x.ndim == 3:
        x = x[:, None]
    if x.ndim == 4 and x.shape[1] > 4 >= x.shape[3]:
        x = np.moveaxis(x, 3, 1)
    return np.ascontiguousarray(x)


def _channels_first(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of an observation after `_observations`.

    >>> _channels_first((28, 28)), _channels_first((32, 32, 3))
    ((1, 28, 28), (3, 32, 32))
    """
    if len(shape) == 2:
        return (1, *shape)
    return (shape[2], *shape[:2]) if len(shape) == 3 and shape[0] > 4 >= shape[2] else shape


def _factors(source: str, factors: np.ndarray) -> np.ndarray:
    if (
        factors.ndim != 2
        or factors.dtype.kind not in "bui"
        or (factors.size and factors.max() > np.iinfo(np.int64).max)
    ):
        raise ValueError(
            f"{source}: expected whole numbers below 2^63 of shape [N, F], got shape {[*factors.shape]} of type "
            f"{factors.dtype}; number the values of each factor, e.g. by numpy.unique(values, return_inverse=True)"
        )
    return factors.astype(np.int64)


def _labels(source: str, label: np.ndarray) -> np.ndarray:
    if label.ndim == 2 and label.shape[1] == 1:
        label = label[:, 0]
    if label.ndim != 1 or label.dtype.kind not in "bui":
        raise ValueError(
            f"{source}: expected one integer an observation, got shape {[*label.shape]} of type {label.dtype}; "
            "number the classes"
        )
    if label.size and label.max() > np.iinfo(np.int64).max:
        raise ValueError(
            f"{source}: expected labels below 2^63, got {label.max()}; number the classes from 0, e.g. by "
            "numpy.unique(label, return_inverse=True)"
        )
    return label.astype(np.int64)


SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
"""The suffixes of image files. Other files in the folder are ignored."""

PARTS = ("train", "test", "validation")  # the subfolders that are splits, not classes


@DATASETS.register
class ImageFolder(Dataset):
    """A folder of images. Each is turned upright, cropped to its central square, and resized.

    If every image is in a subfolder, the subfolders are the classes. Links are followed, and hidden files and folders
    are left out. Subfolders `train` and `test`, perhaps with
    `validation`, are used as splits. Any other folder is split 70/10/20.

    Args:
        path: the folder, relative to the working directory or to the data folder.
        size: the number of pixels of each side after resizing.
        grey: whether to keep the brightness only: shape [1, size, size] instead of [3, size, size].
    """

    def __init__(self, *, path: str, size: PositiveInt = 32, grey: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.path, self.size, self.grey = path, size, grey

    def load(self, root: Path) -> Splits:
        parts = self._parts(root)
        classes = _classes([*parts.values()])
        return _splits({name: self._examples(part, classes) for name, part in parts.items()}, 255.0, self.held_out())

    def preview(self, root: Path) -> Preview:
        parts = self._parts(root)
        n = len(_images(parts.get("all") or parts["train"]))
        if "validation" in parts:
            size = self.training_size(n, len(_images(parts["validation"])) if self.validation == 0 else 0)
        else:
            size = training_size(n, *[base.TEST] * ("all" in parts), self.held_out())
        return Preview(size, (1 if self.grey else 3, self.size, self.size))

    def _parts(self, root: Path) -> dict[str, Path]:
        """The folder of each split, or the whole folder as `all`."""
        folder = find_path(self.path, root, "ImageFolder")
        parts = {name: folder / name for name in PARTS if (folder / name).is_dir()}
        return parts if {"train", "test"} <= parts.keys() else {"all": folder}

    def _examples(self, folder: Path, classes: list[str]) -> Examples:
        files = _images(folder)
        label = [classes.index(f.relative_to(folder).parts[0]) for f in files] if classes else None
        images = np.stack([self._pixels(file) for file in files])
        return Examples(torch.from_numpy(images), None if label is None else torch.tensor(label))

    def _pixels(self, file: Path) -> np.ndarray:
        from PIL import Image, ImageOps

        try:
            with Image.open(file) as image:
                upright = _eight_bit(ImageOps.exif_transpose(image)).convert("L" if self.grey else "RGB")
                pixels = np.asarray(ImageOps.fit(upright, (self.size, self.size)))
        except MemoryError:
            raise ValueError(f"{file}: an image of {self.size} pixels a side does not fit into memory") from None
        except Exception as error:  # PIL's decoders raise many types for damaged files
            raise ValueError(f"{file}: expected an image ({_fault(error)}); repair or remove the file") from error
        return np.atleast_3d(pixels).transpose(2, 0, 1)


def _eight_bit(image: "Image") -> "Image":
    """Scale 16-bit grey levels down to 8 bits. The conversion of PIL would turn every level above 255 into white."""
    from PIL import Image

    if image.mode == "F":
        raise ValueError("its pixels are floats; save arrays of them, and use the data set Arrays")
    if not image.mode.startswith("I"):
        return image
    levels = np.asarray(image)
    if levels.min() < 0 or levels.max() > 65535:
        raise ValueError(f"expected grey levels from 0 to 65535, got {levels.min()} to {levels.max()}")
    return Image.fromarray((levels // 256).astype(np.uint8))


def _fault(error: Exception) -> str:
    """The reason without the path, which stands at the start of the message already."""
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(said.split()) or type(error).__name__


def _images(folder: Path) -> list[Path]:
    """The image files at any depth below a folder, in the same order on every machine."""
    named = (f for f in _files(folder) if f.suffix.lower() in SUFFIXES)
    files = [f for f in named if f.is_file() or f.is_symlink()]  # opening a pipe would wait forever
    if not files:
        raise ValueError(f"{folder}: expected image files ({', '.join(sorted(SUFFIXES))}), got none; see `path`")
    return sorted(files, key=lambda f: f.relative_to(folder).as_posix())


def _files(folder: Path, above: tuple[str, ...] = ()) -> Iterator[Path]:
    """What is at any depth below a folder, also behind links. Hidden files and folders are left out.

    Args:
        folder: where to look.
        above: the folders above it, without links: a link to one of them is not followed.
    """
    if (here := os.path.realpath(folder)) in above:
        return
    for each in folder.iterdir():
        if each.name.startswith("."):
            continue
        if each.is_dir():
            yield from _files(each, (*above, here))
        else:
            yield each


def _classes(folders: list[Path]) -> list[str]:
    """The names of the subfolders with images; an empty list if an image is outside of them."""
    places = [file.relative_to(folder).parts for folder in folders for file in _images(folder)]
    return [] if any(len(parts) == 1 for parts in places) else sorted({parts[0] for parts in places})
