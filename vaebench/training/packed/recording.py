"""Record the operations of a function as a graph, while it runs on real tensors.

`torch.fx.experimental.proxy_tensor.make_fx` records the same operations. It also describes each value by a fake tensor,
which takes about a millisecond an operation and needs torch's compiler, whose import takes longer than many a training.
"""

import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx
from torch.fx.node import map_aggregate

from vaebench.training.packed import torch_private

aten = torch.ops.aten


class Layout(NamedTuple):
    """What the passes over a graph read of a value: `node.meta["val"]` is this, for every node that is a tensor."""

    shape: torch.Size
    strides: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, x: Tensor) -> "Layout":
        """That of a tensor."""
        return cls(x.shape, x.stride(), x.dtype, x.device)


def record(step: Callable[..., list[Tensor]], stacks: Sequence[Tensor], gradient: bool) -> fx.GraphModule:
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
    return fx.GraphModule(recorder.constants, recorder.graph)


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
        lifts = function is aten.lift_fresh.default
        # It returns the constant itself, and the next operation may write over that.
        function = aten.lift_fresh_copy.default if lifts else function
        made, node = function(*args, **kwargs), self.graph.call_function(function, *inputs)
        if lifts:
            self._values[node] = made.clone()
        self._keep(made, node)
        return made

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
        node.meta["val"] = Layout.of(x)

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
