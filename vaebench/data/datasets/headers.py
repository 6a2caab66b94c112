"""The shapes of the arrays in an .npy or .npz file, from their headers alone."""

import zipfile
import zlib
from io import BufferedIOBase
from pathlib import Path
from typing import cast

import numpy as np


def shapes(file: Path) -> dict[str, tuple[int, ...]] | None:
    """The shape of each array by its name (`x` for the array of an .npy file); None for every other file."""
    try:
        with file.open("rb") as opened:
            if not zipfile.is_zipfile(opened):
                opened.seek(0)
                return {"x": _shape(opened)}
            with zipfile.ZipFile(opened) as archive:
                arrays = [name for name in archive.namelist() if name.endswith(".npy")]
                return {name.removesuffix(".npy"): _member(archive, name) for name in arrays}
    except (ValueError, EOFError, OSError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error):
        return None


def _member(archive: zipfile.ZipFile, name: str) -> tuple[int, ...]:
    with archive.open(name) as opened:
        return _shape(cast(BufferedIOBase, opened))


def _shape(opened: BufferedIOBase) -> tuple[int, ...]:
    version = np.lib.format.read_magic(opened)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape: tuple[int, ...] = read(opened)[0]
    return shape
