"""Graph passes over a captured step: fewer operations and less memory traffic, and the same bits in any pack.

A training step of a small network spends most of its time in Python, in the dispatcher and in memory allocation. The
first passes remove such costs. A compiler makes it faster still, but takes longer than many whole sweeps: see
`compiled`.

The last passes are for batch invariance: a member gets the same bits in a pack of one and in any other, on a CPU with
one thread. Three kinds of operation break this, and are replaced:

- A vectorised function processes full registers and computes the remainder with scalar code, whose last bit can
  differ. If a member ends inside a register, its row is padded to full registers.
- A matrix product with a side of length 1 uses another kernel when it is not batched. It is written as a sum.
- The order of summation in a matrix product depends on where in a cache line a matrix starts. If a member's size is not
  a whole number of cache lines, the members are multiplied one by one.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, fx

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
    owner, written = memory(graph)
    for node, operation in calls(graph):
        source: Any = node.args[0] if node.args else None
        if operation in REARRANGEMENTS:
            if node.target is aten.detach.default or _layout(node) == _layout(source):
                node.replace_all_uses_with(source)
                graph.erase_node(node)
        elif node.target is aten.pow.Tensor_Scalar and node.args[1] == 1:
            if written & {owner[node], owner[source]}:
                continue  # the result is a copy, which keeps the values from before or after the change
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
    owner, written = memory(graph)
    for node in [n for n in graph.nodes if n.op == "call_function"]:
        if owner[node] in written:
            continue  # such as a sum that begins with zeros: each step writes over its memory
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
    own = owner[node.args[0]]
    # An argument or a constant of the graph must survive; two inputs in one memory would read half-written values.
    if own.op != "call_function" or sum(owner[n] is own for n in node.all_input_nodes) > 1:
        return False
    return all(place[user] <= place[node] for view in views[own] for user in view.users)


def use_tensor_methods(graph: fx.Graph) -> None:
    """Call tensor methods where the operator's own call costs more than its computation."""
    for node, operation in calls(graph):
        name = operation.__name__
        if name in ("cat", "where"):  # Tensor has no method `cat`, and `where` orders its arguments differently
            node.target = getattr(torch, name)
        elif operation in TENSOR_METHODS:
            node.target = getattr(Tensor, name)


def memory(graph: fx.Graph) -> tuple[dict[fx.Node, fx.Node], set[fx.Node]]:
    """For each node the node that allocated its memory; and the nodes whose memory an operation writes to."""
    owner, written = dict[fx.Node, fx.Node](), set[fx.Node]()
    for node in graph.nodes:
        owner[node] = owner[node.all_input_nodes[0]] if is_view(node) else node
        written |= {owner[n] for n in _written(node)}
    return owner, written


def _written(node: fx.Node) -> list[fx.Node]:
    """The arguments of a node that it writes over."""
    target: Any = node.target
    args: Any = node.args
    kwargs: Any = node.kwargs
    if target is padded_to_registers:
        target, _, args, kwargs = args
    found: list[fx.Node] = []
    if torch_private.is_operation(target):
        for i, argument in enumerate(torch_private.schema(target).arguments):
            if argument.alias_info is not None and argument.alias_info.is_write:
                fx.map_arg(args[i] if i < len(args) else kwargs.get(argument.name), found.append)
    return found


def is_view(node: fx.Node) -> bool:
    """Whether the result shares memory with the first argument."""
    target = node.args[0] if node.target is padded_to_registers else node.target
    if not torch_private.is_operation(target):
        return node.op == "call_function" and getattr(target, "__name__", "") == "getitem"
    returns = torch_private.schema(target).returns
    return target is aten._unsafe_view.default or any(r.alias_info is not None for r in returns)


def calls(graph: fx.Graph) -> list[tuple[fx.Node, Any]]:
    """The nodes that call an operation of torch, and the operation."""
    return [(n, n.target.overloadpacket) for n in graph.nodes if torch_private.is_operation(n.target)]


def _like(node: fx.Node) -> Tensor:
    value: Layout = node.meta["val"]
    return torch.empty_strided(value.shape, value.strides, dtype=value.dtype, device=value.device)


def _layout(node: fx.Node) -> tuple[Any, ...]:
    value: Layout | None = node.meta.get("val")
    return () if value is None else (value.shape, value.strides, value.dtype)


# -- batch invariance --------------------------------------------------------------------------------------------------

LINE = 16  # floats in a cache line. Torch aligns its allocations to cache lines
FEW = 8  # columns of a product that MKL computes slowly: at most the floats of one register
LANES = 64  # rows are padded to a multiple of this: what one iteration over the widest registers processes
EXACT = frozenset(
    operations(
        "abs add addcdiv addcmul bitwise_and bitwise_not bitwise_or ceil clamp clamp_max clamp_min clone copy div eq "
        "fill floor ge gt isfinite isnan le leaky_relu leaky_relu_backward lerp logical_and logical_not logical_or lt "
        "masked_fill maximum minimum mul ne neg reciprocal relu rsub sgn sign sqrt square sub threshold "
        "threshold_backward where _to_copy"
    )
)
"""Elementwise operations whose vectorised and scalar code give the same bits."""

