"""Memory: how much a pack needs, how much is available, and the peak of this process."""

import copy
import gc
import platform
import resource
import sys
from collections.abc import Sequence
from contextlib import suppress
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vaebench.config.registry import MODELS, Spec
from vaebench.config.seeding import generator
from vaebench.models.base import Autoencoder

PER_PARAMETER = 5
"""Numbers per parameter: itself, its gradient twice (alone, and in the pack's matrix), and two moments of Adam."""

PER_ACTIVATION = 2
"""Numbers per output of a layer: the output and its gradient. Operations between layers mostly work in place."""

SHARE = 0.5
"""Fraction of free memory that a pack may use. The need is only an estimate, and other processes need memory too."""

SMALL = 2**22  # parameters of a model whose outputs are counted with zeros, and not on the meta device
sharers = 1  # how many packs train at the same time in this memory. An engine sets it in each of its processes


class TooLargeError(MemoryError):
    """These runs do not fit in memory together.

    Args:
        text: how much they need, and how much there is.
        most: how many of them fit; 0 if not even one does.
    """

    def __init__(self, text: str, most: int) -> None:
        super().__init__(text)
        self.most = most


def check_fits(models: Sequence[Autoencoder], batch_size: int) -> None:
    """Refuse members that do not fit in memory together, or one that the machine cannot hold.

    Args:
        models: all of one architecture. Only shapes matter, so a `meta_model` is enough.
        batch_size: examples per step of each.

    Raises:
        TooLargeError: with how much they need and how much there is.
    """
    n, free = len(models), available()
    needed = needs(models, batch_size)
    each, most = needed // n, int(SHARE / sharers * free * n / needed)
    if each > (whole := capacity()):
        raise TooLargeError(
            f"this run needs about {_mebibytes(each)} of memory for its parameters and activations, and "
            f"this machine has {_mebibytes(whole)}; make the network, latent_dim or batch_size smaller",
            0,
        )
    if n > 1 and n > most:
        raise TooLargeError(
            f"{n} members need about {_mebibytes(needed)}; {_mebibytes(free)} are free, and a pack may use "
            f"{SHARE / sharers:.0%} of them: the pack is split, and its parts are trained one after the other",
            max(1, most),
        )


def meta_model(spec: Spec, shape: tuple[int, ...]) -> Autoencoder | None:
    """A model on torch's meta device: it has shapes but no numbers, and takes no memory. None if that fails.

    If the model cannot be built at all, the real construction later raises the error.
    """
    try:
        with torch.device("meta"):
            return MODELS.build(spec, shape, 0)
    except Exception:
        return None


@torch.no_grad()
def needs(models: Sequence[Autoencoder], batch_size: int) -> int:
    """About how many bytes it takes to train models of one architecture together."""
    parameters = sum(p.numel() for p in models[0].parameters())
    numbers = PER_PARAMETER * parameters + PER_ACTIVATION * batch_size * _outputs(models[0])
    return 4 * len(models) * numbers


def _outputs(model: Autoencoder) -> int:
    """The number of outputs of all layers for one observation, plus the size of the observation."""
    parameters = list(model.parameters())
    if all(p.is_meta for p in parameters) and sum(p.numel() for p in parameters) < SMALL:
        # The rules of the meta device import sympy, which takes longer than such a model does.
        with suppress(Exception):
            return _counted(_with_zeros(model))
    return _counted(model)


def _with_zeros(model: Autoencoder) -> Autoencoder:
    """A copy of a model on the meta device, in which every number is zero."""
    return copy.deepcopy(model)._apply(lambda t: torch.zeros(t.shape, dtype=t.dtype))


def _counted(model: Autoencoder) -> int:
    """The outputs of the layers that run for one observation. On the meta device, it ends at code that needs values."""
    outputs = prod(model.shape)

    def count(module: nn.Module, given: object, output: object) -> None:
        nonlocal outputs
        outputs += output.numel() if isinstance(output, Tensor) else 0

    layers = [m for m in model.modules() if not any(m.children())]
    hooks, was_training = [layer.register_forward_hook(count) for layer in layers], model.training
    model.eval()  # batch statistics of one example would fail
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    try:
        noise = model.noise(1, generator(0, "memory")).to(device)
        model.objective(torch.zeros(1, *model.shape, device=device), noise)
    except (NotImplementedError, RuntimeError):
        if device.type != "meta":
            raise
        # The meta device has no values, so code that branches on values fails. The layers before it are counted.
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    return outputs


def available() -> int:
    """Free bytes for training: on the GPU if there is one, else on this machine within the limits of this process."""
    if torch.cuda.is_available():
        # The memory of an earlier pack counts as free. It is held by objects that refer to each other (a pack and its
        # Trainer), and after that by torch.
        gc.collect()
        torch.cuda.empty_cache()
        return int(torch.cuda.mem_get_info()[0])
    free = _kibibytes("/proc/meminfo", "MemAvailable:")
    machine = sys.maxsize if free is None else 1024 * (free + (_kibibytes("/proc/meminfo", "SwapFree:") or 0))
    return max(0, min(machine, _in_container(), _in_process()))


def capacity() -> int:
    """Total bytes for training, free or not: other processes may release theirs."""
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
    """Bytes that the limit of this container leaves (control groups of Linux, version 2)."""
    folder = Path("/sys/fs/cgroup")
    try:
        limit, held = ((folder / name).read_text(encoding="utf-8") for name in ("memory.max", "memory.current"))
        counts = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="utf-8").splitlines())
        return int(limit) - int(held) + int(counts.get("inactive_file", 0))
    except (OSError, ValueError):
        return sys.maxsize  # no such group, or "max"


def _in_process() -> int:
    """Bytes of address space that the limit of this process leaves (ulimit -v)."""
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
    """Peak memory of this process in MiB: in main memory and, if there is one, on its GPU."""
    # getrusage would include the memory of the parent at the time of the fork.
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
