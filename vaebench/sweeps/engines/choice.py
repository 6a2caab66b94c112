"""Choose the engine of a sweep: the one that the user names, or the one that fits this machine."""

import math

from vaebench.records import provenance
from vaebench.sweeps.engines import Choice, Engine, Inline, Name
from vaebench.sweeps.engines.processes import Processes
from vaebench.sweeps.engines.ray import Ray
from vaebench.sweeps.engines.slurm import Slurm

LACKS: dict[Name, tuple[tuple[str, ...], str]] = {
    "inline": (("workers", "address", "slurm"), "it trains one pack after another in this process"),
    "processes": (("address", "slurm"), "it trains packs side by side on the cores of this machine"),
    "ray": (("slurm",), "in an allocation, give --address of the Ray that runs there"),
    "slurm": (("address",), "it submits jobs by sbatch"),
}
"""The options that an engine does not have, and why."""


def build(choice: Choice, visible: int) -> Engine:
    """Build the engine on a machine with this many visible GPUs.

    Raises:
        ValueError: if options contradict each other.
    """
    if choice.gpus is not None and not math.isfinite(choice.gpus):
        raise ValueError(f"--gpus: expected a finite number, got {choice.gpus}")
    name = _fitting(choice, visible) if choice.engine == "auto" else choice.engine
    options, why = LACKS[name]
    for option in options:
        if getattr(choice, option) and not (option == "workers" and choice.workers == 1):
            raise ValueError(f"--{option}: the engine {name} does not have it; {why}")
    if name == "slurm":
        return Slurm(choice)
    if choice.address is None and (choice.gpus or 0) > visible:
        raise ValueError(f"--gpus: expected at most {visible}, the GPUs that are visible here, got {choice.gpus:g}")
    if name == "ray":
        return Ray(choice)
    if name == "processes":
        return _side_by_side(choice, visible)
    if choice.gpus == 0 and visible:
        raise ValueError("--gpus 0: the engine inline uses the GPU that it sees; take --engine ray")
    return Inline()


def _fitting(choice: Choice, visible: int) -> Name:
    """The engine that `auto` stands for."""
    if choice.address or visible > 1 or (visible and choice.gpus is not None and choice.gpus < 1):
        return "ray"
    if not visible and choice.threads == 1:
        return "processes"
    return "ray" if (choice.workers or 1) > 1 else "inline"


def _side_by_side(choice: Choice, visible: int) -> Engine:
    """As many processes as cores, or fewer where each run trains on several devices or there are fewer runs."""
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
