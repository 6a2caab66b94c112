"""Plain JSON: without NaN, with one entry a line so that diffs are short, and its SHA-256."""

import json
import math
from typing import Any

from vaebench.records.archive import checksum


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
