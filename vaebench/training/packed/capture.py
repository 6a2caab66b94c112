"""Capture a function of one member as one flat list of operations for all members.

`program` maps the function over members with `torch.func.vmap`, takes the gradient, and captures the result once as a
list of operations on stacks `[M, …]`. A training step then runs this list. It needs no Python code of the model, no
dispatch of vmap and no autograd graph, which are most of the cost of a step of a small network.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx
from torch.func import vmap

from vaebench.models import epoch
from vaebench.training.packed import graph_passes, torch_private
from vaebench.training.packed.determinism import make_batch_invariant
from vaebench.training.packed.recording import record
from vaebench.training.packed.vmap_rules import BatchingRules, Rule

Program = Callable[..., list[Tensor]]


class Unpackable(ValueError):
    """These models cannot be trained as one program, with the reason. Each can be trained outside a pack."""


def program(
    function: Callable[..., Tensor], fixed: Sequence[Tensor], given: Sequence[Tensor], trained: int = 0
) -> Program:
    """Capture the objective of one member, and its gradient, for all members.

    Args:
        function: takes the tensors of one member, `*fixed` and `*given`, and returns its objective `[B]`.
        fixed: tensors of all members, `[M, …]`, that keep their memory and change only in place.
        given: tensors with the shapes of those that are new at every call.
        trained: how many of the fixed tensors are the parameters to train: the first ones.

    Returns:
        A function of tensors like `given` that returns the mean objective `[M]`, its sum `[M]` in float64, and the
        gradients of the negative mean with respect to the parameters.

    Raises:
        Unpackable: if the function cannot be mapped, with the reason.
    """

    def step(*stacks: Tensor) -> list[Tensor]:
        return objective_and_gradients(function, stacks, trained)

    return capture(step, fixed, given, gradient=trained > 0)


def objective_and_gradients(
    function: Callable[..., Tensor], stacks: Sequence[Tensor], trained: int, rules: Mapping[Any, Rule] | None = None
) -> list[Tensor]:
    """What `program` captures, computed on stacks `[M, …]`; the first `trained` are the parameters.

    `rules` are those of `BatchingRules`.
    """
    # Each member is an independent problem, so one backward pass over the vector of losses gives all gradients.
    leaves = [s.detach().requires_grad_() for s in stacks[:trained]]
    with BatchingRules(rules):
        objective = vmap(function)(*leaves, *stacks[trained:])
    loss = -objective.mean(1)
    slopes: tuple[Tensor, ...] = ()
    if trained:
        total = _Total.apply(loss)
        slopes = torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True)
    return [-loss.detach(), epoch.total(objective), *slopes]


class _Total(torch.autograd.Function):
    """The sum of all losses, whose slope is one for each.

    `torch.autograd.grad` takes such ones as an argument too. To check them it imports sympy, for half a second.
    """

    @staticmethod
    def forward(ctx: Any, losses: Tensor) -> Tensor:
        ctx.save_for_backward(losses)
        return losses.sum()

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:
        return torch.ones_like(ctx.saved_tensors[0])


def mapped(function: Callable[..., Sequence[Tensor]], fixed: Sequence[Tensor], given: Sequence[Tensor]) -> Program:
    """Capture a function of one member, without gradient, for all members; each result becomes a stack.

    Args:
        function: takes the tensors of one member, `*fixed` and `*given`, and returns tensors.
        fixed: tensors of all members, `[M, …]`, that keep their memory and change only in place.
        given: examples of tensors of all members that are new at every call.

    Raises:
        Unpackable: if the function cannot be mapped, with the reason.
    """

    def step(*stacks: Tensor) -> list[Tensor]:
        with BatchingRules():
            return list(vmap(function)(*stacks))

    return capture(step, fixed, given)


def capture(
    step: Callable[..., list[Tensor]], fixed: Sequence[Tensor], given: Sequence[Tensor], gradient: bool = False
) -> Program:
    """Capture a function of stacks as a flat list of operations.

    Raises:
        Unpackable: if the function cannot be captured, with the reason.
    """
    stacks = [*fixed, *given]
    versions = [torch_private.version(s) for s in stacks]
    try:
        module = record(step, stacks, gradient)
    except Exception as error:
        raise Unpackable(f"cannot be mapped over members: {' '.join(str(error).split())[:300]}") from error
    if [torch_private.version(s) for s in stacks] != versions:
        raise Unpackable("the objective changes its own parameters or buffers")
    return optimize(module, fixed)


def optimize(module: fx.GraphModule, fixed: Sequence[Tensor]) -> Program:
    """Apply the graph passes; the result is a function of the tensors that are not fixed."""
    graph = module.graph
    graph_passes.eliminate_noops(graph)
    if fixed[0].device.type == "cpu":
        make_batch_invariant(graph, len(fixed[0]))
    with torch.no_grad():
        held = graph_passes.hoist_constants(graph, fixed)
    graph_passes.make_inplace(graph)
    graph_passes.use_tensor_methods(graph)
    graph.set_codegen(fx.graph.CodeGen())
    module.recompile()
    return partial(module.forward, *held)
