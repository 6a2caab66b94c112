"""The memory of a training: what a pack will take, what there is, and what a process has taken at most."""

import resource
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from vaebench.models.base import Autoencoder
from vaebench.seeding import generator

PER_PARAMETER = 5
"""Numbers that training keeps for each: itself, its gradient twice (by itself, in the matrix of all), two moments."""

PER_ACTIVATION = 3
"""Numbers for each output of a layer: itself, its gradient, and what an operation between layers needs."""

SHARE = 0.5
"""Of what is free, what a pack may take: the estimate is one, and others have claims."""


class TooLargeError(MemoryError):
    """A pack that will not fit, though its parts may."""


def check_fits(models: Sequence[Autoencoder], batch_size: int) -> None:
    """Refuse members that will not fit in memory together.

    Raises:
        TooLargeError: with what they need and what there is.
    """
    if len(models) == 1:
        return
    needed, free = needs(models, batch_size), available()
    if needed > SHARE * free:
        raise TooLargeError(
            f"{len(models)} members need about {needed / 2**20:.0f} MiB, of {free / 2**20:.0f} MiB that are free "
            f"a pack takes at most {SHARE:.0%}; its parts are trained one after the other"
        )


@torch.no_grad()
def needs(models: Sequence[Autoencoder], batch_size: int) -> int:
    """Bytes of training models of one architecture together, about."""
    model, outputs = models[0], 0

    def seen(module: nn.Module, given: object, output: object) -> None:
        nonlocal outputs
        outputs += output.numel() if isinstance(output, Tensor) else 0

    layers = [m for m in model.modules() if not any(m.children())]
    hooks, was_training = [layer.register_forward_hook(seen) for layer in layers], model.training
    model.eval()  # one example is no batch to take statistics from
    try:
        x = torch.zeros(1, *model.shape)
        model.objective(x, model.noise(1, generator(0, "memory")))
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    parameters = sum(p.numel() for p in model.parameters())
    numbers = PER_PARAMETER * parameters + PER_ACTIVATION * batch_size * (outputs + x.numel())
    return 4 * len(models) * numbers


def available() -> int:
    """Bytes that are free where models are trained: on the GPU, else on this machine."""
    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0])
    free = _kibibytes("/proc/meminfo", "MemAvailable:")
    return sys.maxsize if free is None else 1024 * free


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
        return next(int(line.split()[1]) for line in Path(file).read_text().splitlines() if line.startswith(name))
    except (OSError, StopIteration):
        return None
