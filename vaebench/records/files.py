"""Write files atomically: under a temporary name in the same folder, then renamed."""

import os
from collections.abc import Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from uuid import uuid4

from vaebench.records.run_folder import DAMAGED


class WriteError(OSError):
    """A file could not be written. The message names it; its previous content is intact."""


def write_atomically(path: Path, content: bytes) -> None:
    """Replace the content of a file. A reader never sees half of it, and a failure leaves no temporary file.

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
            f"{path}: cannot be written ({error.strerror or error}); its previous content is intact; "
            "free some space or choose another folder, then run the same command again"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def put_aside(path: Path) -> Path:
    """Rename a file that cannot be used to `.damaged`; nothing is deleted.

    Returns:
        The new name. The file may be missing there if another process moved it first.
    """
    names = (path.with_suffix(f"{DAMAGED}{i or ''}") for i in count())
    aside = next(name for name in names if not name.exists())
    with suppress(FileNotFoundError):
        os.replace(path, aside)
    return aside


def check_writable(folder: Path) -> None:
    """Create a folder if necessary, and check that files can be created in it.

    Raises:
        WriteError: if not; the message says what to do.
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
    """Replace the content of each file.

    Raises:
        WriteError: at the first file that cannot be written.
    """
    for path, content in files.items():
        write_atomically(path, content)
    return list(files)


def stale(files: Mapping[Path, bytes]) -> list[Path]:
    """The files that are missing or have other content."""
    return [path for path, content in files.items() if not path.is_file() or path.read_bytes() != content]
