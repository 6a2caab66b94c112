"""Checks of a record's content: its id is the hash of its configuration, and its numbers are possible."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaebench.records.checksums import sha256
from vaebench.records.run_folder import PUBLISHED_RECORDS

if TYPE_CHECKING:
    from vaebench.records.record import Record


def identity(config: dict[str, Any]) -> str:
    """The id of a run: ten hexadecimal digits of the SHA-256 of its configuration; the order of keys does not matter.

    >>> identity({"seed": 0})
    'bd04888434'
    """
    return sha256(config)[:10]


def faults(record: "Record") -> Iterator[str]:
    """The faults of a record whose entries have the right types, but impossible values."""
    if record.id != (expected := identity(record.config)):
        yield f"its id {record.id} is not the hash of its configuration, {expected}"
    if (record.status == "failed") != bool(record.reason):
        yield f"a run that is {record.status} has {'a' if record.status == 'failed' else 'no'} reason"
    seed = record.config.get("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool):
        yield f"config.seed: expected a whole number, got {seed!r}"
    names = [e.name for e in record.estimates]
    yield from (f"{name} is measured twice" for name in names if names.count(name) > 1)
    for e in record.estimates:
        spreads = [s for s in (e.standard_error, e.monte_carlo_error) if s is not None]
        if e.n < 0 or any(s < 0 for s in spreads):
            yield f"{e.name}: expected n and errors of 0 or more, got n {e.n}, errors {spreads}"
    yield from _faults_of_curve(record.curve, record.config.get("train"))


def _faults_of_curve(curve: dict[str, list[int | float | None]], train: Any) -> Iterator[str]:
    if len({len(column) for column in curve.values()}) > 1:
        yield f"the columns of its curve have {sorted({len(c) for c in curve.values()})} rows"
    epochs = curve.get("epoch", [])
    last = train.get("epochs", math.inf) if isinstance(train, dict) else math.inf
    if any(e is None for e in epochs) or epochs != sorted({e for e in epochs if e is not None and 1 <= e <= last}):
        yield f"expected epochs from 1 to {last} in its curve, each once and in order"


def remedy_of(path: Path) -> str:
    """What the user should do about a damaged record; a published one is in version control."""
    published = path.parent.name == PUBLISHED_RECORDS
    return "restore it from version control" if published else "delete it and run the same command again"
