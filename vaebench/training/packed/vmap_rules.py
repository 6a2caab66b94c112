"""Batching rules for functions that `torch.func.vmap` maps correctly but slowly.

A model calls `nn.Linear` or `binary_cross_entropy_with_logits` for one member. Inside `BatchingRules()`, a call with
mapped arguments goes to a rule that computes all members at once, `[M, …]`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.overrides import TorchFunctionMode

from vaebench.training.packed import torch_private

Rule = Callable[..., Tensor]


class BatchingRules(TorchFunctionMode):
    """Inside this mode the rules below replace torch's own.

    Where the model itself differentiates (`torch.func.vjp`), torch's own rules stay: ours have no derivative there.

    Args:
        rules: by the function that they replace. By default `RULES`.
    """

    def __init__(self, rules: Mapping[Any, Rule] | None = None) -> None:
        super().__init__()
        self.rules = RULES if rules is None else rules

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        rule, said = self.rules.get(function), {k: v for k, v in (kwargs or {}).items() if v is not None}
        usual = said in ({}, {"reduction": "none"}) and not any(map(_differentiated, args))
        if rule is None or not usual or not any(map(_mapped, args)):
            return function(*args, **(kwargs or {}))
        return _Rule.apply(rule, *args)


class _Rule(Function):
    """A function whose batched form is a rule. Autograd differentiates through the operations of the rule."""

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
    """The affine maps of all members as one batched product: x `[M, …, in]`, weight `[M, out, in]`, bias `[M, out]`."""
    rows, weight = x.reshape(len(x), -1, x.shape[-1]), weight.transpose(1, 2)
    y = torch.bmm(rows, weight) if bias is None else torch.baddbmm(bias.unsqueeze(1), rows, weight)
    return y.view(*x.shape[:-1], y.shape[-1])


class Logistic(Function):
    """log(1 + eˡ) − x·l, the negative log-probability of x under a Bernoulli of logit l, without weights.

    vmap splits torch's own function into twenty operations. This form, with e^−|l|, has an error below 6e-8 everywhere.
    """

    @staticmethod
    def forward(ctx: Any, logit: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(logit, x)
        log1p = (
            logit.abs().neg().exp().add(1).log()
        )  # torch.log1p is five times slower and not more accurate after the sum
        return torch.addcmul(log1p.add(logit.clamp_min(0)), logit, x, value=-1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        logit, x = ctx.saved_tensors
        return (logit.sigmoid() - x) * gradient, None


class JoinedLogistic(Function):
    """`Logistic` for a compiler, which joins simple operations but not exponentials and logarithms.

    Its slope uses the e^−|l| of its value. log(1 + e) is 2 artanh(e / (2 + e)), whose series ends after s¹⁵: s is at
    most 1/3, so the rest is below 1e-9.
    """

    @staticmethod
    def forward(ctx: Any, logit: Tensor, x: Tensor) -> Tensor:
        e = logit.abs().neg().exp()
        ctx.save_for_backward(logit, x, e)
        s = e / (e + 2)
        square = s * s
        series = square / 15
        for power in (13, 11, 9, 7, 5, 3):
            series = (series + 1 / power) * square
        return (series * s + s) * 2 + logit.clamp_min(0) - logit * x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        logit, x, e = ctx.saved_tensors
        return (torch.where(logit > 0, 1.0, e) / (e + 1) - x) * gradient, None


def one_by_one(function: Callable[..., Tensor]) -> Rule:
    """A rule that calls a function once per member: for functions so large that batching does not make them faster."""

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


COMPILED_RULES = RULES | {F.binary_cross_entropy_with_logits: JoinedLogistic.apply}
"""The rules for a program that is compiled."""


def _mapped(x: Any) -> bool:
    return isinstance(x, Tensor) and torch_private.is_batched(x)


def _differentiated(x: Any) -> bool:
    return isinstance(x, Tensor) and torch_private.is_differentiated(x)


def _stack(x: Tensor, dim: int | None, members: int) -> Tensor:
    return x.expand(members, *x.shape) if dim is None else x.movedim(dim, 0)
