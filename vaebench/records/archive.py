"""A zip archive, as torch writes its files, that proves itself.

Its comment says what it is, and ends with the SHA-256 of every byte before: torch itself looks at no checksum, and a
flipped bit would move numbers. To everybody else it is the archive that it was.
"""

import hashlib
import io
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

END, BARE = b"PK\x05\x06", 22
"""How the last part of a zip archive begins, and its length where there is no comment."""

DIGITS = 64
"""Hexadecimal digits of a SHA-256."""


class SealError(ValueError):
    """A file that does not prove itself; the message names it."""


def sealed(archive: bytes, **about: Any) -> bytes:
    """An archive without a comment, with its seal.

    Args:
        archive: its bytes.
        about: what it is, as plain JSON.
    """
    if not _is_bare(archive):
        raise ValueError("expected a zip archive without a comment")
    comment = json.dumps(about).encode()
    body = archive[:-2] + (len(comment) + DIGITS).to_bytes(2, "little") + comment
    return body + _sha256(body)


def about(content: bytes, source: str | Path) -> dict[str, Any]:
    """What a sealed archive says that it is; nothing where it has no seal, as those before there was one.

    Raises:
        SealError: if a bit of it is not what was written, or (without a seal) if an entry has another CRC-32.
    """
    try:
        if _is_bare(content):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                if (wrong := archive.testzip()) is not None:
                    raise SealError(f"{source}: damaged ({wrong} has another checksum)")
                return {}
        if len(content) <= DIGITS or _sha256(content[:-DIGITS]) != content[-DIGITS:]:
            raise SealError(f"{source}: damaged, or no checkpoint (it does not end with the SHA-256 of its content)")
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            found: dict[str, Any] = json.loads(archive.comment[:-DIGITS])
            return found
    except (zipfile.BadZipFile, zlib.error, OSError, RuntimeError, LookupError, EOFError) as error:
        raise SealError(f"{source}: damaged, or no checkpoint ({' '.join(str(error).split())[:200]})") from None


def checksum(content: bytes) -> str:
    """The SHA-256 of a file, as records keep it."""
    return hashlib.sha256(content).hexdigest()


def _is_bare(content: bytes) -> bool:
    return content[-BARE:][:4] == END and content[-2:] == b"\0\0"


def _sha256(content: bytes) -> bytes:
    return checksum(content).encode()
