"""A file that is whole or unchanged: written under a temporary name in the same folder, then renamed."""

import os
from collections.abc import Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from uuid import uuid4

from vaebench.records.run_folder import DAMAGED


class WriteError(OSError):
    """A file that could not be written; the message names it, and what stood there before is intact."""


def write_atomically(path: Path, content: bytes) -> None:
    """Replaces a file's content as a whole; a reader never sees half of it, and a failure leaves no temporary.

    Raises:
        WriteError: if the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise WriteError(
            f"{path}: cannot be written ({error.strerror or error}); what stood there before is intact; "
            "make room or choose another folder, then run the same command again"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def put_aside(path: Path) -> Path:
    """Gives a file that cannot be used another name, `.damaged`: nothing is deleted.

    Returns:
        That name; the file may be there no longer, where another process was quicker.
    """
    names = (path.with_suffix(f"{DAMAGED}{i or ''}") for i in count())
    aside = next(name for name in names if not name.exists())
    with suppress(FileNotFoundError):
        os.replace(path, aside)
    return aside


def check_writable(folder: Path) -> None:
    """Make a folder where there is none, and see whether files can be made in it.

    Raises:
        WriteError: naming it, and what to do.
    """
    probe = folder / f".{uuid4().hex}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise WriteError(
            f"{folder}: no file can be made here ({error.strerror or error}); "
            "make the folder writable, or run the command in another one"
        ) from error


def write_all(files: Mapping[Path, bytes]) -> list[Path]:
    """Replaces the content of each file as a whole.

    Raises:
        WriteError: at the first that cannot be written.
    """
    for path, content in files.items():
        write_atomically(path, content)
    return list(files)


def stale(files: Mapping[Path, bytes]) -> list[Path]:
    """The files that are missing or have other bytes."""
    return [path for path, content in files.items() if not path.is_file() or path.read_bytes() != content]
