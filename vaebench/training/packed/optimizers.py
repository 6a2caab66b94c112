"""torch's optimisers for many members: each has a row of a matrix, a learning rate, settings and a clip of its own."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from itertools import groupby
from math import inf
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.optim.rmsprop import rmsprop
from torch.optim.sgd import sgd

from vaebench.training.packed import torch_private
from vaebench.training.packed.stacked import ParameterMatrix


class PackedOptimizer(torch.optim.Optimizer):
    """An optimiser of torch, applied to each row of a matrix separately: a row is one member.

    On the CPU, the row of a diverged member no longer changes. On a GPU it still changes, but its numbers are not used.

    No number connects two members: each has its own gradient norm, learning rate and settings. Neighbouring members
    that have the same are updated in one call.

    Args:
        matrix: the parameters, a row per member.
        learning_rates: of each member.
        clips: for each member the largest norm of its gradient, or None.
        settings: for each member the keywords of the torch class; by default those that torch has.
    """

    states: ClassVar[tuple[str, ...]]
    """What the optimiser remembers of every parameter, by torch's names."""

    defaults_of_torch: ClassVar[Mapping[str, Any]]
    """The settings that `update` needs."""

    def __init__(
        self,
        matrix: ParameterMatrix,
        learning_rates: Sequence[float],
        clips: Sequence[float | None],
        settings: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        super().__init__([matrix.values], {})
        self.matrix, self.learning_rates = matrix, list(learning_rates)
        self._settings = [{**self.defaults_of_torch, **own} for own in settings or [{}] * len(self.learning_rates)]
        self._clip = matrix.values.new_tensor([inf if clip is None else clip for clip in clips])
        self._clips = any(clip is not None for clip in clips)
        self._gradient = torch.zeros_like(matrix.values)
        self._current: Any = None
        self._is_first = True
        self._spans: list[tuple[float, Mapping[str, Any], list[Tensor]]] = []
        self._kinds: list[tuple[float, Mapping[str, Any]]] = []
        self._kind_of = self._is_training = torch.empty(0)
        self.state[matrix.values] = {
            "step": matrix.values.new_zeros((), dtype=torch.float32),
            **{name: torch.zeros_like(matrix.values) for name in self.states},
        }

    has_formula: ClassVar[bool] = False  # whether `formula` computes what `update` does

    @staticmethod
    @abstractmethod
    def update(
        step: Tensor, is_first: bool, rate: float, settings: Mapping[str, Any], matrices: Sequence[Tensor]
    ) -> None:
        """Change the parameters of a span of members by one step.

        Args:
            step: its number, counted from one.
            is_first: whether that is 1. To read it from a device would wait for the device.
            matrices: rows of the parameters, of the gradient, and of each of `states`.
        """

    @classmethod
    def numbers(cls, step: float, rate: float, settings: Mapping[str, Any]) -> tuple[float, ...]:
        """What `formula` needs of a member at a step, which is counted from one."""
        raise NotImplementedError(f"{cls.__name__} has no formula")

    @classmethod
    def formula(cls, numbers: Sequence[Tensor], p: Tensor, gradient: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """`update` in plain operations, which a compiler can join: the new parameters, and the new `states`.

        Args:
            numbers: those of each member, `[M, 1, …]`.
            states: what the optimiser remembers of this parameter.
        """
        raise NotImplementedError(f"{cls.__name__} has no formula")

    @torch.no_grad()
    def advance(self, gradients: Sequence[Float[Tensor, "M ..."]], is_training: Sequence[bool]) -> None:
        """Take one step for every member in training, with a stack of gradients per parameter. Others do not change."""
        gradient = self.matrix.flat(gradients, self._gradient)
        if self._clips:
            # Scale each row down to its largest norm, as `nn.utils.clip_grad_norm_` does for one model. Without a clip
            # the factor is inf / norm, so 1. If the norm overflows too, inf / inf is NaN: the member stays unclipped.
            norm = gradient.norm(dim=1)
            gradient *= (self._clip / (norm + 1e-6)).clamp_(max=1.0).nan_to_num_(1.0).unsqueeze(1)
        self._remember(is_training)
        step = self._count()
        for rate, settings, matrices in self._spans:
            self.update(step, self._is_first, rate, settings, matrices)
        self._is_first = False

    def begin_compiled(self, is_training: Sequence[bool]) -> list[Tensor]:
        """Count a step that a compiled program takes, and return what it needs of each member."""
        if not self.has_formula:
            return []  # `advance` takes the step
        self._is_first = False
        return self.steering(is_training, float(self._count()))

    def steering(self, is_training: Sequence[bool], step: float) -> list[Tensor]:
        """The last three arguments of `step_by_formula` at a step, which is counted from one."""
        self._remember(is_training)
        each = [self.numbers(step, rate, settings) for rate, settings in self._kinds]
        return [self._is_training, self._clip, self.matrix.values.new_tensor(each).index_select(0, self._kind_of)]

    def step_by_formula(
        self,
        stacks: Sequence[Tensor],
        gradients: Sequence[Tensor],
        states: Sequence[Sequence[Tensor]],
        is_training: Bool[Tensor, " M"],
        clip: Float[Tensor, " M"],
        numbers: Float[Tensor, "M K"],
    ) -> None:
        """What `advance` does to the members in training, in plain operations, with every tensor as an argument.

        Args:
            stacks: one for each parameter, changed in place.
            states: for each of `self.states` the stacks of all parameters, changed in place.
            clip: the largest norm of each member's gradient.
            numbers: what `formula` needs of each member.
        """
        factor = torch.ones_like(clip)
        if self._clips:
            norm = torch.stack([g.square().reshape(len(g), -1).sum(1) for g in gradients]).sum(0).sqrt()
            factor = (clip / (norm + 1e-6)).clamp(max=1.0).nan_to_num(1.0)
        for p, gradient, *own in zip(stacks, gradients, *states, strict=True):
            column = (-1, *[1] * (p.ndim - 1))
            each = [c.reshape(column) for c in numbers.unbind(1)]
            found = self.formula(each, p, gradient * factor.view(column) if self._clips else gradient, *own)
            for old, new in zip((p, *own), found, strict=True):
                old.copy_(torch.where(is_training.view(column), new, old))

    def state_stacks(self) -> list[list[Tensor]]:
        """For each of `states` a stack for each parameter; views of what the optimiser remembers."""
        return [self.matrix.views(self.state[self.matrix.values][name]) for name in self.states]

    def _count(self) -> Tensor:
        """Count a step; its number."""
        step: Tensor = self.state[self.matrix.values]["step"].add_(1)
        return step

    def _remember(self, is_training: Sequence[bool]) -> None:
        """Sort the members, if one has diverged, or a stage of the learning rate has begun, since the last step."""
        if self._current == (current := (list(is_training), list(self.learning_rates))):
            return
        self._current, self._spans = current, self._spans_of(is_training)
        keys = list(zip(self.learning_rates, self._settings, strict=True))
        self._kinds = [key for i, key in enumerate(keys) if key not in keys[:i]]
        self._kind_of = torch.tensor([self._kinds.index(key) for key in keys])
        self._is_training = torch.tensor(list(is_training))

    def _spans_of(self, is_training: Sequence[bool]) -> list[tuple[float, Mapping[str, Any], list[Tensor]]]:
        """Spans of neighbours in training that are updated alike: rate, settings, their rows of each matrix."""
        state = self.state[self.matrix.values]
        matrices = (self.matrix.values, self._gradient, *(state[name] for name in self.states))
        keys = list(zip(is_training, self.learning_rates, self._settings, strict=True))
        spans: list[tuple[float, Mapping[str, Any], list[Tensor]]] = []
        for (trains, rate, settings), span in groupby(range(len(keys)), keys.__getitem__):
            members = list(span)
            if trains:
                spans.append((rate, settings, [x[members[0] : members[-1] + 1] for x in matrices]))
        return spans

    def state_of(self, member: int) -> Float[Tensor, "S P"]:
        """What the optimiser remembers of a member; for Adam the running means of its gradient and of its square."""
        state = self.state[self.matrix.values]
        return torch.stack([state[name][member] for name in self.states])

    def continue_from(self, step: int, states: Sequence[Float[Tensor, "S P"]] = ()) -> None:
        """Continue after a number of steps with what `state_of` gave for each member; by default, with what is here."""
        state = self.state[self.matrix.values]
        state["step"].fill_(step)
        self._is_first = step == 0
        for member, remembered in enumerate(states):
            for name, row in zip(self.states, remembered, strict=True):
                state[name][member].copy_(row)

    def reset(self) -> None:
        """Become a new optimiser: no steps taken, nothing remembered."""
        self.continue_from(0)
        for name in self.states:
            self.state[self.matrix.values][name].zero_()


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
