"""Engines execute packs: what an engine is, and the simplest one, which executes one pack after another.

- `choice`: which engine a sweep takes. `processes`, `ray`, `slurm`: the others.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import TypeVar

from vaebench.records import provenance

Item = TypeVar("Item")
Result = TypeVar("Result")


class Engine(ABC):
    """Executes a function on items, inside a `with` block. `str(engine)` is one line that says where."""

    def __enter__(self) -> None:  # noqa: B027, an engine may have nothing to open
        """Start what the engine needs."""

    def __exit__(  # noqa: B027
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop what was started."""

    @property
    @abstractmethod
    def workers(self) -> int:
        """How many items are worked on at the same time, as far as this is known."""

    @property
    def is_here(self) -> bool:
        """Whether runs train on this machine, so that its memory and data can be checked before."""
        return True

    @property
    def forks(self) -> bool:
        """Whether its workers begin as copies of this process, with all that is imported here."""
        return False

    @property
    def devices(self) -> int | None:
        """The largest `train.devices` of a run: a pack's GPUs, or the cores if there is no GPU; None if unknown."""
        return gpus() or provenance.cores()

    @property
    def devices_described(self) -> str:
        """What `devices` counts, in words."""
        return "the GPUs that are visible here" if gpus() else "the cores of this machine without a GPU"

    @abstractmethod
    def map(
        self, function: Callable[[Item], Result], items: Iterable[Item]
    ) -> Iterator[tuple[Item, Result | Exception]]:
        """Yield every item with its result or its exception, in the order in which they end.

        The function and the items must be picklable. The function is called again on an item whose worker died.
        """


def gpus() -> int:
    """The number of GPUs that this process may use."""
    import torch

    return torch.cuda.device_count()


class Inline(Engine):
    """Maps a function over items. An error does not stop the items that follow."""

    @property
    def workers(self) -> int:
        return 1

    def __str__(self) -> str:
        return "one pack after another, in this process"

    def map(
        self, function: Callable[[Item], Result], items: Iterable[Item]
    ) -> Iterator[tuple[Item, Result | Exception]]:
        for item in items:
            try:
                yield item, function(item)
            except Exception as error:
                yield item, error
