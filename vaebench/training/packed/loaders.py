"""The data of a pack: one split in memory, and for every seed its own order of examples and its own binary pixels.

Training has units of four sizes:

- A *step* changes the parameters once. It reads one *batch*: `batch_size` examples of each seed.
- A *block* is up to 10 steps (`BLOCK`) that a GPU takes by itself, after one call of the CPU. A CPU has no blocks.
- A *chunk* is up to 50 steps (`CHUNK`). Lightning takes it for one batch: it calls `Pack.training_step` once for a
  chunk, because its own work for a call takes as long as several steps of a small network. (`ChunkSize` in
  `vaebench.models.draws` is not about training.)
- An *epoch* reads every example once.

On a GPU, `DeviceBatches` keep the order of an epoch and the place in it on the device, so that a step needs nothing
from the CPU.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from vaebench.config.registry import PositiveInt
from vaebench.data.datamodule import DataModule
from vaebench.data.datasets.base import Dataset
from vaebench.data.loaders import TrainingBatches

CHUNK = 50
"""Steps in one chunk."""

Chunk = Iterator[Float[Tensor, "U B *event"]]
"""The batches of the steps of one chunk. Each is gathered only when the step reads it."""

BLOCK = 10
"""Steps in one block. Training can stop only between blocks."""


class Block(NamedTuple):
    """Consecutive steps with batches of one size, which a GPU takes by itself."""

    batch_size: int
    steps: int


class PackedBatches:
    """The batches of one epoch for U seeds at once. Each seed has the batches that a single run has.

    Args:
        streams: the batches of each seed, all from one split.
    """

    def __init__(self, streams: Sequence[TrainingBatches]) -> None:
        self.streams = list(streams)

    @property
    def steps_per_epoch(self) -> int:
        """The number of steps. (`len` is the number of chunks: what Lightning calls batches.)"""
        return len(self.streams[0])

    def __len__(self) -> int:
        return -(-self.steps_per_epoch // CHUNK)

    def __iter__(self) -> Iterator[Chunk]:
        skipped = self.streams[0].skipped
        # Lightning counts chunks. In a resumed epoch it expects the chunks that are already done, so they are empty.
        yield from (iter(()) for _ in range(skipped // CHUNK))
        steps, length = self._steps(skipped), CHUNK - skipped % CHUNK
        # Lightning reads a chunk to its end before it asks for the next. Fetching its first step here shows whether
        # there is a next chunk at all.
        for first in steps:
            yield (self._gather(*step) for step in chain([first], islice(steps, length - 1)))
            length = CHUNK

    def _steps(self, skipped: int) -> Iterator[tuple[Int64[Tensor, "U B"], Tensor | None]]:
        """The indices of each step after those that are skipped, and the uniform numbers that binarise it.

        They are those of `TrainingBatches.indices`.
        """
        size = self.streams[0].shard.batch_size
        orders = torch.stack([stream.begin_epoch() for stream in self.streams]).to(self.streams[0].split.x.device)
        for index in orders.split(size, 1)[skipped:]:
            u = self._pixels(index.shape[1])
            for stream in self.streams:
                stream.count()
            yield index, u

    def _pixels(self, size: int) -> Float[Tensor, "R *shape"] | None:
        """The uniform numbers of the next batch, of one seed after the other; None if nothing is sampled."""
        drawn = [u for stream in self.streams if (u := stream.pixels(size)) is not None]
        return torch.cat(drawn) if drawn else None

    def _gather(self, index: Int64[Tensor, "U B"], u: Tensor | None) -> Float[Tensor, "U B *event"]:
        """The observations of one step, for all seeds in one call."""
        return self.streams[0].gather(index.flatten(), u).x.unflatten(0, index.shape)


class DeviceBatches(PackedBatches):
    """Batches that the device selects by itself: the orders of an epoch, and the place in them, lie on the device.

    So a step needs nothing from the CPU. The numbers are those of `PackedBatches`.

    Args:
        streams: the batches of each seed, all from one split.
    """

    def __init__(self, streams: Sequence[TrainingBatches]) -> None:
        super().__init__(streams)
        x = self.streams[0].split.x
        self._orders = torch.zeros(len(self.streams), len(x), dtype=torch.int64, device=x.device)
        self._place = torch.zeros((), dtype=torch.int64, device=x.device)
        self._range = torch.arange(self.streams[0].shard.batch_size, device=x.device)

    def __iter__(self) -> Iterator[Iterator[Block]]:  # type: ignore[override]
        size, skipped = self.streams[0].shard.batch_size, self.streams[0].skipped
        yield from (iter(()) for _ in range(skipped // CHUNK))
        self._orders.copy_(torch.stack([stream.begin_epoch() for stream in self.streams]))
        self._place.fill_(skipped * size)
        whole = len(self._orders[0]) // size
        for first in range(skipped // CHUNK * CHUNK, self.steps_per_epoch, CHUNK):
            done, last = max(first, skipped), min(first + CHUNK, self.steps_per_epoch)
            yield self._blocks(done, min(last, whole), size, last)

    def _blocks(self, done: int, whole: int, size: int, last: int) -> Iterator[Block]:
        """The steps from `done` to `last`. The last step may have a smaller batch."""
        for first in range(done, whole, BLOCK):
            yield Block(size, min(BLOCK, whole - first))
        if last > whole:
            yield Block(len(self._orders[0]) % size, 1)

    def read(self, batch_size: int) -> Float[Tensor, "U B *event"]:
        """The next batch of all seeds. It is computed on the device alone, and moves the place there."""
        index = self._orders.index_select(1, self._range[:batch_size] + self._place)
        self._place += batch_size
        return self._gather(index, self._pixels(batch_size))

    def count(self, steps: int) -> None:
        """Note on the CPU that these steps are read."""
        for stream in self.streams:
            stream.count(steps)

    @property
    def generators(self) -> list[torch.Generator]:
        """Of the pixels of each seed; none if nothing is sampled."""
        return [] if self.streams[0].binarization is None else [stream.pixel_stream for stream in self.streams]


def seeds_of(members: Iterable[int]) -> list[int]:
    """The seeds of members, each once, in the order in which they first come: that of the batches of a pack.

    >>> seeds_of([2, 0, 2, 1])
    [2, 0, 1]
    """
    return list(dict.fromkeys(members))


class PackedData(DataModule):
    """A data set for the members of a pack.

    Args:
        dataset: the source of the observations.
        seeds: of the members, in their order.
        batch_size: examples in a step of one member.
        root: the folder of downloaded data sets; None for `data_root()`.

    Attributes:
        seeds: of the members, each once. They may be changed between two trainings.
        may_select_on_device: whether a GPU may select its batches by itself (`DeviceBatches`).
    """

    may_select_on_device = True

    def __init__(
        self, dataset: Dataset, seeds: Sequence[int], *, batch_size: PositiveInt = 64, root: Path | None = None
    ) -> None:
        super().__init__(dataset, seeds[0], batch_size=batch_size, root=root)
        self.seeds = seeds_of(seeds)
        self._streams: list[TrainingBatches] = []
        self._orders: Mapping[int, dict[str, Any]] = {}

    def train_dataloader(self) -> PackedBatches:  # type: ignore[override]
        self._streams = [self.training(seed) for seed in self.seeds]
        on_device = self.may_select_on_device and self._device.type != "cpu"
        batches = (DeviceBatches if on_device else PackedBatches)(self._streams)
        for seed, stream in zip(self.seeds, self._streams, strict=True):
            if seed in self._orders:
                stream.load_state_dict(self._orders[seed])
        self._orders = {}
        return batches

    def order(self, seed: int) -> dict[str, Any]:
        """The state of a seed's batches, for `resume`."""
        return self._streams[self.seeds.index(seed)].state_dict()

    def resume(self, orders: Mapping[int, dict[str, Any]]) -> None:
        """Let the next training loader continue from these states, by seed."""
        self._orders = orders
