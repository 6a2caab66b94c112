"""Images that a trained model made, as 8-bit pixels: one compressed file beside the record, and grids for pages."""

import io
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vaebench.records import npz
from vaebench.records.files import ARRAYS, published_arrays, write_atomically

Pixels = NDArray[np.uint8]  # `[..., C, H, W]`, 0 to 255


LAYOUT: dict[str, tuple[type, int]] = {
    "originals": (np.uint8, 4),
    "reconstructions": (np.uint8, 4),
    "samples": (np.uint8, 4),
    "traversals": (np.uint8, 5),
    "units": (np.int64, 1),
    "plane": (np.uint8, 5),
    "codes": (np.float32, 2),
    "labels": (np.int64, 1),
    "altered": (np.uint8, 5),
}
"""The dtype and the number of axes of every array in the file; `altered` may be missing."""


class PicturesError(ValueError):
    """A file is not a file of pictures. The message names it and says what to do."""


@dataclass(frozen=True, eq=False)
class Pictures:
    """Images of one run."""

    originals: Pixels  # observations of the evaluated split, `[N, C, H, W]`
    reconstructions: Pixels  # for each, the likelihood's mean at the posterior's mean, `[N, C, H, W]`
    samples: Pixels  # the likelihood's mean at draws from the prior, `[S, C, H, W]`; empty without a prior
    traversals: Pixels  # one row for each traversed unit; the other units stay fixed, `[U, T, C, H, W]`
    units: NDArray[np.int64]  # all units, counted from 1, by decreasing KL, `[L]`; the first U are traversed
    plane: Pixels  # a grid over a latent space of two units, `[G, G, C, H, W]`; empty for other sizes
    # posterior means of observations in the first two units, `[M, 2]`; `[M, 1]` if there is one unit.
    codes: NDArray[np.float32]
    labels: NDArray[np.int64]  # classes of these observations, `[M]`; empty if the data has none
    # rows of images that an estimator compares, `[R, N, C, H, W]`; empty without such an estimator.
    altered: Pixels = field(default_factory=lambda: np.empty((0, 0, 1, 1, 1), np.uint8))

    @property
    def pairs(self) -> Pixels:
        """Observations above, reconstructions below."""
        return sheet(np.stack([self.originals, self.reconstructions]))

    @property
    def drawn(self) -> Pixels | None:
        """The samples in rows of ten; None without a prior."""
        return sheet(in_rows(self.samples)) if len(self.samples) else None

    @property
    def moved(self) -> Pixels:
        """The traversals, one row for each unit."""
        return sheet(self.traversals)

    @property
    def moved_units(self) -> str:
        """The numbers of the traversed units, for people."""
        return ", ".join(map(str, self.units[: len(self.traversals)]))

    @property
    def spanned(self) -> Pixels | None:
        """The plane; None if there is none."""
        return sheet(self.plane) if len(self.plane) else None

    @property
    def compared(self) -> Pixels | None:
        """The altered images; None if there are none."""
        return sheet(self.altered) if len(self.altered) else None


def in_rows(images: Pixels, most: int = 10) -> Pixels:
    """Images `[N, C, H, W]` in whole rows of at most `most`, `[R, K, C, H, W]`; what fills no row is left out."""
    columns = min(most, len(images))
    whole = len(images) // columns * columns
    return images[:whole].reshape(-1, columns, *images.shape[1:])


def sheet(grid: Pixels, gap: int = 1) -> Pixels:
    """Images `[R, K, C, H, W]` side by side with transparent gaps, `[H', W', C + 1]`; the last channel is opacity."""
    rows, columns, channels, height, width = grid.shape
    out = np.zeros((rows, height + gap, columns, width + gap, channels + 1), np.uint8)
    out[:, :height, :, :width, :channels] = grid.transpose(0, 3, 1, 4, 2)
    out[:, :height, :, :width, channels] = 255
    return out.reshape(rows * (height + gap), columns * (width + gap), channels + 1)[:-gap, :-gap]


def coloured(image: Pixels) -> Pixels:
    """A sheet with three channels of colour and one of opacity; grey is repeated."""
    return image if image.shape[-1] == 4 else image[..., [0, 0, 0, 1]]


def png(image: Pixels) -> bytes:
    """A sheet `[H, W, 2]` (grey and opacity) or `[H, W, 4]` (colour and opacity) as a PNG file."""
    from PIL import Image  # only pages need it

    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", optimize=True)
    return file.getvalue()


def write(pictures: Pictures, path: Path) -> None:
    """Write the file atomically."""
    out, arrays = io.BytesIO(), asdict(pictures)
    if not len(pictures.altered):
        del arrays["altered"]  # files written before this array existed keep their bytes
    np.savez_compressed(out, **arrays)
    write_atomically(path, out.getvalue())


def read(path: Path) -> Pictures:
    """Read the file.

    Raises:
        PicturesError: if it is damaged or has other arrays.
    """
    try:
        found = npz.read(path)
        wrong = [name for name, (kind, axes) in LAYOUT.items() if not _is(found.get(name), kind, axes)]
        if wrong != ["altered"] * ("altered" not in found):
            raise npz.ArraysError(f"no {', '.join(wrong)} as expected")
        return Pictures(**found)
    except (npz.ArraysError, TypeError) as error:
        raise PicturesError(f"{path}: not a file of pictures ({error}); delete it, or train the run again") from None


def _is(array: NDArray[Any] | None, kind: type, axes: int) -> bool:
    return array is not None and array.dtype == kind and array.ndim == axes


def find(folder: Path, id: str) -> Path | None:
    """The file of a run in `runs/<study>` or `results/<study>`; None if it has none."""
    places = (folder / id / ARRAYS, published_arrays(folder, id))
    return next((path for path in places if path.is_file()), None)
