"""Batch invariance: a member gets the same bits in a pack of one and in any other, on a CPU with one thread.

Three kinds of operation break this. They are replaced in the captured graph:

- A vectorised function processes full registers and computes the remainder with scalar code, whose last bit can
  differ. If a member ends inside a register, its row is padded to full registers.
- A matrix product with a side of length 1 uses another kernel when it is not batched. It is written as a sum.
- The order of summation in a matrix product depends on where in a cache line a matrix starts. If a member's size is not
  a whole number of cache lines, the members are multiplied one by one.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from vaebench.training.packed import torch_private
from vaebench.training.packed.graph_passes import operations

aten = torch.ops.aten

LINE = 16
"""Floats in a cache line. Torch aligns its allocations to cache lines."""

FEW = 8
"""Columns of a product that MKL computes slowly: at most the floats of one register."""

LANES = 64
"""Rows are padded to a multiple of this: what one iteration over the widest registers processes."""

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
