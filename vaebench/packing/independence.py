"""Operations on all members that give each the same bits whatever stands beside it, on a CPU with one thread.

Some kinds of operation do not, and are replaced in a recorded list:

- a vectorised function works through whole registers and finishes the rest with scalar code, whose last bit may
  differ; where a member ends inside a register, its row is padded to full ones;
- a matrix product with a side of one is computed by another kernel if it stands alone; it is written as a sum;
- a matrix product adds in an order that depends on where in a cache line its matrices start; where a member's size is
  no whole number of lines, the members are multiplied one by one.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx

from vaebench.packing.shortening import operations

aten = torch.ops.aten

LINE = 16
"""Numbers in a cache line, to which torch aligns what it allocates."""

LANES = 64
"""Numbers to which a row is padded: a multiple of what a loop over the widest registers takes at once."""

EXACT = frozenset(
    operations(
        "abs add addcdiv addcmul bitwise_and bitwise_not bitwise_or ceil clamp clamp_max clamp_min clone copy div eq "
        "fill floor ge gt isfinite isnan le leaky_relu leaky_relu_backward lerp logical_and logical_not logical_or lt "
        "masked_fill maximum minimum mul ne neg reciprocal relu rsub sgn sign sqrt square sub threshold "
        "threshold_backward where _to_copy"
    )
)
"""Elementwise operations that give an element the same bits wherever it stands."""

UNMARKED = frozenset(operations("softplus_backward elu_backward hardtanh_backward log_sigmoid_backward"))
"""Elementwise operations that torch does not mark as such."""


def make_independent(graph: fx.Graph, members: int) -> None:
    """Replace what would give a member other bits beside others than alone."""
    for node in graph.nodes:
        if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
            continue
        if node.target in (aten.bmm.default, aten.baddbmm.default):
            a, b = (arg.meta["val"] for arg in node.args[-2:])
            if 1 in (*a.shape[1:], b.shape[2]):
                node.target = product if node.target is aten.bmm.default else product_and_sum
            elif any(math.prod(t.shape[1:]) % LINE for t in (a, b, node.meta["val"])):
                node.target = products if node.target is aten.bmm.default else products_and_sums
        elif node.target.overloadpacket not in EXACT and _is_elementwise(node.target):
            shape = node.meta["val"].shape
            if len(shape) and shape[0] == members and math.prod(shape[1:]) % LANES:
                node.args = (node.target, tuple(shape), node.args, node.kwargs)
                node.target, node.kwargs = in_full_registers, {}


def _is_elementwise(operation: torch._ops.OpOverload) -> bool:
    """Whether it is one, by torch's mark or without it."""
    return torch.Tag.pointwise in operation.tags or operation.overloadpacket in UNMARKED


def product(a: Tensor, b: Tensor) -> Tensor:
    """The products of `[M, I, K]` and `[M, K, J]`, as sums."""
    return (a.unsqueeze(3) * b.unsqueeze(1)).contiguous().sum(2)


def product_and_sum(c: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """`c` added to the products of `[M, I, K]` and `[M, K, J]`."""
    return product(a, b) + c


def products(a: Tensor, b: Tensor) -> Tensor:
    """The products of `[M, I, K]` and `[M, K, J]`, each from memory and into memory of its own."""
    return torch.stack([torch.mm(x.clone(), y.clone()) for x, y in zip(a, b, strict=True)])


def products_and_sums(c: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """`c` added to the products of `[M, I, K]` and `[M, K, J]`."""
    return products(a, b) + c


def in_full_registers(
    operation: torch._ops.OpOverload, shape: tuple[int, ...], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Tensor:
    """An elementwise operation on rows `[M, n]`, n rounded up to whole registers."""
    n = math.prod(shape[1:])
    filling = (0, -n % LANES)
    rows = [
        F.pad(a.expand(shape).reshape(shape[0], n), filling) if isinstance(a, Tensor) and a.ndim else a for a in args
    ]
    result = operation(*rows, **kwargs)[:, :n].reshape(shape)
    return args[0].copy_(result) if operation._schema.is_mutable else result
