"""Batches of a split that lies on the device: slices by index, made float and binarised as they leave.

There are no worker processes to feed and nothing to copy.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from vaebench.config.seeding import generator
from vaebench.data.batch import Batch
from vaebench.data.binarization import Binarization


@dataclass(frozen=True)
class Resident:
    """A split on the device: raw observations `[N, *shape]`, labels `[N]` or None, and the number that scales them."""

    x: Shaped[Tensor, "N *shape"]
    label: Int64[Tensor, " N"] | None
    scale: float

    def __getitem__(self, index: Any) -> Batch:
        """The observations with the given numbers (a tensor of them, on any device, or a slice), in float32."""
        # index_select copies rows, where brackets look up every number.
        rows = self.x.index_select(0, index.to(self.x.device)) if isinstance(index, Tensor) else self.x[index]
        x = rows.float()
        return Batch(x if self.scale == 1 else x / self.scale, None if self.label is None else self.label[index])

    def to(self, device: torch.device) -> "Resident":
        """The same split on a device; nothing is copied where it lies there."""
        return Resident(self.x.to(device), None if self.label is None else self.label.to(device), self.scale)


class Share(NamedTuple):
    """What one of several processes takes of an ordered split: every `world`-th example, from `rank` on.

    No example is taken twice and none is left out, so that sums over processes are sums over the split. All processes
    take the same number of steps where there are examples enough for that: one that is an example short splits its last
    batch. Where there are too few, it takes fewer steps; a batch is never empty.
    """

    batch_size: int
    rank: int = 0
    world: int = 1

    def steps(self, n: int) -> int:
        """The number of batches in n examples; the last is short where the batch size does not divide."""
        return math.ceil(math.ceil(n / self.world) / self.batch_size)

    def batches(self, order: Int64[Tensor, " N"]) -> list[Int64[Tensor, " B"]]:
        """The examples of each step; no step where there are fewer examples than processes and this one has none."""
        mine, steps = order[self.rank :: self.world], self.steps(len(order))
        if not len(mine):
            return []
        batches = list(mine.split(self.batch_size))
        if len(batches) < steps <= len(mine):
            batches[-1:] = batches[-1].split([self.batch_size - 1, 1])
        return batches


class EvaluationBatches:
    """The batches of a split in its own order, as evaluation sees it."""

    def __init__(self, split: Resident, share: Share) -> None:
        self.split, self.share = split, share

    def __len__(self) -> int:
        return len(self._numbers())

    def __iter__(self) -> Iterator[Batch]:
        return map(self.split.__getitem__, self._numbers())

    def _numbers(self) -> list[Int64[Tensor, " B"]]:
        """The numbers of the examples in each batch."""
        return self.share.batches(torch.arange(len(self.split.x), device=self.split.x.device))


class TrainingBatches:
    """The batches of the training set, in a new order every epoch; pixels drawn anew where binarisation is dynamic.

    Epoch e has the e-th permutation of `generator(seed, "order")`, and its pixels come from the e-th seed of
    `generator(seed, "binarization")`: neither depends on what else the run draws. Of every batch a process takes every
    `world`-th example from its rank on, with the pixels it has in one process. Where a batch has fewer examples than
    there are processes, some of them get an empty batch: every process takes every step.

    `state_dict` holds both generators as they stood at the start of the epoch and the number of batches given since,
    the same in all processes; a loader that has loaded it goes on with the next batch of that epoch, same examples and
    same pixels.

    Args:
        split: the training set, in grey where it is binarised here.
        share: the batch size of all processes, and the part that this one takes.
        seed: the run's.
        binarization: the rule for a pixel, where it is drawn every time it is seen.
    """

    def __init__(self, split: Resident, share: Share, seed: int, binarization: Binarization | None = None) -> None:
        self.split, self.share, self.binarization = split, share, binarization
        self._streams = {name: generator(seed, name) for name in ("order", "binarization")}
        self._start = self._now()
        self._given = self._skip = 0

    def __len__(self) -> int:
        return math.ceil(len(self.split.x) / self.share.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        return (self.seen(index, u) for index, u in self.picks())

    def picks(self) -> Iterator[tuple[Int64[Tensor, " B"], Float[Tensor, "B *shape"] | None]]:
        """The examples of each batch of one epoch and the uniform numbers that binarise them, not yet gathered."""
        # The body runs at the first `next`, so an iterator that Lightning makes and drops costs no permutation.
        self._given, self._skip = self._skip, 0
        self._start = self._now()
        order = torch.randperm(len(self.split.x), generator=self._streams["order"])
        pixels = self._pixels()
        batches = order.to(self.split.x.device).split(self.share.batch_size)
        for index in batches[: self._given]:
            self._uniform(index, pixels)
        mine = slice(self.share.rank, None, self.share.world)
        for index in batches[self._given :]:
            self._given += 1
            u = self._uniform(index, pixels)
            yield index[mine], u if u is None else u[mine]

    def seen(self, index: Int64[Tensor, " B"], u: Float[Tensor, "B *shape"] | None) -> Batch:
        """The examples with these numbers, as training sees them."""
        batch = self.split[index]
        if u is None or self.binarization is None:
            return batch
        return batch._replace(x=self.binarization(batch.x, u).float())

    @property
    def behind(self) -> int:
        """How many batches of the epoch that comes next are left out, since they were given before."""
        return self._skip

    def state_dict(self) -> dict[str, Any]:
        """What `load_state_dict` needs to give the batches that would come next."""
        return self.next_epoch() if self._given == len(self) else {**self._start, "given": self._given}

    def next_epoch(self) -> dict[str, Any]:
        """What `load_state_dict` needs to leave out the rest of this epoch."""
        return {**self._now(), "given": 0}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state of this loader, or of one like it."""
        for name, stream in self._streams.items():
            stream.set_state(state[name].cpu())
        self._start = self._now()
        self._given = self._skip = int(state["given"])

    def _now(self) -> dict[str, Tensor]:
        return {name: stream.get_state() for name, stream in self._streams.items()}

    def _pixels(self) -> torch.Generator:
        """The generator of pixels for one epoch, on the device that uses it."""
        seed = torch.randint(2**63 - 1, (1,), generator=self._streams["binarization"])
        return torch.Generator(self.split.x.device).manual_seed(int(seed))

    def _uniform(self, index: Int64[Tensor, " B"], pixels: torch.Generator) -> Tensor | None:
        if self.binarization is None:
            return None
        return torch.rand(len(index), *self.split.x.shape[1:], generator=pixels, device=self.split.x.device)
