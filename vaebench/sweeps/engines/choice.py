"""Choose the engine of a sweep: the one that the user names, or the one that fits this machine."""

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
    """The user's options about where packs are executed.

    Args:
        engine: by name. `auto` takes Ray if an address is given, if there are several workers, or if more than one GPU
            is visible; otherwise packs train in this process.
        workers: packs at the same time; None for as many as fit.
        threads: CPU cores of each worker.
        gpus: GPUs of each worker. A fraction lets several workers share one GPU, 0 uses none; None for one GPU if any
            is visible.
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

    def build(self, visible: int) -> Engine:
        """Build the engine on a machine with this many visible GPUs.

        Raises:
            ValueError: if options contradict each other.
        """
        if self.gpus is not None and not math.isfinite(self.gpus):
            raise ValueError(f"--gpus: expected a finite number, got {self.gpus}")
        return BUILDERS[self.engine](self, visible)


def _auto(choice: Choice, visible: int) -> Engine:
    several = visible > 1 or (choice.workers or 1) > 1 or (visible > 0 and choice.gpus is not None and choice.gpus < 1)
    return _ray(choice, visible) if choice.address or several else _inline(choice, visible)


def _inline(choice: Choice, visible: int) -> Engine:
    for option, value in (
        ("--workers", (choice.workers or 1) > 1),
        ("--address", choice.address),
        ("--slurm", choice.slurm),
    ):
        if value:
            raise ValueError(
                f"{option}: the engine inline does not have it; it trains one pack after another in this process"
            )
    _check_gpus(choice, visible)
    if choice.gpus == 0 and visible:
        raise ValueError("--gpus 0: the engine inline uses the GPU that it sees; take --engine ray")
    return Inline()


def _ray(choice: Choice, visible: int) -> Engine:
    if choice.slurm:
        raise ValueError(
            "--slurm: the engine ray does not have it; in an allocation, give --address of the Ray that runs there"
        )
    if choice.address is None:
        _check_gpus(choice, visible)
    return Ray(choice.workers, choice.threads, choice.gpus, choice.address)


def _slurm(choice: Choice, _: int) -> Engine:
    if choice.address:
        raise ValueError("--address: the engine slurm does not have it; it submits jobs by sbatch")
    folder, name = choice.folder / SLURM, f"vaebench-{choice.folder.name}"
    return Slurm(folder, parse_options(choice.slurm), choice.workers, choice.threads, choice.gpus, name, choice.log)


def _check_gpus(choice: Choice, visible: int) -> None:
    if (choice.gpus or 0) > visible:
        raise ValueError(f"--gpus: expected at most {visible}, the GPUs that are visible here, got {choice.gpus:g}")


BUILDERS: dict[Name, Callable[[Choice, int], Engine]] = {
    "auto": _auto,
    "inline": _inline,
    "ray": _ray,
    "slurm": _slurm,
}
