"""Which runs of a sweep train together. Their configurations decide, before any data is loaded."""

import json
import math
import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, TypeVar

from vaebench.config import Run

Sliced = TypeVar("Sliced", list[Run], range)

MAX_PACK_SIZE = 32
"""What `--pack auto` allows: larger packs save no further time, and their numbers no longer fit a processor's cache."""

MAX_PACK_SIZE_ON_GPU = 1024
"""The same on a GPU, whose memory is the limit: a pack that needs too much of it is split (`training.memory`)."""


def max_pack_size(pack: str, on_gpu: bool = False) -> int:
    """The largest pack that `--pack auto|off|N` allows.

    >>> [max_pack_size(pack) for pack in ("auto", "off", "7")]
    [32, 1, 7]

    Raises:
        ValueError: for any other text.
    """
    if pack in ("auto", "off"):
        return 1 if pack == "off" else MAX_PACK_SIZE_ON_GPU if on_gpu else MAX_PACK_SIZE
    if not re.fullmatch(r"0*[1-9][0-9]{0,5}", pack):
        raise ValueError(f"--pack: expected auto, off, or how many runs may train together, got {pack[:20]!r}")
    return int(pack)


def packs_of(runs: Sequence[Run], max_size: int = MAX_PACK_SIZE, workers: int = 1) -> list[list[Run]]:
    """Group runs into packs: runs with the same `pack_key`, in parts of about the same size.

    Args:
        max_size: members of the largest pack.
        workers: how many packs are worked on at the same time; packs are made small enough that each worker has one.
    """
    if not runs:
        return []
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(pack_key(run), []).append(run)
    max_size = min(max_size, math.ceil(len(runs) / workers))
    return [pack for group in groups.values() for pack in split(group, math.ceil(len(group) / max_size))]


def pack_key(run: Run) -> str:
    """What all runs of a pack share: architecture, data, batch size, number of epochs.

    These may differ in a pack: the seed, the clipping, the evaluation, and every real number of the model (β, learning
    rate, weight decay), because real numbers are never sizes. A run on several devices, or with early stopping, trains
    outside a pack, so its id is in the key.
    """
    shared = _shared(run.unseeded)
    return shared if run.train.why_not_packed is None else f"{run.id} {shared}"


@lru_cache(2**12)
def _shared(unseeded: str) -> str:
    """The key of every run that is equal but for its seed; a study may have a hundred thousand of them."""
    run = json.loads(unseeded)
    train = run["train"] | {"gradient_clip": None}
    return json.dumps([_without_reals(run["model"]), run["data"], _without_reals(train)], sort_keys=True)


def describe_packs(packs: Sequence[Sequence[Run]], max_size: int) -> str:
    """One line: how the runs are packed, and why."""
    count, largest = sum(map(len, packs)), max(map(len, packs), default=0)
    if count == 1:
        return "one run"
    if max_size == 1:
        return f"{count} runs, each by itself: --pack off"
    if largest <= 1:
        reasons = {run.train.why_not_packed for pack in packs for run in pack}
        if len(reasons) == 1 and None not in reasons:
            return f"{count} runs, each by itself: {reasons.pop()}"
        if len({pack_key(run) for pack in packs for run in pack}) < count:
            return f"{count} runs, each by itself: there are enough workers for all"
        return f"{count} runs, each by itself: no two share architecture, data, batch size and epochs"
    sizes = sorted({len(pack) for pack in packs})
    of = f"of {sizes[0]}" if len(sizes) == 1 else f"of {sizes[0]} to {sizes[-1]}"
    packed = f"{count} runs as 1 pack" if len(packs) == 1 else f"{count} runs as {len(packs)} packs {of}"
    return f"{packed}: the runs of a pack share architecture, data, batch size and epochs (at most {max_size}, --pack)"


def _without_reals(value: Any) -> Any:
    """A part of a configuration in which every real number is replaced by the same text."""
    if isinstance(value, dict):
        return {k: _without_reals(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_without_reals(v) for v in value]
    return "a number" if isinstance(value, float) else value


def split(group: Sliced, n: int) -> list[Sliced]:
    """A sequence in n parts of about the same size.

    >>> split(range(5), 2)
    [range(0, 2), range(2, 5)]
    """
    return [group[a:b] for a, b in pairwise(len(group) * i // n for i in range(n + 1))]
