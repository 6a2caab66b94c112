"""Read NumPy's files safely: the size in a header is compared with the file before memory is allocated.

NumPy itself allocates what a header claims. For files with pickled objects, its error advises to allow them.
"""

import zipfile
import zlib
from collections.abc import Callable
from io import BufferedIOBase
from math import prod
from pathlib import Path
from typing import TypeVar, cast

import numpy as np

Found = TypeVar("Found")

MAGIC = b"\x93NUMPY"

RATIO = 1100  # how much larger than its compressed size a member may be. Deflate reaches 1032 at most


class ArraysError(ValueError):
    """A file without arrays of numbers. The message says what is wrong; the caller adds the file's name."""


def read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz file by name, or the array of an .npy file under the name ''.

    Raises:
        ArraysError: if it is another file, is cut off or damaged, claims more than it has, or has Python objects.
    """
    return _each(path, _array)


def shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each array, from the headers alone; names and errors as for `read`."""
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
    except (ValueError, EOFError, KeyError, RuntimeError, OverflowError, zipfile.BadZipFile, zlib.error) as error:
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
