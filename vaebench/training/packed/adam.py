"""Adam for the parameters of many members, with the formulas of `torch.optim.Adam` and `torch.optim.AdamW`."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

from torch import Tensor

from vaebench.training.packed import torch_private
from vaebench.training.packed.rows import ALIGNMENT, PackedOptimizer, ParameterMatrix

__all__ = ["ALIGNMENT", "PackedAdam", "PackedAdamW", "ParameterMatrix"]


class PackedAdam(PackedOptimizer):
    """Adam (Kingma & Ba 2015) of every row. Weight decay adds to the gradient."""

    states = ("exp_avg", "exp_avg_sq")
    defaults_of_torch = MappingProxyType({"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0})
    decoupled: ClassVar[bool] = False

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
