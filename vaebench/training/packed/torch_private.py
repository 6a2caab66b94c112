"""Private interfaces of torch that packs use. Torch may change or remove them in any release.

They stand in this file alone. If one is missing, `missing` names it: then models are not packed, and each run trains
outside a pack with public interfaces only. It has the same numbers to rounding, but takes longer.
"""

import logging
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx

NAMES = (
    "torch.utils._python_dispatch.TorchDispatchMode",
    "torch.utils.weak.WeakTensorKeyDictionary",
    "torch._C._dispatch_has_kernel_for_dispatch_key",
    "torch._ops.OpOverload",
    "torch._C._functorch.is_batchedtensor",
    "torch._C._functorch.is_gradtrackingtensor",
    "torch._fused_adam_",
    "torch._fused_adamw_",
)
"""Everything without which models are not packed. What compiles is not needed: without it, steps stay plain."""

log = logging.getLogger(__name__)


def missing() -> list[str]:
    """The names that this version of torch lacks. The first call that finds some logs a warning."""
    names = [name for name in NAMES if _find(name) is None]
    if names:
        _warn(tuple(names))
    return names


def dispatch_mode() -> type:
    """The class of modes that see every operation below autograd; `object` if torch lacks it."""
    return _find("torch.utils._python_dispatch.TorchDispatchMode") or object


def weak_tensor_keys() -> Any:
    """A new dictionary whose keys are tensors. It does not keep them alive."""
    return _find("torch.utils.weak.WeakTensorKeyDictionary")()


def is_composite(operation: Any) -> bool:
    """Whether torch defines an operation, and its gradient, by other operations."""
    return torch._C._dispatch_has_kernel_for_dispatch_key(operation.name(), "CompositeImplicitAutograd")


def is_operation(target: Any) -> bool:
    """Whether a node of a recorded graph calls an operation of torch, and not a Python function."""
    return isinstance(target, torch._ops.OpOverload)


def schema(operation: Any) -> Any:
    """The types of an operation's arguments and results, and which of them share memory."""
    return operation._schema


def is_batched(x: Tensor) -> bool:
    """Whether `torch.func.vmap` is mapping over this tensor."""
    return torch._C._functorch.is_batchedtensor(x)


def is_differentiated(x: Tensor) -> bool:
    """Whether `torch.func.vjp` or `torch.func.grad` is differentiating with respect to this tensor."""
    return torch._C._functorch.is_gradtrackingtensor(x)


def version(x: Tensor) -> int:
    """How many in-place changes a tensor has had."""
    return x._version


def fused_adam(
    parameters: list[Tensor],
    gradients: list[Tensor],
    first: list[Tensor],
    second: list[Tensor],
    steps: list[Tensor],
    *,
    lr: float,
    betas: tuple[float, float],
    eps: float,
    weight_decay: float,
    decoupled: bool,
) -> None:
    """One step of Adam, in one pass over the memory; of AdamW if the decay is decoupled.

    Args:
        parameters, first, second: changed in place; the running means of the gradients and of their squares.
        steps: for each parameter the number of this step, counted from one.
    """
    update = torch._fused_adamw_ if decoupled else torch._fused_adam_
    update(
        parameters, gradients, first, second, [], steps, lr=lr, beta1=betas[0], beta2=betas[1],
        weight_decay=weight_decay, eps=eps, amsgrad=False, maximize=False,
    )  # fmt: skip


def compile_library(module: fx.GraphModule, inputs: Sequence[Tensor], path: Path) -> None:
    """Compile a graph to machine code for this processor, by torch's AOTInductor; takes half a minute of one core.

    Args:
        module: the graph; its description of values is removed.
        inputs: examples, with the shapes and strides of all later calls.
        path: where the shared library is written; ends in .so. Other files are left beside it.
    """
    for node in module.graph.nodes:
        node.meta.clear()  # the compiler describes values by itself, and would take our description for its own
    compile_ = _needed("torch._inductor.aot_compile")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the compiler warns of what a user cannot change
        compile_(module, tuple(inputs), options={"aot_inductor.output_path": str(path)})


def load_library(path: Path) -> Callable[[list[Tensor]], list[Tensor]]:
    """The function in a library of `compile_library`. This imports no compiler, and takes about a millisecond."""
    run: Callable[[list[Tensor]], list[Tensor]]
    run = _needed("torch._C._aoti.AOTIModelContainerRunnerCpu")(str(path), 1).run
    return run


def _find(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError):
        return None


def _needed(name: str) -> Any:
    if (found := _find(name)) is None:
        raise AttributeError(f"torch {torch.__version__} lacks {name}")
    return found


@cache
def _warn(names: tuple[str, ...]) -> None:
    log.warning(
        "torch %s lacks %s; every run trains outside a pack, which takes longer", torch.__version__, ", ".join(names)
    )
