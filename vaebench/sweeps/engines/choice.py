"""Choose the engine of a sweep: the one that the user names, or the one that fits this machine."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vaebench.config import Run
from vaebench.records import provenance
from vaebench.records.files import SLURM
from vaebench.sweeps.engines import Engine, Inline
from vaebench.sweeps.engines.processes import Processes
from vaebench.sweeps.engines.ray import Ray
from vaebench.sweeps.engines.slurm import Slurm, parse_options

Name = Literal["auto", "inline", "processes", "ray", "slurm"]


@dataclass(frozen=True)
class Choice:
    """The user's options about where packs are executed."""

    # by name. `auto` takes Ray if an address is given or if several packs train on GPUs, this process if one pack at a
    # time does, and processes on all cores if there is no GPU.
    engine: Name = "auto"
    workers: int | None = None  # packs at the same time; None for as many as fit
    threads: int = 1  # CPU cores of each worker
    # GPUs of each worker. A fraction lets several workers share one GPU, 0 uses none; None for one GPU if any is
    # visible.
    gpus: float | None = None
    address: str | None = None  # of a Ray cluster
    slurm: Sequence[str] = ()  # options of jobs, `key=value`
    folder: Path = Path()  # where the study works
    log: Callable[[str], None] = print  # receives what the user must know after the command ends
    runs: Sequence[Run] = ()  # of the study; there are never more processes than runs

    def build(self, visible: int) -> Engine:
        """Build the engine on a machine with this many visible GPUs.

        Raises:
            ValueError: if options contradict each other.
        """
        if self.gpus is not None and not math.isfinite(self.gpus):
            raise ValueError(f"--gpus: expected a finite number, got {self.gpus}")
        return BUILDERS[self.engine](self, visible)


def _auto(choice: Choice, visible: int) -> Engine:
    if choice.address or visible > 1 or (visible and choice.gpus is not None and choice.gpus < 1):
        return _ray(choice, visible)
    if not visible and choice.threads == 1:
        return _processes(choice, visible)
    return _ray(choice, visible) if (choice.workers or 1) > 1 else _inline(choice, visible)


def _inline(choice: Choice, visible: int) -> Engine:
    why = "the engine inline does not have it; it trains one pack after another in this process"
    if (choice.workers or 1) > 1:
        raise ValueError(f"--workers: {why}")
    _check_here(choice, visible, why)
    if choice.gpus == 0 and visible:
        raise ValueError("--gpus 0: the engine inline uses the GPU that it sees; take --engine ray")
    return Inline()


def _processes(choice: Choice, visible: int) -> Engine:
    """As many processes as cores, or fewer where each run trains on several devices or there are fewer runs."""
    why = "the engine processes does not have it; it trains packs side by side on the cores of this machine"
    _check_here(choice, visible, why)
    if visible or choice.threads > 1:
        what = "it trains on cores, and here is a GPU" if visible else "each of its processes has one thread"
        raise ValueError(f"--engine processes: {what}; take --engine inline or ray")
    cores = provenance.cores()
    if (choice.workers or 1) > cores:
        raise ValueError(
            f"--workers: expected at most {cores}, the cores that this process may use, got {choice.workers}; more "
            "would slow each other down"
        )
    devices = max((run.train.devices for run in choice.runs), default=1)
    workers = min(choice.workers or cores, max(1, cores // devices), len(choice.runs) or cores)
    return Processes(workers) if workers > 1 else Inline()


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


def _check_here(choice: Choice, visible: int, why: str) -> None:
    """Refuse options of other machines."""
    for option, value in (("--address", choice.address), ("--slurm", choice.slurm)):
        if value:
            raise ValueError(f"{option}: {why}")
    _check_gpus(choice, visible)


def _check_gpus(choice: Choice, visible: int) -> None:
    if (choice.gpus or 0) > visible:
        raise ValueError(f"--gpus: expected at most {visible}, the GPUs that are visible here, got {choice.gpus:g}")


BUILDERS: dict[Name, Callable[[Choice, int], Engine]] = {
    "auto": _auto,
    "inline": _inline,
    "processes": _processes,
    "ray": _ray,
    "slurm": _slurm,
}
