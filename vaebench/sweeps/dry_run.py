"""What a sweep would do: its packs, their memory, and about how long it takes. Nothing is trained or written."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from vaebench.config import Run
from vaebench.config.registry import DATASETS
from vaebench.data.datasets.base import data_root
from vaebench.records import record
from vaebench.records.record import RecordError
from vaebench.records.run_folder import record_paths
from vaebench.sweeps.engines.base import Engine
from vaebench.sweeps.packs import pack_key, packs_of
from vaebench.training.memory import needs, outline


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
        pending: the unfinished runs.
        engine: where they would train.
        max_size: members of the largest pack.
        folders: where records of such runs may lie; their times are the estimate.
    """
    known, bytes_of = _seconds(folders), dict[str, int | None]()
    planned = []
    for pack in packs_of(pending, max_size, engine.workers):
        if (kind := pack_key(pack[0])) not in bytes_of:
            bytes_of[kind] = _bytes(pack[0], engine)
        each, seconds = bytes_of[kind], _sum(known.get(run.id) or known.get(kind) for run in pack)
        planned.append(PlannedPack(pack, None if each is None else each * len(pack), seconds))
    return planned


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
    """The sum; None if one is unknown."""
    known = list(seconds)
    return None if None in known else sum(s for s in known if s is not None)


def _bytes(run: Run, engine: Engine) -> int | None:
    """What one member of a pack needs."""
    preview = DATASETS.build(run.data).preview(data_root()) if engine.is_here else None
    model = None if preview is None else outline(run.model, preview.shape)
    return None if model is None else needs([model], run.train.batch_size)
