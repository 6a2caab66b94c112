"""Loaders for splits that are on the device: batches are selected by index, then scaled and binarised.

No worker processes and no copies from the host are needed.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int, Int64, Shaped
from torch import Tensor

from vaebench.config.seeding import generator
from vaebench.data.binarization import Binarization


class _Pair(NamedTuple):
    """What a batch is when it is unpacked: `x, label = batch`."""

    x: Float[Tensor, "B *event"]
    label: Int[Tensor, " B"] | None = None


class Batch(_Pair):
    """Observations x `[B, *event]`, and their class labels `[B]` if the data has labels. It unpacks as this pair.

    Attributes:
        factors: the factors that made the observations, `[B, F]`, each numbered; None if the data has none.
    """

    factors: Int[Tensor, "B F"] | None

    def __new__(cls, x: Tensor, label: Tensor | None = None, factors: Tensor | None = None) -> "Batch":
        batch = super().__new__(cls, x, label)
        batch.factors = factors
        return batch

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device. Lightning calls this too; without it, it would move a pair without factors."""
        parts = (self.x, self.label, self.factors)
        return Batch(*(None if part is None else part.to(device) for part in parts))  # type: ignore[arg-type]

    def _replace(self, **changes: Any) -> "Batch":
        return Batch(**{"x": self.x, "label": self.label, "factors": self.factors, **changes})


@dataclass(frozen=True)
class DeviceSplit:
    """A split on the device: raw observations `[N, *shape]`, labels `[N]`, factors `[N, F]`, and their scale.

    Labels and factors are None if the data has none. The scale is the raw value that becomes 1.
    """

    x: Shaped[Tensor, "N *shape"]
    label: Int64[Tensor, " N"] | None
    scale: float
    factors: Int64[Tensor, "N F"] | None = None

    def __getitem__(self, index: Any) -> Batch:
        """The observations at these indices, in float32. The index is a slice, or a tensor on any device."""
        # index_select copies whole rows, which is faster than indexing with brackets.
        rows = self.x.index_select(0, index.to(self.x.device)) if isinstance(index, Tensor) else self.x[index]
        x = rows.float()
        beside = (None if tensor is None else tensor[index] for tensor in (self.label, self.factors))
        return Batch(x if self.scale == 1 else x / self.scale, *beside)

    def to(self, device: torch.device) -> "DeviceSplit":
        """The split on a device; nothing is copied if it is there already."""
        label, factors = (None if tensor is None else tensor.to(device) for tensor in (self.label, self.factors))
        return DeviceSplit(self.x.to(device), label, self.scale, factors)


class Shard(NamedTuple):
    """The part of an ordered split that one of several processes takes: every `world`-th example, starting at `rank`.

    Each example is taken exactly once, so sums over processes are sums over the split. All processes make the same
    number of steps if there are enough examples: a process with one example less splits its last batch in two.
    Otherwise it makes fewer steps. A batch is never empty.

    torch's DistributedSampler is not used, because it repeats or drops examples to make the parts equal.
    """

    batch_size: int
    rank: int = 0
    world: int = 1

    def steps(self, n: int) -> int:
        """The number of batches for n examples. The last one is short if the batch size does not divide n.

        >>> [Shard(batch_size=4, rank=0, world=2).steps(n) for n in (8, 9, 16)]
        [1, 2, 2]
        """
        return math.ceil(math.ceil(n / self.world) / self.batch_size)

    def batches(self, order: Int64[Tensor, " N"]) -> list[Int64[Tensor, " B"]]:
        """The indices of each batch; no batch if this process has no example.

        >>> [b.tolist() for b in Shard(batch_size=2, rank=1, world=2).batches(torch.arange(5))]
        [[1], [3]]
        """
        mine, steps = order[self.rank :: self.world], self.steps(len(order))
        if not len(mine):
            return []
        batches = list(mine.split(self.batch_size))
        if len(batches) < steps <= len(mine):
            batches[-1:] = batches[-1].split([self.batch_size - 1, 1])
        return batches


class EvaluationBatches:
    """The batches of a split for evaluation, in the order of the split."""

    def __init__(self, split: DeviceSplit, shard: Shard) -> None:
        self.split, self.shard = split, shard

    def __len__(self) -> int:
        return len(self._batches())

    def __iter__(self) -> Iterator[Batch]:
        return map(self.split.__getitem__, self._batches())

    def _batches(self) -> list[Int64[Tensor, " B"]]:
        return self.shard.batches(torch.arange(len(self.split.x), device=self.split.x.device))


