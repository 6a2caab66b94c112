"""A device that is not the CPU, on a machine that has none: its tensors are held by the CPU and say that they are not.

Under `elsewhere()` a tensor made on `DEVICE`, or taken there, is a `Held`. An operation on tensors of both devices is
refused as a GPU refuses it, and so is a tensor of `DEVICE` given to NumPy.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

DEVICE = torch.device("meta")
"""Of the kinds of device that torch knows, one that it lets be named where it is not."""

CPU = torch.device("cpu")
MIXED = {torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default, torch.ops.aten.index.Tensor}
"""What may have tensors of both: copies, and indices that are held by the CPU."""


class Held(Tensor):
    """A tensor of `DEVICE`, its numbers with the CPU."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> "Held":
        made: Held = Tensor._make_wrapper_subclass(
            cls, held.size(), held.stride(), held.storage_offset(), dtype=held.dtype, device=DEVICE,
            requires_grad=held.requires_grad,
        )  # fmt: skip
        made.held = held
        return made

    def __repr__(self) -> str:
        return f"Held({self.held})"

    @property
    def data(self) -> Tensor:  # type: ignore[override]
        return self.detach()

    @data.setter
    def data(self, value: "Held") -> None:
        self.held = value.held

    def tolist(self) -> Any:
        return self.held.tolist()

    def __getitem__(self, index: Any) -> Tensor:
        return super().__getitem__(torch.tensor(index) if isinstance(index, list) else index)

    def new_tensor(self, data: Any, *, dtype: torch.dtype | None = None) -> "Held":
        return Held(torch.tensor(data, dtype=dtype or self.dtype))

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return carried_out(func, args, kwargs or {})


class Generator(torch.Generator):
    """torch's, of any device, its numbers the CPU's."""

    named: torch.device

    def __new__(cls, device: torch.device | str = CPU) -> "Generator":
        made: Generator = super().__new__(cls, CPU)
        made.named = torch.device(device)
        return made

    @property
    def device(self) -> torch.device:
        return self.named


class Operations(TorchDispatchMode):
    """Operations that may name `DEVICE`."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return carried_out(func, args, kwargs or {})


class FromNumbers(TorchFunctionMode):
    """Tensors made of Python's numbers, which torch takes to their device below what a mode sees."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (torch.tensor, torch.as_tensor) and kwargs.get("device") == DEVICE:
            return Held(func(*args, **kwargs | {"device": CPU}))
        return func(*args, **kwargs)


@contextmanager
def elsewhere() -> Iterator[None]:
    """A block in which `DEVICE` exists."""
    with patch.object(torch, "Generator", Generator), Operations(), FromNumbers():
        yield


def carried_out(func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
    """An operation, with its result on the device of its tensors, or on the one that it names."""
    tensors = [t for t in tree_flatten((args, kwargs))[0] if isinstance(t, Tensor)]
    there = [t for t in tensors if isinstance(t, Held)]
    named = kwargs.get("device")
    on_cpu = [t for t in tensors if not isinstance(t, Held) and t.ndim]
    if there and on_cpu and func not in MIXED:
        raise RuntimeError(f"expected all tensors on one device, got {DEVICE} and cpu in {func}")
    if named is not None:
        kwargs = kwargs | {"device": CPU}
    plain_args, plain_kwargs = tree_map_only(Held, lambda t: t.held, (args, kwargs))
    result = func(*plain_args, **plain_kwargs)
    here = bool(there) if named is None else torch.device(named).type == DEVICE.type
    if func is torch.ops.aten.copy_.default:
        return args[0]
    return kept(result, args, here)


def kept(result: Any, args: Any, here: bool) -> Any:
    """A result on its device; one that was changed in place is the tensor that was given."""
    given = {id(t.held): t for t in tree_flatten(args)[0] if isinstance(t, Held)}
    return tree_map_only(Tensor, lambda t: given.get(id(t)) if id(t) in given else Held(t) if here else t, result)
