"""torch's optimizers for the parameters of many members: the same formulas, applied to rows of a matrix."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim.rmsprop import rmsprop
from torch.optim.sgd import sgd

from vaebench.training.packed import torch_private
from vaebench.training.packed.rows import PackedOptimizer


class PackedAdam(PackedOptimizer):
    """Adam (Kingma & Ba 2015) of every row. Weight decay adds to the gradient."""

    states = ("exp_avg", "exp_avg_sq")
    defaults_of_torch = MappingProxyType({"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0})
    decoupled: ClassVar[bool] = False
    has_formula = True

    @classmethod
    def numbers(cls, step: float, rate: float, settings: Mapping[str, Any]) -> tuple[float, ...]:
        (beta1, beta2), decay = settings["betas"], settings["weight_decay"]
        size, root = rate / (1 - beta1**step), (1 - beta2**step) ** 0.5
        return size, 1 / root, 1 - beta1, beta2, 1 - beta2, settings["eps"], rate * decay if cls.decoupled else decay

    @classmethod
    def formula(cls, numbers: Sequence[Tensor], p: Tensor, gradient: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        size, scale, new1, old2, new2, eps, decay = numbers
        first, second = states
        p, g = (p - decay * p, gradient) if cls.decoupled else (p, gradient + decay * p)
        first, second = first + new1 * (g - first), old2 * second + new2 * g * g
        return p - size * first / (scale * second.sqrt() + eps), first, second

    @classmethod
    def update(
        cls, step: Tensor, is_first: bool, rate: float, settings: Mapping[str, Any], matrices: Sequence[Tensor]
    ) -> None:
        p, g, m, v = ([x] for x in matrices)
        torch_private.fused_adam(p, g, m, v, [step], lr=rate, decoupled=cls.decoupled, **settings)


class PackedAdamW(PackedAdam):
    """AdamW (Loshchilov & Hutter 2019) of every row. Weight decay shrinks the parameters themselves."""

    defaults_of_torch = MappingProxyType({**PackedAdam.defaults_of_torch, "weight_decay": 0.01})
    decoupled = True


class PackedRMSprop(PackedOptimizer):
    """RMSprop of every row."""

    states = ("square_avg", "grad_avg", "momentum_buffer")
    defaults_of_torch = MappingProxyType(
        {"alpha": 0.99, "eps": 1e-8, "momentum": 0.0, "centered": False, "weight_decay": 0.0}
    )

    @staticmethod
    def update(
        step: Tensor, is_first: bool, rate: float, settings: Mapping[str, Any], matrices: Sequence[Tensor]
    ) -> None:
        p, g, square, mean, buffer = ([x] for x in matrices)
        count = [torch.zeros(())]  # torch only counts with it; the pack counts by itself
        rmsprop(p, g, square, mean, buffer, count, foreach=False, lr=rate, **settings)


class PackedSGD(PackedOptimizer):
    """Stochastic gradient descent of every row."""

    states = ("momentum_buffer",)
    defaults_of_torch = MappingProxyType({"momentum": 0.0, "dampening": 0.0, "nesterov": False, "weight_decay": 0.0})

    @staticmethod
    def update(
        step: Tensor, is_first: bool, rate: float, settings: Mapping[str, Any], matrices: Sequence[Tensor]
    ) -> None:
        p, g, kept = matrices
        # Before its first step torch has no buffer, and starts it with the undampened gradient.
        buffer: list[Tensor | None] = [None if is_first else kept]
        sgd([p], [g], buffer, foreach=False, fused=False, lr=rate, maximize=False, **settings)
        if is_first and buffer[0] is not None:
            kept.copy_(buffer[0])
