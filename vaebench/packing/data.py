"""The data of a pack: one split in memory, for every seed its own order and its own pixels."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vaebench.batches import TrainingBatches
from vaebench.datamodule import DataModule
from vaebench.datasets.base import Dataset
from vaebench.registry import PositiveInt

CHUNK = 50
"""Steps in what Lightning takes for one batch: its own work for a batch is worth several steps of a small network."""

Chunk = Iterator[Float[Tensor, "U B *event"]]
"""The batches of consecutive steps, one observation tensor a seed, each gathered when it is asked for."""


class PackedBatches:
    """The batches of one epoch for U seeds at once: each seed's are those of a run alone.

    Args:
        streams: for each seed its batches, all from one split.
    """

    def __init__(self, streams: Sequence[TrainingBatches]) -> None:
        self.streams = list(streams)

    @property
    def steps(self) -> int:
        """The number of steps of an epoch."""
        return len(self.streams[0])

    def __len__(self) -> int:
        return -(-self.steps // CHUNK)

    def __iter__(self) -> Iterator[Chunk]:
        steps = zip(*(stream.picks() for stream in self.streams), strict=True)
        # A chunk is read to its end before Lightning asks for the next; `first` tells whether there is a next.
        for first in steps:
            yield (self._gathered(picks) for picks in _chained(first, islice(steps, CHUNK - 1)))

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to give the batches that would come next."""
        return {"streams": [stream.state_dict() for stream in self.streams]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state of these batches."""
        for stream, own in zip(self.streams, state["streams"], strict=True):
            stream.load_state_dict(own)

    def _gathered(self, picks: Sequence[tuple[Tensor, Tensor | None]]) -> Tensor:
        indices, uniforms = zip(*picks, strict=True)
        index = torch.cat(indices) if len(indices) > 1 else indices[0]
        u = None if uniforms[0] is None else torch.cat(uniforms) if len(uniforms) > 1 else uniforms[0]
        return self.streams[0].seen(index, u).x.unflatten(0, (len(picks), len(indices[0])))


class PackedData(DataModule):
    """A data set for the members of a pack.

    Args:
        dataset: where the observations come from.
        seeds: the members', in their order.
        batch_size: examples a step of each member.
        root: the folder that downloaded data sets share; None is `data_root()`.
    """

    def __init__(
        self, dataset: Dataset, seeds: Sequence[int], *, batch_size: PositiveInt = 64, root: Path | None = None
    ) -> None:
        super().__init__(dataset, seeds[0], batch_size=batch_size, root=root)
        self.seeds = list(dict.fromkeys(seeds))
        self._streams: list[TrainingBatches] = []

    def train_dataloader(self) -> PackedBatches:  # type: ignore[override]
        self._streams = [self.training(seed) for seed in self.seeds]
        batches = PackedBatches(self._streams)
        if self._resumed is not None:
            batches.load_state_dict(self._resumed)
            self._resumed = None
        return batches

    def next_epoch(self, seed: int) -> dict[str, Any]:
        """What `resume` needs to give the batches of a seed's next epoch."""
        return self._streams[self.seeds.index(seed)].next_epoch()

    def resume(self, orders: Mapping[int, dict[str, Any]]) -> None:
        """Let the next training loader go on from where each seed's batches stood."""
        self._resumed = {"streams": [orders[seed] for seed in self.seeds]}

    def state_dict(self) -> dict[str, Any]:
        if not self._streams or self.trainer is None:
            return {}
        epoch = self.trainer.fit_loop.epoch_progress.current
        ended = epoch.processed == epoch.ready  # type: ignore[attr-defined] # declared less exactly than it is
        return {"streams": [s.next_epoch() if ended else s.state_dict() for s in self._streams]}


def _chained(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest
