"""Which runs of a sweep train together. Their configurations decide, before any data is loaded.

`dry_run` says about how much memory and time they take. Nothing is trained or written for that.
"""

import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from vaebench.config import Run
from vaebench.config.registry import DATASETS
from vaebench.records import record
from vaebench.records.record import RecordError
from vaebench.records.run_folder import record_paths
from vaebench.sweeps.engines.base import Engine

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
        runs: in any order.
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
    train = {**asdict(run.train), "gradient_clip": None}
    own = None if run.train.why_not_packed is None else run.id
    parts = [_without_reals(run.config["model"]), run.config["data"], _without_reals(train), own]
    return json.dumps(parts, sort_keys=True)


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


class PlannedPack(NamedTuple):
    """Runs that would train together."""

    runs: list[Run]  # the members
    bytes: int | None  # about how much memory their training needs; None where it is not known before
    seconds: float | None  # about how long they take, from records of such runs; None without one

    @property
    def cost(self) -> str:
        """Memory and time, in words."""
        memory = "memory unknown" if self.bytes is None else f"about {self.bytes / 2**20:.0f} MiB"
        return f"{memory}, {'time unknown' if self.seconds is None else f'about {self.seconds:.0f} s'}"


def dry_run(pending: Sequence[Run], engine: Engine, max_size: int, folders: Iterable[Path]) -> list[PlannedPack]:
    """The packs of a sweep, in the order in which they would start.

    Args:
        folders: where records of such runs may lie; their times are the estimate.
    """
    known = _seconds(folders)
    return [
        PlannedPack(pack, _bytes(pack, engine), _sum(known.get(run.id) or known.get(pack_key(run)) for run in pack))
        for pack in packs_of(pending, max_size, engine.workers)
    ]


def duration(packs: Sequence[PlannedPack], workers: int) -> str:
    """About how long the sweep takes, on one line.

    >>> duration([PlannedPack([], None, 30.0), PlannedPack([], None, 10.0)], 2)
    'about 30 s with 2 workers, from the records of such runs'
    """
    seconds = [pack.seconds for pack in packs]
    if unknown := seconds.count(None):
        return f"time unknown: of {unknown} of {len(packs)} packs there is no record of such a run"
    known = [s for s in seconds if s is not None]
    longest = max(sum(known) / workers, *known, 0.0)
    return f"about {longest:.0f} s with {workers} worker{'s' * (workers != 1)}, from the records of such runs"


def _seconds(folders: Iterable[Path]) -> dict[str, float]:
    """Seconds of a run, by its id and by what it shares with its pack (there the mean over the records)."""
    found: dict[str, list[float]] = {}
    for path in (path for folder in folders for path in record_paths(folder)):
        try:
            one = record.read(path)
            keys = [one.id, pack_key(Run.of(one.config))]
        except (OSError, ValueError, RecordError):
            continue  # a damaged record, or one of an earlier version, says nothing about time
        if seconds := float(sum((one.provenance.get("seconds") or {}).values())):
            for key in keys:
                found.setdefault(key, []).append(seconds)
    return {key: sum(seconds) / len(seconds) for key, seconds in found.items()}


def _sum(seconds: Iterable[float | None]) -> float | None:
    known = list(seconds)
    return None if None in known else sum(s for s in known if s is not None)


def _bytes(pack: Sequence[Run], engine: Engine) -> int | None:
    from vaebench.data.datasets.base import data_root
    from vaebench.training.memory import needs, outline

    if not engine.is_here:
        return None
    preview = DATASETS.build(pack[0].data).preview(data_root())
    models = [outline(run.model, preview.shape) for run in pack] if preview is not None else [None]
    built = [model for model in models if model is not None]
    return needs(built, pack[0].train.batch_size) if len(built) == len(pack) else None
