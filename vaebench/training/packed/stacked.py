"""The tensors of a pack's members, each kind in one stack, and the programs that run on them."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vaebench.models.base import Autoencoder
from vaebench.training.packed.adam import Rows
from vaebench.training.packed.capture import Program, mapped, program
from vaebench.training.packed.functional import FunctionalCall, lifted_scalars, stack_buffers


class Stacks:
    """Parameters, buffers and lifted scalars of all members; the members' own tensors become views of them.

    Args:
        models: the members, on the device that they stay on.

    Attributes:
        rows: the parameters.
        progress: of the training, a number for each member.
    """

    def __init__(self, models: Sequence[Autoencoder]) -> None:
        self.models = models
        self.rows = Rows(models)
        untrained, owners = stack_buffers(models), [lifted_scalars(m) for m in models]
        lifted = {k: self.rows.values.new_tensor([getattr(*own[k]) for own in owners]) for k in owners[0]}
        self.progress = untrained["progress"]
        self._names = [*self.rows.names, *untrained, *lifted]
        self._fixed = [*self.rows.stacks, *untrained.values(), *lifted.values()]
        self._programs: dict[tuple[Any, ...], Program] = {}

    def program(self, function: Callable[..., Tensor], data: Sequence[Tensor], train: bool = False) -> Program:
        """A function of a model and of data, for all members; recorded when it first meets data of these shapes.

        Raises:
            Unpackable: if it cannot be.
        """
        trained = len(self.rows.names) if train else 0
        return self._recorded(partial(program, trained=trained), function, data, train)

    def mapped(self, function: Callable[..., Sequence[Tensor]], data: Sequence[Tensor]) -> Program:
        """A function of a model in evaluation mode and of data, as `program`, but it returns what the function does.

        Raises:
            Unpackable: if it cannot be.
        """
        return self._recorded(mapped, function, data, train=False)

    def _recorded(
        self, record: Callable[..., Program], function: Callable[..., Any], data: Sequence[Tensor], train: bool
    ) -> Program:
        key = (function, train, *(d.shape for d in data))
        if key not in self._programs:
            first = self.models[0]
            was_training = first.training
            first.train(train)
            try:
                self._programs[key] = record(FunctionalCall(first, function, self._names).of, self._fixed, data)
            finally:
                first.train(was_training)
        return self._programs[key]


class Shared:
    """What belongs to a seed and not to a member: members of one seed have the same order, pixels and noise.

    Args:
        models: the members.

    Attributes:
        seeds: each once, U of them.
    """

    def __init__(self, models: Sequence[Autoencoder]) -> None:
        self.models = models
        self.seeds = list(dict.fromkeys(m.seed for m in models))
        self._of = torch.tensor([self.seeds.index(m.seed) for m in models])

    def noise(self, batch_size: int, streams: Sequence[torch.Generator]) -> Float[Tensor, "M B *noise"]:
        """The noise of an objective, from a generator a seed."""
        return self.spread(torch.stack([self.models[0].noise(batch_size, stream) for stream in streams]))

    def spread(self, x: Float[Tensor, "U *any"]) -> Float[Tensor, "M *any"]:
        """What the seeds have, for every member."""
        if len(self.seeds) == len(self.models):
            return x
        self._of = self._of.to(x.device)
        return x.index_select(0, self._of)
