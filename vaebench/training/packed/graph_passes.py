"""Graph passes over a captured step: fewer operations and less memory traffic, with the same bits.

A training step of a small network spends most of its time in Python, in the dispatcher and in memory allocation. These
passes remove such costs. A compiler makes it faster still, but takes longer than many whole sweeps: see `compiled`.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx

from vaebench.training.packed import torch_private
from vaebench.training.packed.recording import Layout

aten = torch.ops.aten


def operations(names: str) -> list[Any]:
    """The operations of torch with these names. A name that this version of torch lacks is left out."""
    return [getattr(aten, name) for name in names.split() if hasattr(aten, name)]


REARRANGEMENTS = frozenset(operations("detach alias view _unsafe_view expand permute squeeze unsqueeze"))
"""Operations that do nothing if shape and strides stay the same."""

FILLED = frozenset(operations("ones_like zeros_like new_ones new_zeros full scalar_tensor"))
"""Operations whose result depends only on shapes."""

INPLACE_FORMS = {
    getattr(operation, overload): getattr(getattr(aten, f"{operation.__name__}_"), overload)
    for overload, names in {
        "default": "abs neg exp log log1p sqrt sigmoid tanh relu clamp_min addcmul",
        "Tensor": "add sub mul div",
        "Scalar": "mul div",
    }.items()
    for operation in operations(names)
}
"""Elementwise operations, and their in-place forms, which write over the first argument."""

TENSOR_METHODS = frozenset(
    operations(
        "abs neg exp log log1p sqrt sigmoid tanh relu clamp_min addcmul add sub mul div pow sum mean bmm baddbmm view "
        "transpose unsqueeze squeeze expand select permute abs_ neg_ exp_ log_ log1p_ sqrt_ sigmoid_ tanh_ relu_ "
        "clamp_min_ addcmul_ add_ sub_ mul_ div_"
    )
)
"""Operations that exist as a method of Tensor. Calling the method costs a third of calling the operator."""


def eliminate_noops(graph: fx.Graph) -> None:
    """Remove operations that do nothing, and operations whose result is not used."""
    for node, operation in calls(graph):
        source: Any = node.args[0] if node.args else None
        if operation in REARRANGEMENTS:
            if node.target is aten.detach.default or _layout(node) == _layout(source):
                node.replace_all_uses_with(source)
                graph.erase_node(node)
        elif node.target is aten.pow.Tensor_Scalar and node.args[1] == 1:
            node.replace_all_uses_with(source)
            graph.erase_node(node)
        elif node.target is aten.pow.Tensor_Scalar and node.args[1] == 2:
            node.target, node.args = aten.mul.Tensor, (source, source)  # what torch computes; it is exact
    graph.eliminate_dead_code()


def hoist_constants(graph: fx.Graph, fixed: Sequence[Tensor]) -> list[Tensor]:
    """Compute once what is the same at every step: views of the fixed tensors, and constants.

    Args:
        graph: its first arguments are the fixed tensors.
        fixed: tensors that keep their memory and change only in place.

    Returns:
        The tensors that now are the first arguments of the graph, in place of the fixed ones.
    """
    inputs = graph.find_nodes(op="placeholder")[: len(fixed)]
    # `known` maps a node to its tensor. A node becomes known if it only looks at known memory or is constant.
    known: dict[fx.Node, Any] = dict(zip(inputs, fixed, strict=True))
    constant: set[fx.Node] = set()
    for node in [n for n in graph.nodes if n.op == "call_function"]:
        filled = getattr(node.target, "overloadpacket", None) in FILLED
        if filled or (node.all_input_nodes and constant.issuperset(node.all_input_nodes)):
            constant.add(node)
        elif not (is_view(node) and all(n in known for n in node.all_input_nodes)):
            continue
        args, kwargs = fx.map_arg((node.args, node.kwargs), _like if filled else known.__getitem__)
        known[node] = node.target(*args, **kwargs)
    # Known nodes that the rest of the graph reads become arguments; the others disappear.
    needed = [n for n in known if any(user not in known for user in n.users)]
    with graph.inserting_before(inputs[0]):
        for node in needed:
            argument = graph.placeholder(f"{node.name}_")
            argument.meta = node.meta
            node.replace_all_uses_with(argument, lambda user: user not in known)
    for node in reversed(known):
        graph.erase_node(node)
    return [known[n] for n in needed]


def make_inplace(graph: fx.Graph) -> None:
    """Make an elementwise operation in-place if nothing reads its first argument afterwards."""
    # `owner` is the node that allocated the memory of a node; `views` lists all nodes that share this memory.
    place = {node: i for i, node in enumerate(graph.nodes)}
    owner: dict[fx.Node, fx.Node] = {}
    views: dict[fx.Node, list[fx.Node]] = {}
    for node in graph.nodes:
        if _can_be_inplace(node, owner, views, place):
            node.target = INPLACE_FORMS[node.target]
        shares = is_view(node) or node.target in INPLACE_FORMS.values()
        owner[node] = owner[node.all_input_nodes[0]] if shares else node
        views.setdefault(owner[node], []).append(node)


def _can_be_inplace(
    node: fx.Node, owner: dict[fx.Node, fx.Node], views: dict[fx.Node, list[fx.Node]], place: dict[fx.Node, int]
) -> bool:
    if (
        node.target not in INPLACE_FORMS
        or not isinstance(node.args[0], fx.Node)
        or _layout(node) != _layout(node.args[0])
    ):
        return False
    memory = owner[node.args[0]]
    # An argument of the graph must survive the step; two inputs in one memory would read half-written values.
    if memory.op == "placeholder" or sum(owner[n] is memory for n in node.all_input_nodes) > 1:
        return False
    return all(place[user] <= place[node] for view in views[memory] for user in view.users)


def use_tensor_methods(graph: fx.Graph) -> None:
    """Call tensor methods where the operator's own call costs more than its computation."""
    for node, operation in calls(graph):
        name = operation.__name__
        if name in ("cat", "where"):  # Tensor has no method `cat`, and `where` orders its arguments differently
            node.target = getattr(torch, name)
        elif operation in TENSOR_METHODS:
            node.target = getattr(Tensor, name)


def is_view(node: fx.Node) -> bool:
    """Whether the result shares memory with the first argument."""
    if not torch_private.is_operation(node.target):
        return node.op == "call_function" and getattr(node.target, "__name__", "") == "getitem"
    returns = torch_private.schema(node.target).returns
    return node.target is aten._unsafe_view.default or any(r.alias_info is not None for r in returns)


def calls(graph: fx.Graph) -> list[tuple[fx.Node, Any]]:
    """The nodes that call an operation of torch, and the operation."""
    return [(n, n.target.overloadpacket) for n in graph.nodes if torch_private.is_operation(n.target)]


def _like(node: fx.Node) -> Tensor:
    value: Layout = node.meta["val"]
    return torch.empty_strided(value.shape, value.strides, dtype=value.dtype, device=value.device)


def _layout(node: fx.Node) -> tuple[Any, ...]:
    value: Layout | None = node.meta.get("val")
    return () if value is None else (value.shape, value.strides, value.dtype)
