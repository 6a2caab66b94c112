"""Data sets from torchvision: found in the data folder, or downloaded to it and checked by torchvision."""

import os
import pickle
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any
from urllib.error import URLError


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
