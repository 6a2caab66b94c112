"""The memory of a training: what a pack will take, what there is, and what a process has taken at most."""

import platform
import resource
import sys
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vaebench.config.registry import MODELS, Spec
from vaebench.config.seeding import generator
from vaebench.models.base import Autoencoder

PER_PARAMETER = 5
"""Numbers that training keeps for each: itself, its gradient twice (by itself, in the matrix of all), two moments."""

PER_ACTIVATION = 3
"""Numbers for each output of a layer: itself, its gradient, and what an operation between layers needs."""

SHARE = 0.5
"""Of what is free, what a pack may take: the estimate is one, and others have claims."""


class TooLargeError(MemoryError):
    """Runs that will not fit in memory together.

    Args:
        text: what they need and what there is.
        most: how many of them fit; 0 if not even one does.
    """

    def __init__(self, text: str, most: int) -> None:
        super().__init__(text)
        self.most = most


def check_fits(models: Sequence[Autoencoder], batch_size: int) -> None:
    """Refuse members that will not fit in memory together, and a single one that the machine cannot hold.

    Args:
        models: all of one architecture. Nothing but shapes is looked at, so that outlines will do (see `outline`).
        batch_size: examples a step of each.

    Raises:
        TooLargeError: with what they need and what there is.
    """
    n, free = len(models), available()
    needed = needs(models, batch_size)
    each, most = needed // n, int(SHARE * free * n / needed)
    if each > (whole := capacity()):
        raise TooLargeError(
            f"this run needs about {_mebibytes(each)} of memory for its parameters and activations, and "
            f"this machine has {_mebibytes(whole)}; make the network, latent_dim or batch_size smaller",
            0,
        )
    if n > 1 and n > most:
        raise TooLargeError(
            f"{n} members need about {_mebibytes(needed)}, of {_mebibytes(free)} that are free "
            f"a pack takes at most {SHARE:.0%}; its parts are trained one after the other",
            max(1, most),
        )


def outline(spec: Spec, shape: tuple[int, ...]) -> Autoencoder | None:
    """A model that has shapes and no numbers, and so takes no memory; None where it cannot be made.

    A model that cannot be built on torch's meta device, or not at all, says so when it is built in earnest.

    Args:
        spec: the model, as a configuration names it.
        shape: of an observation.
    """
    try:
        with torch.device("meta"):
            return MODELS.build(spec, shape, 0)
    except Exception:
        return None


@torch.no_grad()
def needs(models: Sequence[Autoencoder], batch_size: int) -> int:
    """Bytes of training models of one architecture together, about."""
    parameters = sum(p.numel() for p in models[0].parameters())
    numbers = PER_PARAMETER * parameters + PER_ACTIVATION * batch_size * _outputs(models[0])
    return 4 * len(models) * numbers


def _outputs(model: Autoencoder) -> int:
    """Numbers that the layers of a model give for one observation, and the observation's own."""
    outputs = prod(model.shape)

    def seen(module: nn.Module, given: object, output: object) -> None:
        nonlocal outputs
        outputs += output.numel() if isinstance(output, Tensor) else 0

    layers = [m for m in model.modules() if not any(m.children())]
    hooks, was_training = [layer.register_forward_hook(seen) for layer in layers], model.training
    model.eval()  # one example is no batch to take statistics from
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    try:
        noise = model.noise(1, generator(0, "memory")).to(device)
        model.objective(torch.zeros(1, *model.shape, device=device), noise)
    except (NotImplementedError, RuntimeError):
        if device.type != "meta":
            raise
        # An outline has no numbers to decide by; the layers before that place have been seen.
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    return outputs


def available() -> int:
    """Bytes that are free where models are trained: on the GPU, else on this machine, within this process's limits."""
    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0])
    free = _kibibytes("/proc/meminfo", "MemAvailable:")
    machine = sys.maxsize if free is None else 1024 * (free + (_kibibytes("/proc/meminfo", "SwapFree:") or 0))
    return max(0, min(machine, _in_container(), _in_process()))


def capacity() -> int:
    """Bytes that there are at all where models are trained, free or not: what else is held may be let go."""
    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[1])
    there = [_kibibytes("/proc/meminfo", name) for name in ("MemTotal:", "SwapTotal:")]
    machine = sys.maxsize if there[0] is None else 1024 * (there[0] + (there[1] or 0))
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        limit = sys.maxsize
    return min(machine, limit, _in_process())


def _in_container() -> int:
    """Bytes that a container, by the limit of its control group (Linux, version 2), lets its processes still take."""
    folder = Path("/sys/fs/cgroup")
    try:
        limit, held = ((folder / name).read_text(encoding="utf-8") for name in ("memory.max", "memory.current"))
        counts = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="utf-8").splitlines())
        return int(limit) - int(held) + int(counts.get("inactive_file", 0))
    except (OSError, ValueError):
        return sys.maxsize  # no such group, or "max"


def _in_process() -> int:
    """Bytes of addresses that this process may still take (ulimit -v)."""
    limit, held = resource.getrlimit(resource.RLIMIT_AS)[0], _kibibytes("/proc/self/status", "VmSize:")
    return sys.maxsize if limit == resource.RLIM_INFINITY or held is None else limit - 1024 * held


def hardware(device: str) -> dict[str, Any]:
    """The device that a run was trained on, the threads of this process, and the platform."""
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.processor() or "CPU"
    return {
        "device": f"{device}: {name}",
        "threads": torch.get_num_threads(),
        "platform": f"{sys.platform}-{platform.machine()}",
    }


def peak() -> dict[str, int]:
    """MiB that this process has held at most since it began: in main memory and, where there is one, on its GPU."""
    # getrusage would count what the parent held when it started this process.
    held = _kibibytes("/proc/self/status", "VmHWM:")
    if held is None:
        held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1)
    on_gpu = {"gpu": torch.cuda.max_memory_allocated() // 2**20} if torch.cuda.is_available() else {}
    return {"process": held // 1024} | on_gpu


def _kibibytes(file: str, name: str) -> int | None:
    """An entry of one of Linux's files on memory; None on other systems."""
    try:
        return next(
            int(line.split()[1])
            for line in Path(file).read_text(encoding="utf-8").splitlines()
            if line.startswith(name)
        )
    except (OSError, StopIteration):
        return None


def _mebibytes(number: int) -> str:
    return f"{number / 2**20:.0f} MiB"
