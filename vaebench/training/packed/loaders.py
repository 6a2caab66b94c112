"""The data of a pack: one split in memory, for every seed its own order and its own pixels."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vaebench.config.registry import PositiveInt
from vaebench.data.datamodule import DataModule
from vaebench.data.datasets.base import Dataset
from vaebench.data.loaders import TrainingBatches

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
        behind = self.streams[0].skipped
        # Lightning counts chunks: of an epoch that goes on in its middle, those that are over are given, and are empty.
        yield from (iter(()) for _ in range(behind // CHUNK))
        steps, room = zip(*(stream.indices() for stream in self.streams), strict=True), CHUNK - behind % CHUNK
        # A chunk is read to its end before Lightning asks for the next; `first` tells whether there is a next.
        for first in steps:
            yield (self._gathered(picks) for picks in _chained(first, islice(steps, room - 1)))
            room = CHUNK

    def _gathered(self, picks: Sequence[tuple[Tensor, Tensor | None]]) -> Tensor:
        indices, uniforms = zip(*picks, strict=True)
        index = torch.cat(indices) if len(indices) > 1 else indices[0]
        u = None if uniforms[0] is None else torch.cat(uniforms) if len(uniforms) > 1 else uniforms[0]
        return self.streams[0].gather(index, u).x.unflatten(0, (len(picks), len(indices[0])))


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
        self._orders: Mapping[int, dict[str, Any]] = {}

    def train_dataloader(self) -> PackedBatches:  # type: ignore[override]
        self._streams = [self.training(seed) for seed in self.seeds]
        batches = PackedBatches(self._streams)
        for seed, stream in zip(self.seeds, self._streams, strict=True):
            if seed in self._orders:
                stream.load_state_dict(self._orders[seed])
        self._orders = {}
        return batches

    def order(self, seed: int) -> dict[str, Any]:
        """What `resume` needs to give the batches of a seed that come next."""
        return self._streams[self.seeds.index(seed)].state_dict()

    def resume(self, orders: Mapping[int, dict[str, Any]]) -> None:
        """Let the next training loader go on from where each seed's batches stood."""
        self._orders = orders


def _chained(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest
