"""Engines execute packs: what a user may choose, what an engine is, and the simplest one: one pack after another.

- `choice`: which engine a sweep takes. `processes`, `ray`, `slurm`: the others.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from vaebench.config import Run
from vaebench.records import provenance

Item = TypeVar("Item")
Result = TypeVar("Result")
Outcomes = Iterator[tuple[Item, Result | Exception]]  # every item with its result, or with its exception

Name = Literal["auto", "inline", "processes", "ray", "slurm"]


@dataclass(frozen=True)
class Choice:
    """The user's options about where packs are executed."""

    # by name. `auto` takes Ray if an address is given or if several packs train on GPUs, this process if one pack at a
    # time does, and processes on all cores if there is no GPU.
    engine: Name = "auto"
    workers: int | None = None  # packs at the same time; None for as many as fit, or as SLURM decides
    threads: int = 1  # CPU cores of each worker
    # GPUs of each worker. A fraction lets several workers share one GPU, 0 uses none; None for one GPU if any is
    # visible, and for none in a job of SLURM.
    gpus: float | None = None
    address: str | None = None  # of a Ray cluster (`auto`, `host:6379`, `ray://host:10001`); None for this machine
    slurm: Sequence[str] = ()  # options of jobs, `key=value`
    folder: Path = Path()  # where the study works; every worker must reach it
    log: Callable[[str], None] = print  # receives what the user must know after the command ends
    runs: Sequence[Run] = ()  # of the study; there are never more processes than runs


class Engine(ABC):
    """Executes a function on items, inside a `with` block. `str(engine)` is one line that says where."""

    workers = 1  # how many items are worked on at the same time, as far as this is known
    is_here = True  # whether runs train on this machine, so that its memory and data can be checked before
    forks = False  # whether its workers begin as copies of this process, with all that is imported here

    def __enter__(self) -> None:  # noqa: B027, an engine may have nothing to open
        """Start what the engine needs."""

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:  # noqa: B027
        """Stop what was started; `kind` is the type of the exception that ends the block, if one does."""

    @property
    def devices(self) -> tuple[int | None, str]:
        """The largest `train.devices` of a run, None if it is unknown; and in words what this number counts."""
        if visible := gpus():
            return visible, "the GPUs that are visible here"
        return provenance.cores(), "the cores of this machine without a GPU"

    @abstractmethod
    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Outcomes[Item, Result]:
        """Yield every item with its result or its exception, in the order in which they end.

        The function and the items must be picklable. The function is called again on an item whose worker died.
        """


def gpus() -> int:
    """The number of GPUs that this process may use."""
    import torch

    return torch.cuda.device_count()


class Inline(Engine):
    """Maps a function over items. An error does not stop the items that follow."""

    def __str__(self) -> str:
        return "one pack after another, in this process"

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Outcomes[Item, Result]:
        for item in items:
            try:
                yield item, function(item)
            except Exception as error:
                yield item, error
