"""Which engine a sweep gets: the one that is asked for, or the one that uses what is there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from vaebench.engines.base import Engine
from vaebench.engines.inline import Inline
from vaebench.engines.ray import Ray

Name = Literal["auto", "inline", "ray", "slurm"]


@dataclass(frozen=True)
class Choice:
    """What a user says of where packs are executed.

    Args:
        engine: by name; `auto` takes Ray where an address is given, where there are several workers, and where more
            than one GPU is visible, and this process else.
        workers: packs at a time; None: as many as there is room for.
        threads: CPU cores of each.
        gpus: GPUs of each, a fraction lets several share one; None: one where GPUs are visible.
        address: of a Ray cluster.
        slurm: parameters of sbatch, `key=value`.
    """

    engine: Name = "auto"
    workers: int | None = None
    threads: int = 1
    gpus: float | None = None
    address: str | None = None
    slurm: Sequence[str] = ()

    def built(self, visible: int) -> Engine:
        """The engine, on a machine on which so many GPUs are visible.

        Raises:
            ValueError: if what is said does not fit together.
        """
        return BUILDERS[self.engine](self, visible)


def _auto(said: Choice, visible: int) -> Engine:
    several = visible > 1 or (said.workers or 1) > 1 or (visible > 0 and 0 < (said.gpus or 1) < 1)
    return _ray(said, visible) if said.address or several else _inline(said, visible)


def _inline(said: Choice, _: int) -> Engine:
    for option, value in (("--workers", (said.workers or 1) > 1), ("--address", said.address), ("--slurm", said.slurm)):
        if value:
            raise ValueError(f"{option}: not of the engine inline, which is one pack after the other in this process")
    return Inline()


def _ray(said: Choice, _: int) -> Engine:
    return Ray(said.workers, said.threads, said.gpus, said.address)


BUILDERS: dict[Name, Callable[[Choice, int], Engine]] = {"auto": _auto, "inline": _inline, "ray": _ray}


def visible_gpus() -> int:
    """The number of GPUs that this process may use."""
    import torch

    return torch.cuda.device_count()
