"""What an engine is: a place where packs are executed, side by side where it has several workers."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import TypeVar

from vaebench.records import provenance

Item = TypeVar("Item")
Result = TypeVar("Result")


class Engine(ABC):
    """Executes a function on items, while it is entered. `str` of it says, in a line, where."""

    def __enter__(self) -> None:  # noqa: B027, an engine may have nothing to open
        """Get ready."""

    def __exit__(  # noqa: B027
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave nothing behind."""

    @property
    @abstractmethod
    def workers(self) -> int:
        """How many items are worked on at a time, as far as that is known before."""

    @property
    def is_here(self) -> bool:
        """Whether runs are trained on this machine, so that what is known of it is known of them."""
        return True

    @property
    def devices(self) -> int | None:
        """The largest `train.devices` of a run: the GPUs of a pack, or the cores without a GPU; None if not known."""
        return gpus() or provenance.cores()

    @property
    def devices_described(self) -> str:
        """What `devices` counts, in words."""
        return "the GPUs that are visible here" if gpus() else "the cores of this machine without a GPU"

    @abstractmethod
    def map(
        self, function: Callable[[Item], Result], items: Iterable[Item]
    ) -> Iterator[tuple[Item, Result | Exception]]:
        """Every item with its result, or with the exception in its place, as they come.

        The function and the items are plain data (they can be pickled), and the function may be called again on an
        item whose worker died.
        """


def gpus() -> int:
    """The number of GPUs that this process may use."""
    import torch

    return torch.cuda.device_count()