class TrainingBatches:
    """The batches of the training set, in a new order every epoch, with new pixels if the binarisation is dynamic.

    Epoch e has the e-th permutation from `generator(seed, "order")`. Its pixels come from the e-th seed of
    `generator(seed, "binarization")`. Both are independent of all other random numbers of the run. Each process takes
    every `world`-th example of a batch, starting at its rank, with the same pixels as in a single process. If a batch
    has fewer examples than there are processes, some of them get an empty batch, so all processes make all steps.

    `state_dict` has the states of both generators at the start of the epoch, and the number of batches that were
    yielded since. It is the same in all processes. A loader that loads it continues with the next batch of that epoch,
    with the same examples and pixels.

    Args:
        split: the training set, as grey levels if it is binarised here.
        shard: the batch size of all processes together, and the part of this process.
        seed: of the run.
        binarization: the rule for pixels that are sampled each time; None if there is nothing to sample.

    Attributes:
        pixel_stream: the generator of pixels, on the device of the split. Every epoch seeds it again.
    """

    def __init__(self, split: DeviceSplit, shard: Shard, seed: int, binarization: Binarization | None = None) -> None:
        self.split, self.shard, self.binarization = split, shard, binarization
        self._streams = {name: generator(seed, name) for name in ("order", "binarization")}
        self.pixel_stream = torch.Generator(split.x.device)
        self._start = self._now()
        self._given = self._skip = 0

    def __len__(self) -> int:
        return math.ceil(len(self.split.x) / self.shard.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        return (self.gather(index, u) for index, u in self.indices())

    def indices(self) -> Iterator[tuple[Int64[Tensor, " B"], Float[Tensor, "B *shape"] | None]]:
        """The indices of each batch of one epoch, with the uniform random numbers that binarise it."""
        order = self.begin_epoch()  # at the first `next`: an iterator that Lightning drops uses no random numbers
        mine = slice(self.shard.rank, None, self.shard.world)
        for index in order.to(self.split.x.device).split(self.shard.batch_size)[self._given :]:
            u = self.pixels(len(index))
            self.count()
            yield index[mine], u if u is None else u[mine]

    def begin_epoch(self) -> Int64[Tensor, " N"]:
        """Draw the order of the next epoch. Batches that were yielded before a resume use up their random numbers."""
        self._given, self._skip = self._skip, 0
        self._start = self._now()
        order = torch.randperm(len(self.split.x), generator=self._streams["order"])
        seed = torch.randint(2**63 - 1, (1,), generator=self._streams["binarization"])
        self.pixel_stream.manual_seed(int(seed))
        for index in order.split(self.shard.batch_size)[: self._given]:
            self.pixels(len(index))
        return order

    def count(self, batches: int = 1) -> None:
        """Note that batches of this epoch are yielded, for `state_dict`."""
        self._given += batches

    def pixels(self, size: int) -> Float[Tensor, "B *shape"] | None:
        """The uniform random numbers that binarise the next batch of all processes; None if nothing is sampled."""
        if self.binarization is None:
            return None
        shape, device = self.split.x.shape[1:], self.split.x.device
        return torch.rand(size, *shape, generator=self.pixel_stream, device=device)

    def gather(self, index: Int64[Tensor, " B"], u: Float[Tensor, "B *shape"] | None) -> Batch:
        """Gather the examples at these indices, and binarise them with u."""
        batch = self.split[index]
        if u is None or self.binarization is None:
            return batch
        return batch._replace(x=self.binarization(batch.x, u).float())

    @property
    def skipped(self) -> int:
        """The number of batches that the next epoch skips, because they were yielded before the run was resumed."""
        return self._skip

    def state_dict(self) -> dict[str, Any]:
        """The state from which `load_state_dict` continues with the next batch."""
        return self.next_epoch() if self._given == len(self) else {**self._start, "given": self._given}

    def next_epoch(self) -> dict[str, Any]:
        """The state from which `load_state_dict` starts the next epoch."""
        return {**self._now(), "given": 0}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state of this loader, or of an equal one."""
        for name, stream in self._streams.items():
            stream.set_state(state[name].cpu())
        self._start = self._now()
        self._given = self._skip = int(state["given"])

    def _now(self) -> dict[str, Tensor]:
        return {name: stream.get_state() for name, stream in self._streams.items()}
