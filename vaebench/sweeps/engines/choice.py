"""Which engine a sweep gets: the one that is asked for, or the one that uses what is there."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vaebench.records.run_folder import SLURM
from vaebench.sweeps.engines.base import Engine
from vaebench.sweeps.engines.inline import Inline
from vaebench.sweeps.engines.ray import Ray
from vaebench.sweeps.engines.slurm import Slurm
from vaebench.sweeps.engines.slurm_options import parse_options

Name = Literal["auto", "inline", "ray", "slurm"]


@dataclass(frozen=True)
class Choice:
    """What a user says of where packs are executed.

    Args:
        engine: by name; `auto` takes Ray where an address is given, where there are several workers, and where more
            than one GPU is visible, and this process else.
        workers: packs at a time; None: as many as there is room for.
        threads: CPU cores of each.
        gpus: GPUs of each, a fraction lets several share one, 0 leaves them alone; None: one where GPUs are visible.
        address: of a Ray cluster.
        slurm: options of jobs, `key=value`.
        folder: where the study works.
        log: receives what the user must know after the command ends.
    """

    engine: Name = "auto"
    workers: int | None = None
    threads: int = 1
    gpus: float | None = None
    address: str | None = None
    slurm: Sequence[str] = ()
    folder: Path = Path()
    log: Callable[[str], None] = print

    def built(self, visible: int) -> Engine:
        """The engine, on a machine on which so many GPUs are visible.

        Raises:
            ValueError: if what is said does not fit together.
        """
        if self.gpus is not None and not math.isfinite(self.gpus):
            raise ValueError(f"--gpus: expected a finite number, got {self.gpus}")
        return BUILDERS[self.engine](self, visible)


def _auto(said: Choice, visible: int) -> Engine:
    several = visible > 1 or (said.workers or 1) > 1 or (visible > 0 and said.gpus is not None and said.gpus < 1)
    return _ray(said, visible) if said.address or several else _inline(said, visible)


def _inline(said: Choice, visible: int) -> Engine:
    for option, value in (("--workers", (said.workers or 1) > 1), ("--address", said.address), ("--slurm", said.slurm)):
        if value:
            raise ValueError(f"{option}: not of the engine inline, which is one pack after the other in this process")
    _check_gpus(said, visible)
    if said.gpus == 0 and visible:
        raise ValueError("--gpus 0: the engine inline computes on the GPU that it sees; take the engine ray")
    return Inline()


def _ray(said: Choice, visible: int) -> Engine:
    if said.slurm:
        raise ValueError("--slurm: not of the engine ray; in an allocation, give --address of the Ray that runs there")
    if said.address is None:
        _check_gpus(said, visible)
    return Ray(said.workers, said.threads, said.gpus, said.address)


def _slurm(said: Choice, _: int) -> Engine:
    if said.address:
        raise ValueError("--address: not of the engine slurm, which submits jobs by sbatch")
    folder, name = said.folder / SLURM, f"vaebench-{said.folder.name}"
    return Slurm(folder, parse_options(said.slurm), said.workers, said.threads, said.gpus, name, said.log)


def _check_gpus(said: Choice, visible: int) -> None:
    if (said.gpus or 0) > visible:
        raise ValueError(f"--gpus: expected at most {visible}, the GPUs that are visible here, got {said.gpus:g}")


BUILDERS: dict[Name, Callable[[Choice, int], Engine]] = {
    "auto": _auto,
    "inline": _inline,
    "ray": _ray,
    "slurm": _slurm,
}