UNMARKED = frozenset(operations("softplus_backward elu_backward hardtanh_backward log_sigmoid_backward"))
"""Elementwise operations that lack torch's tag `pointwise`."""


def make_batch_invariant(graph: fx.Graph, members: int) -> None:
    """Replace the operations whose bits depend on the other members."""
    for node in graph.nodes:
        if node.op != "call_function" or not torch_private.is_operation(node.target):
            continue
        if node.target in (aten.bmm.default, aten.baddbmm.default):
            a, b = (arg.meta["val"] for arg in node.args[-2:])
            if 1 in (*a.shape[1:], b.shape[2]):
                node.target = sum_matmul if node.target is aten.bmm.default else sum_matmul_add
            elif any(math.prod(t.shape[1:]) % LINE for t in (a, b, node.meta["val"])):
                node.target = each_matmul if node.target is aten.bmm.default else each_matmul_add
        elif node.target.overloadpacket not in EXACT and _is_elementwise(node.target):
            shape = node.meta["val"].shape
            if len(shape) and shape[0] == members and math.prod(shape[1:]) % LANES:
                node.args = (node.target, tuple(shape), node.args, node.kwargs)
                node.target, node.kwargs = padded_to_registers, {}


def _is_elementwise(operation: Any) -> bool:
    """Whether an operation is elementwise, by torch's tag or by our list."""
    return torch.Tag.pointwise in operation.tags or operation.overloadpacket in UNMARKED


def arrange_products(graph: fx.Graph) -> None:
    """The same for products in a graph that is compiled, in operations that a compiler knows; and quicker ones.

    - Sides are padded with zeros to multiples of 4. So each matrix fills whole cache lines, and no side has length 1.
    - A product of few columns is the transpose of one of few rows: MKL computes that in less than half of the time.
    """
    for node in graph.nodes:
        if node.target not in (aten.bmm.default, aten.baddbmm.default):
            continue
        a, b = node.args[-2:]
        (_, i, k), j = a.meta["val"].shape, b.meta["val"].shape[2]
        odd, thin = 1 in (i, j, k) or any(n % LINE for n in (i * k, k * j, i * j)), j <= FEW < i
        if not odd and not thin:
            continue
        with graph.inserting_before(node):
            if odd:
                a = graph.call_function(aten.constant_pad_nd.default, (a, [0, -k % 4, 0, -i % 4]))
                b = graph.call_function(aten.constant_pad_nd.default, (b, [0, -j % 4, 0, -k % 4]))
            product = _turned(graph, a, b) if thin else graph.call_function(aten.bmm.default, (a, b))
            for dim, length in ((1, i), (2, j)) if odd else ():
                product = graph.call_function(aten.slice.Tensor, (product, dim, 0, length))
            if node.target is aten.baddbmm.default:
                product = graph.call_function(aten.add.Tensor, (product, node.args[0]))
        node.replace_all_uses_with(product)
        graph.erase_node(node)


def _turned(graph: fx.Graph, a: fx.Node, b: fx.Node) -> fx.Node:
    """The product of a and b as (bᵀaᵀ)ᵀ, in rows."""
    sides = tuple(graph.call_function(aten.transpose.int, (x, 1, 2)) for x in (b, a))
    back = graph.call_function(aten.transpose.int, (graph.call_function(aten.bmm.default, sides), 1, 2))
    return graph.call_function(aten.clone.default, (back,), {"memory_format": torch.contiguous_format})


def sum_matmul(a: Tensor, b: Tensor) -> Tensor:
    """Matrix products of `[M, I, K]` and `[M, K, J]`, written as sums."""
    return (a.unsqueeze(3) * b.unsqueeze(1)).contiguous().sum(2)


def sum_matmul_add(c: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """`c` added to the products of `[M, I, K]` and `[M, K, J]`."""
    return sum_matmul(a, b) + c


def each_matmul(a: Tensor, b: Tensor) -> Tensor:
    """Matrix products of `[M, I, K]` and `[M, K, J]`, one by one, each in memory of its own."""
    return torch.stack([torch.mm(x.clone(), y.clone()) for x, y in zip(a, b, strict=True)])


def each_matmul_add(c: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """`c` added to the products of `[M, I, K]` and `[M, K, J]`."""
    return each_matmul(a, b) + c


def padded_to_registers(
    operation: Any, shape: tuple[int, ...], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Tensor:
    """An elementwise operation on rows `[M, n]`, with n padded to full registers."""
    n = math.prod(shape[1:])
    filling = (0, -n % LANES)
    rows = [
        F.pad(a.expand(shape).reshape(shape[0], n), filling) if isinstance(a, Tensor) and a.ndim else a for a in args
    ]
    result = operation(*rows, **kwargs)[:, :n].reshape(shape)
    return args[0].copy_(result) if torch_private.schema(operation).is_mutable else result
