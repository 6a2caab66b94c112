"""Your own images: a folder of image files, with subfolders as classes."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from vaebench.config.registry import DATASETS, PositiveInt
from vaebench.data.datasets.base import TEST, Dataset, Examples, Preview, Splits, find_path, training_size

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
"""The suffixes of image files. Other files in the folder are ignored."""

PARTS = ("train", "test", "validation")  # the subfolders that are splits, not classes


@DATASETS.register
class ImageFolder(Dataset):
    """A folder of images. Each is turned upright, cropped to its central square, and resized.

    If every image is in a subfolder, the subfolders are the classes. Subfolders `train` and `test`, perhaps with
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
        folder = find_path(self.path, root, "ImageFolder")
        parts = {name: folder / name for name in PARTS if (folder / name).is_dir()}
        if not {"train", "test"} <= parts.keys():
            return Splits.of(self._examples(folder, _classes([folder])), 255.0, self.held_out())
        classes = _classes([*parts.values()])
        found = {name: self._examples(part, classes) for name, part in parts.items()}
        if "validation" in found:
            return Splits(found["train"], found["validation"], found["test"], scale=255.0)
        return Splits.official(found["train"], found["test"], 255.0, self.held_out())

    def preview(self, root: Path) -> Preview:
        folder = find_path(self.path, root, "ImageFolder")
        parts = {name: folder / name for name in PARTS if (folder / name).is_dir()}
        shape = (1 if self.grey else 3, self.size, self.size)
        if not {"train", "test"} <= parts.keys():
            return Preview(training_size(len(_images(folder)), TEST, self.held_out()), shape)
        shares = () if "validation" in parts else (self.held_out(),)
        return Preview(training_size(len(_images(parts["train"])), *shares), shape)

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
    named = (f for f in folder.rglob("*") if f.suffix.lower() in SUFFIXES and not f.name.startswith("."))
    files = [f for f in named if f.is_file() or f.is_symlink()]  # opening a pipe would wait forever
    if not files:
        raise ValueError(f"{folder}: expected image files ({', '.join(sorted(SUFFIXES))}), got none; see `path`")
    return sorted(files, key=lambda f: f.relative_to(folder).as_posix())


def _classes(folders: list[Path]) -> list[str]:
    """The names of the subfolders with images; an empty list if an image is outside of them."""
    places = [file.relative_to(folder).parts for folder in folders for file in _images(folder)]
    return [] if any(len(parts) == 1 for parts in places) else sorted({parts[0] for parts in places})
