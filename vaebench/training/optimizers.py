"""Optimisers that a study may choose: torch's own, for a model alone and for the rows of a pack."""

from abc import ABC
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import torch
from torch import nn

from vaebench.config.registry import OPTIMIZERS, Decay, NonNegative, Positive
from vaebench.training.packed.optimizers import PackedAdam, PackedAdamW, PackedOptimizer, PackedRMSprop, PackedSGD


class Optimizer(ABC):
    """An optimiser of torch and its settings.

    Args:
        settings: the keywords of the torch class, without the learning rate.
    """

    torch_class: ClassVar[type[torch.optim.Optimizer]]  # the class that trains one model outside a pack
    packed: ClassVar[type[PackedOptimizer]]  # the class that takes the same steps for the rows of a pack

    def __init__(self, **settings: Any) -> None:
        self.settings: Mapping[str, Any] = settings

    def __call__(self, parameters: Iterable[nn.Parameter], learning_rate: float) -> torch.optim.Optimizer:
        """The optimiser of one model's parameters."""
        return self.torch_class(parameters, lr=learning_rate, **self.settings)  # type: ignore[call-arg]


@OPTIMIZERS.register
class Adam(Optimizer):
    """Adam (Kingma & Ba 2015), `torch.optim.Adam`.

    Args:
        betas: decay rates of the running means of the gradient and of its square.
        eps: added to the denominator.
        weight_decay: λ. It adds λw to the gradient: the penalty λ‖w‖²/2 on all parameters, biases too.
    """

    torch_class, packed = torch.optim.Adam, PackedAdam

    def __init__(
        self, *, betas: tuple[Decay, Decay] = (0.9, 0.999), eps: Positive = 1e-8, weight_decay: NonNegative = 0.0
    ) -> None:
        super().__init__(betas=betas, eps=eps, weight_decay=weight_decay)


@OPTIMIZERS.register
class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019), `torch.optim.AdamW`.

    Args:
        betas: decay rates of the running means of the gradient and of its square.
        eps: added to the denominator.
        weight_decay: λ. Every step multiplies the parameters by 1 − learning rate × λ; the gradient stays as it is.
    """

    torch_class, packed = torch.optim.AdamW, PackedAdamW

    def __init__(
        self, *, betas: tuple[Decay, Decay] = (0.9, 0.999), eps: Positive = 1e-8, weight_decay: NonNegative = 0.01
    ) -> None:
        super().__init__(betas=betas, eps=eps, weight_decay=weight_decay)


@OPTIMIZERS.register
class RMSprop(Optimizer):
    """RMSprop (Tieleman & Hinton 2012), centred if asked (Graves 2013), `torch.optim.RMSprop`.

    Args:
        alpha: decay rate of the running mean of the squared gradient.
        eps: added to the denominator.
        momentum: how much of the previous step is added to this one; 0 for none.
        centered: whether the gradient is divided by its standard deviation, and not by its root mean square.
        weight_decay: λ. It adds λw to the gradient: the penalty λ‖w‖²/2 on all parameters, biases too.
    """

    torch_class, packed = torch.optim.RMSprop, PackedRMSprop

    def __init__(
        self,
        *,
        alpha: Decay = 0.99,
        eps: Positive = 1e-8,
        momentum: Decay = 0.0,
        centered: bool = False,
        weight_decay: NonNegative = 0.0,
    ) -> None:
        super().__init__(alpha=alpha, eps=eps, momentum=momentum, centered=centered, weight_decay=weight_decay)


@OPTIMIZERS.register
class SGD(Optimizer):
    """Stochastic gradient descent with momentum (Polyak 1964; Nesterov 1983), `torch.optim.SGD`.

    Args:
        momentum: decay rate of the sum of gradients; 0 for none.
        dampening: the share of a new gradient that this sum leaves out.
        nesterov: whether the step looks ahead, with Nesterov's momentum.
        weight_decay: λ. It adds λw to the gradient: the penalty λ‖w‖²/2 on all parameters, biases too.

    Raises:
        ValueError: if Nesterov's momentum has no momentum, or dampening.
    """

    torch_class, packed = torch.optim.SGD, PackedSGD

    def __init__(
        self,
        *,
        momentum: Decay = 0.0,
        dampening: Decay = 0.0,
        nesterov: bool = False,
        weight_decay: NonNegative = 0.0,
    ) -> None:
        if nesterov and (momentum == 0 or dampening != 0):
            raise ValueError(
                f"nesterov expects momentum > 0 and dampening 0, got {momentum:g} and {dampening:g}; "
                "change them, or leave nesterov out"
            )
        super().__init__(momentum=momentum, dampening=dampening, nesterov=nesterov, weight_decay=weight_decay)
