"""Checksums: of checkpoints, which are zip archives, and of JSON; and JSON as records write it.

torch writes a zip archive and checks no checksum, so a flipped bit would change numbers. So the comment of the archive
gets a header in JSON and the SHA-256 of all bytes before it. Other programs still read the file as the same archive.
"""

import hashlib
import io
import json
import math
import zipfile
from pathlib import Path
from typing import Any

END, BARE = b"PK\x05\x06", 22
"""The first bytes of the last part of a zip archive, and the length of that part without a comment."""

DIGITS = 64  # hexadecimal digits of a SHA-256


class SealError(ValueError):
    """A file whose checksum is wrong or missing; the message names it."""


def sealed(archive: bytes, **about: Any) -> bytes:
    """The archive with a header and a checksum in its comment.

    Args:
        about: the header, as plain JSON.
    """
    if not _is_bare(archive):
        raise ValueError("expected a zip archive without a comment")
    comment = json.dumps(about).encode()
    body = archive[:-2] + (len(comment) + DIGITS).to_bytes(2, "little") + comment
    return body + _sha256(body)


def about(content: bytes, source: str | Path) -> dict[str, Any]:
    """Check an archive and return its header; empty for an archive from before there were checksums.

    Raises:
        SealError: if the SHA-256 does not fit (or, for an old archive, the CRC-32 of an entry).
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
    except SealError:
        raise
    except Exception as error:  # zipfile raises many kinds, such as a UnicodeDecodeError for a name
        raise SealError(f"{source}: damaged, or no checkpoint ({' '.join(str(error).split())[:200]})") from None


def checksum(content: bytes) -> str:
    """The SHA-256 of a file's content, as records keep it.

    >>> checksum(b"")[:16]
    'e3b0c44298fc1c14'
    """
    return hashlib.sha256(content).hexdigest()


def _is_bare(content: bytes) -> bool:
    return content[-BARE:][:4] == END and content[-2:] == b"\0\0"


def _sha256(content: bytes) -> bytes:
    return checksum(content).encode()


def sha256(value: Any) -> str:
    """SHA-256 of plain JSON. The order of keys and the layout do not matter.

    >>> sha256({"a": 1, "b": 2}) == sha256({"b": 2, "a": 1})
    True
    """
    return checksum(json.dumps(value, sort_keys=True, separators=(",", ":")).encode())


def finite(value: Any) -> Any:
    """The value with None for every float that is not finite.

    >>> finite({"x": [1.0, float("nan")]})
    {'x': [1.0, None]}
    """
    if isinstance(value, dict):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def laid_out(value: Any) -> str:
    """JSON with each member of the outermost container on its own line."""
    match value:
        case dict() if value:
            return "{\n" + ",\n".join(f"  {json.dumps(k)}: {_json(v)}" for k, v in value.items()) + "\n}"
        case list() if value:
            return "[\n" + ",\n".join(f"  {_json(v)}" for v in value) + "\n]"
    return _json(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
