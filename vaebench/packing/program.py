"""Plain code for one member, carried out for all members at once.

`program` maps a function of one member over the members (`torch.func.vmap`), takes its gradient, and records the whole
once as a flat list of operations on stacks `[M, …]`. A step is then that list, without a Python object of the model, a
dispatch of vmap or a node of autograd: for a small network these are most of what a step costs.
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, fx
from torch._guards import TracingContext, tracing
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import vmap
from torch.fx.experimental.proxy_tensor import make_fx

from vaebench.packing import shortening
from vaebench.packing.independence import make_independent
from vaebench.packing.mapping import Mapped

Program = Callable[..., list[Tensor]]


class Unpackable(ValueError):
    """Models that cannot be trained as one program, and why. They can be trained by themselves."""


def program(
    function: Callable[..., Tensor], fixed: Sequence[Tensor], given: Sequence[Tensor], trained: int = 0
) -> Program:
    """A function of one member as a function of all.

    Args:
        function: takes one member's tensors, `*fixed` and `*given`, and gives its objective `[B]`.
        fixed: tensors of all members, `[M, …]`, that change in place only.
        given: tensors of all members that are others at every call, as an example.
        trained: how many of the fixed ones, from the first, are parameters to be trained.

    Returns:
        A function of tensors like `given` that returns the mean objective `[M]`, its sum `[M]` in float64, and the
        gradients of the negative mean with respect to the parameters.

    Raises:
        Unpackable: if the function cannot be mapped, with the reason.
    """

    def step(*stacks: Tensor) -> list[Tensor]:
        leaves = [s.detach().requires_grad_() for s in stacks[:trained]]
        with Mapped():
            objective = vmap(function)(*leaves, *stacks[trained:])
        loss = -objective.mean(1)
        slopes: tuple[Tensor, ...] = ()
        if trained:
            ones = torch.ones_like(loss)
            slopes = torch.autograd.grad(loss, leaves, ones, allow_unused=True, materialize_grads=True)
        return [-loss.detach(), objective.detach().double().sum(1), *slopes]

    return recorded(step, fixed, given, gradient=trained > 0)


def mapped(function: Callable[..., Sequence[Tensor]], fixed: Sequence[Tensor], given: Sequence[Tensor]) -> Program:
    """A function of one member as a function of all that returns what it returns, a stack each.

    Args:
        function: takes one member's tensors, `*fixed` and `*given`, and gives tensors.
        fixed: tensors of all members, `[M, …]`, that change in place only.
        given: tensors of all members that are others at every call, as an example.

    Raises:
        Unpackable: if the function cannot be mapped, with the reason.
    """

    def step(*stacks: Tensor) -> list[Tensor]:
        with Mapped():
            return list(vmap(function)(*stacks))

    return recorded(step, fixed, given)


def recorded(
    step: Callable[..., list[Tensor]], fixed: Sequence[Tensor], given: Sequence[Tensor], gradient: bool = False
) -> Program:
    """A function of stacks as a flat list of operations.

    Raises:
        Unpackable: if the function cannot be recorded, with the reason.
    """
    stacks = [*fixed, *given]
    versions = [s._version for s in stacks]
    # What is recorded is described by fake tensors: one mode for them all, else each has its own, at a call's price.
    context = tracing(TracingContext(FakeTensorMode(allow_fallback_kernels=True)))
    try:
        with context, torch.inference_mode(False), torch.set_grad_enabled(gradient):
            module = make_fx(step)(*stacks)
    except Exception as error:
        raise Unpackable(f"cannot be mapped over members: {' '.join(str(error).split())[:300]}") from error
    if [s._version for s in stacks] != versions:
        raise Unpackable("the objective changes its own parameters or buffers")
    return shortened(module, fixed)


def shortened(module: fx.GraphModule, fixed: Sequence[Tensor]) -> Program:
    """What was recorded, as short as it gets; a function of what is not fixed."""
    graph = module.graph
    shortening.tidy(graph)
    if fixed[0].device.type == "cpu":
        make_independent(graph, len(fixed[0]))
    with torch.no_grad():
        held = shortening.hoist(graph, fixed)
    shortening.reuse(graph)
    shortening.bind(graph)
    graph.set_codegen(fx.graph.CodeGen())
    module.recompile()
    return partial(module.forward, *held)
