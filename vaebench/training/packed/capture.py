"""Capture a function of one member as a program: one flat list of operations for all members.

`program` maps the function over members with `torch.func.vmap`, takes the gradient, and captures the result once as a
list of operations on stacks `[M, …]`. A training step then runs this list. It needs no Python code of the model, no
dispatch of vmap and no autograd graph, which are most of the cost of a step of a small network.

`record` takes down the operations while the function runs on real tensors. `make_fx` of torch.fx records the same. It
also describes each value by a fake tensor, which takes about a millisecond an operation and needs torch's compiler,
whose import takes longer than many a training.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx
from torch.func import vmap
from torch.fx.node import map_aggregate

from vaebench.models.epoch import sum_over_observations
from vaebench.training.packed import graph_passes, torch_private
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
    return [-loss.detach(), sum_over_observations(objective), *slopes]


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
    """Like `program`, without gradient, for a function that returns any tensors; each result becomes a stack.

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
        recorder = record(step, stacks, gradient)
    except Exception as error:
        raise Unpackable(f"cannot be mapped over members: {' '.join(str(error).split())[:300]}") from error
    if [torch_private.version(s) for s in stacks] != versions:
        raise Unpackable("the objective changes its own parameters or buffers")
    _, written = graph_passes.memory(recorder.graph)
    if any(node.op == "get_attr" for node in written):
        raise Unpackable("the objective changes a tensor that is made once, for example an attribute of the model")
    return optimize(recorder, fixed)


def optimize(recorder: "Recorder", fixed: Sequence[Tensor]) -> Program:
    """Apply the graph passes; the result is a function of the tensors that are not fixed."""
    graph = recorder.graph
    graph_passes.eliminate_noops(graph)
    if fixed[0].device.type == "cpu":
        graph_passes.make_batch_invariant(graph, len(fixed[0]))
    with torch.no_grad():
        held = graph_passes.hoist_constants(graph, fixed)
    graph_passes.make_inplace(graph)
    graph_passes.use_tensor_methods(graph)
    graph.set_codegen(fx.graph.CodeGen())
    return partial(recorder.module().forward, *held)


def record(step: Callable[..., list[Tensor]], stacks: Sequence[Tensor], gradient: bool) -> "Recorder":
    """Run a function once, and record the operations that it calls, down to the level of autograd's own operations.

    Args:
        step: takes the stacks and returns tensors.
        stacks: what it is called with. They become the arguments of the graph, in this order.
        gradient: whether it differentiates.

    Raises:
        ValueError: if it reads the value of a tensor, as `.item()` and `if` do.
    """
    recorder = Recorder(stacks)
    with torch.inference_mode(False), torch.set_grad_enabled(gradient), recorder:
        results = step(*stacks)
    recorder.graph.output([recorder.node(x) for x in results])
    return recorder


class Recorder(torch_private.dispatch_mode()):  # type: ignore[misc]
    """A mode of torch in which each operation is executed and becomes a node.

    Attributes:
        graph: the nodes so far.
        constants: tensors that the function brought itself; the graph reads them by these names.
    """

    def __init__(self, stacks: Sequence[Tensor]) -> None:
        super().__init__()
        self.graph, self.constants = fx.Graph(), dict[str, Tensor]()
        self._nodes = torch_private.weak_tensor_keys()
        self._values: dict[fx.Node, Tensor] = {}  # of nodes that copy a constant, the only ones whose value may be read
        for i, stack in enumerate(stacks):
            self._known(stack, self.graph.placeholder(f"stack_{i}"))

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if torch_private.is_composite(function):
            with self:
                return function.decompose(*args, **kwargs)
        inputs = map_aggregate((args, kwargs), self._node_of)
        if torch.Tag.data_dependent_output in function.tags:
            return self._read(function, inputs)
        lifts = function is torch.ops.aten.lift_fresh.default
        # It returns the constant itself, and the next operation may write over that.
        function = torch.ops.aten.lift_fresh_copy.default if lifts else function
        made, node = function(*args, **kwargs), self.graph.call_function(function, *inputs)
        if lifts:
            self._values[node] = made.clone()
        self._keep(made, node)
        return made

    def module(self) -> fx.GraphModule:
        """The graph as it is now, as Python code."""
        return fx.GraphModule(self.constants, self.graph)

    def node(self, x: Tensor) -> fx.Node:
        """The node that made a tensor. A tensor that no node made is a constant."""
        if x not in self._nodes:
            name = f"constant_{len(self.constants)}"
            self.constants[name] = x.detach() if x.requires_grad else x
            self._known(x, self.graph.create_node("get_attr", name))
        return self._nodes[x]

    def _node_of(self, argument: Any) -> Any:
        return self.node(argument) if isinstance(argument, Tensor) else argument

    def _keep(self, made: Any, node: fx.Node) -> None:
        """Remember which node made a result; of several results, each has a node of its own."""
        if isinstance(made, Tensor):
            self._known(made, node)
        elif isinstance(made, list | tuple):
            for i, part in enumerate(made):
                if isinstance(part, Tensor):
                    self._known(part, self.graph.call_function(operator.getitem, (node, i)))

    def _known(self, x: Tensor, node: fx.Node) -> None:
        self._nodes[x] = node
        node.meta["val"] = graph_passes.Layout.of(x)

    def _read(self, function: Any, inputs: Any) -> Any:
        """The value of a constant; values of other tensors differ from call to call and from member to member."""
        nodes: list[fx.Node] = []
        fx.map_arg(inputs, nodes.append)
        if not self._values.keys() >= set(nodes):
            raise ValueError(
                f"it reads the value of a tensor ({function}), e.g. by data-dependent control flow; use torch.where"
            )
        args, kwargs = fx.map_arg(inputs, self._values.__getitem__)
        return function(*args, **kwargs)
