"""Arrays in files of NumPy's, read safely; and the images that a trained model made, kept in such a file.

NumPy itself allocates what a header claims. Here the size in a header is compared with the file before memory is
allocated. For files with pickled objects, NumPy's error advises to allow them.
"""

import io
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from io import BufferedIOBase
from math import prod
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from vaebench.records.files import ARRAYS, published_arrays, write_atomically

Found = TypeVar("Found")

MAGIC = b"\x93NUMPY"

RATIO = 1100  # how much larger than its compressed size a member may be. Deflate reaches 1032 at most


class ArraysError(ValueError):
    """A file without arrays of numbers. The message says what is wrong; the caller adds the file's name."""


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file by name, or the array of an .npy file under the name ''.

    Raises:
        ArraysError: if it is another file, is cut off or damaged, claims more than it has, or has Python objects.
    """
    return _each(path, _array)


def shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each array, from the headers alone; names and errors as for `read_arrays`."""
    return _each(path, _shape)


def _each(path: Path, of: Callable[[str, BufferedIOBase, int], Found]) -> dict[str, Found]:
    if not path.is_file():
        raise ArraysError("it is a folder" if path.is_dir() else "it is no file" if path.exists() else "no such file")
    try:
        with path.open("rb") as file:
            return _members(file, of) if zipfile.is_zipfile(file) else {"": of("", file, path.stat().st_size)}
    except ArraysError:
        raise
    except MemoryError:
        raise ArraysError("its arrays do not fit into memory") from None
    except OSError as error:
        raise ArraysError((error.strerror or str(error)).lower()) from None
    except Exception as error:  # NumPy and zipfile raise many kinds, such as a TokenError for the text of a header
        raise ArraysError(f"damaged or cut off: {_first_line(error)}") from None


def _members(file: BufferedIOBase, of: Callable[[str, BufferedIOBase, int], Found]) -> dict[str, Found]:
    found = {}
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            if name == member.filename:
                continue  # not an array
            if member.file_size > RATIO * member.compress_size + 1024:
                raise ArraysError(f"{name}: claims {member.file_size} bytes and holds {member.compress_size}")
            with archive.open(member) as opened:
                found[name] = of(f"{name}: ", cast(BufferedIOBase, opened), member.file_size)
    return found


def _shape(source: str, file: BufferedIOBase, size: int) -> tuple[int, ...]:
    """The shape of the array in an .npy file of `size` bytes, from its header, which is checked."""
    file.seek(0)
    start = file.read(len(MAGIC) + 2)
    if not start:
        raise ArraysError(f"{source}empty, 0 bytes")
    if not start.startswith(MAGIC) or len(start) < len(MAGIC) + 2:
        raise ArraysError(f"{source}no file of NumPy's")
    header = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}.get(start[len(MAGIC)])
    if header is None:
        raise ArraysError(f"{source}an array of named fields")
    shape: tuple[int, ...]
    shape, _, kind = header(file)
    if kind.hasobject:
        raise ArraysError(f"{source}Python objects, written by pickle")
    claimed, held = prod(shape) * kind.itemsize, size - file.tell()
    if any(n < 0 for n in shape) or claimed > held:
        raise ArraysError(
            f"{source}cut off or damaged: shape {[*shape]} of {kind} takes {claimed} bytes, the file holds {held}"
        )
    return shape


def _array(source: str, file: BufferedIOBase, size: int) -> np.ndarray:
    _shape(source, file, size)
    file.seek(0)
    array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
    while file.read(2**20):
        pass  # at the end zipfile compares the checksum
    return array


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


# -- 8-bit images: one compressed file beside the record, and grids for pages -----------------------------------------

Pixels = NDArray[np.uint8]  # `[..., C, H, W]`, 0 to 255


LAYOUT = {
    "originals": ("uint8", 4),
    "reconstructions": ("uint8", 4),
    "samples": ("uint8", 4),
    "traversals": ("uint8", 5),
    "units": ("int64", 1),
    "plane": ("uint8", 5),
    "codes": ("float32", 2),
    "labels": ("int64", 1),
    "altered": ("uint8", 5),
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


def write_pictures(pictures: Pictures, path: Path) -> None:
    """Write the file atomically."""
    out, arrays = io.BytesIO(), asdict(pictures)
    if not len(pictures.altered):
        del arrays["altered"]  # files written before this array existed keep their bytes
    np.savez_compressed(out, **arrays)
    write_atomically(path, out.getvalue())


def read_pictures(path: Path) -> Pictures:
    """Read the file.

    Raises:
        PicturesError: if it is damaged or has other arrays.
    """
    try:
        found = read_arrays(path)
        given = {name: (str(array.dtype), array.ndim) for name, array in found.items()}
        wrong = [name for name, expected in LAYOUT.items() if given.get(name) != expected]
        if wrong != ["altered"] * ("altered" not in found):
            raise ArraysError(f"no {', '.join(wrong)} as expected")
        return Pictures(**found)
    except (ArraysError, TypeError) as error:
        raise PicturesError(f"{path}: not a file of pictures ({error}); delete it, or train the run again") from None


def find_pictures(folder: Path, id: str) -> Path | None:
    """The file of a run in `runs/<study>` or `results/<study>`; None if it has none."""
    places = (folder / id / ARRAYS, published_arrays(folder, id))
    return next((path for path in places if path.is_file()), None)
