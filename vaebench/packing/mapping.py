"""Functions that `torch.func.vmap` maps over members correctly but slowly, mapped by hand.

A model calls `nn.Linear` or `binary_cross_entropy_with_logits` for one member, as ever. Within `Mapped()`, a call whose
arguments are mapped goes to a rule that sees all members at once, `[M, …]`.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.overrides import TorchFunctionMode

Rule = Callable[..., Tensor]


class Mapped(TorchFunctionMode):
    """Within it the rules below hold."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        rule, said = RULES.get(function), {k: v for k, v in (kwargs or {}).items() if v is not None}
        if rule is None or said not in ({}, {"reduction": "none"}) or not any(map(_mapped, args)):
            return function(*args, **(kwargs or {}))
        return _ByRule.apply(rule, *args)


class _ByRule(Function):
    """A function whose mapped form is a rule; its gradient is that of the operations of which the rule is made."""

    @staticmethod
    def forward(rule: Rule, *args: Any) -> Tensor:
        raise AssertionError("never called: an argument is mapped")

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Nothing is kept."""

    @staticmethod
    def vmap(info: Any, in_dims: Any, rule: Rule, *args: Any) -> tuple[Tensor, int]:
        dims = in_dims[1:]
        stacks = [
            _stack(a, d, info.batch_size) if isinstance(a, Tensor) else a for a, d in zip(args, dims, strict=True)
        ]
        return rule(*stacks), 0


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """All members' affine maps as one batched product: x `[M, …, in]`, weight `[M, out, in]`, bias `[M, out]`."""
    rows, weight = x.reshape(len(x), -1, x.shape[-1]), weight.transpose(1, 2)
    y = torch.bmm(rows, weight) if bias is None else torch.baddbmm(bias.unsqueeze(1), rows, weight)
    return y.view(*x.shape[:-1], y.shape[-1])


class Logistic(Function):
    """log(1 + eˡ) − x·l, the negative log-probability of x under a Bernoulli of logit l, without weights.

    vmap takes torch's own apart into twenty operations. Written with e^−|l| it is exact to 6e-8 everywhere.
    """

    @staticmethod
    def forward(ctx: Any, logit: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(logit, x)
        log1p = logit.abs().neg().exp().add(1).log()  # log1p itself is five times slower, and no better after the sum
        return torch.addcmul(log1p.add(logit.clamp_min(0)), logit, x, value=-1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        logit, x = ctx.saved_tensors
        return (logit.sigmoid() - x) * gradient, None


def one_by_one(function: Callable[..., Tensor]) -> Rule:
    """A rule that leaves the members apart, for a function with so much work that company does not make it faster."""

    def rule(*stacks: Any) -> Tensor:
        if stacks[0].device.type != "cpu":
            dims = tuple(0 if isinstance(s, Tensor) else None for s in stacks)
            return torch.func.vmap(function, dims)(*stacks)
        lots = [s.unbind(0) if isinstance(s, Tensor) else (s,) * len(stacks[0]) for s in stacks]
        return torch.stack([function(*one) for one in zip(*lots, strict=True)])

    return rule


RULES: dict[Any, Rule] = {
    F.linear: linear,
    F.binary_cross_entropy_with_logits: Logistic.apply,
} | {
    f: one_by_one(f) for f in (F.conv1d, F.conv2d, F.conv3d, F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)
}


def _mapped(x: Any) -> bool:
    return isinstance(x, Tensor) and torch._C._functorch.is_batchedtensor(x)


def _stack(x: Tensor, dim: int | None, members: int) -> Tensor:
    return x.expand(members, *x.shape) if dim is None else x.movedim(dim, 0)
