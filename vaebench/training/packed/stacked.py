"""The tensors of a pack's members, one stack for each, and the programs that run on them."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from vaebench.models.base import Autoencoder
from vaebench.training.packed.capture import Program, mapped, program
from vaebench.training.packed.functional import FunctionalCall, lifted_scalars, stack_buffers
from vaebench.training.packed.rows import ParameterMatrix


class Stacks:
    """Stacked parameters, buffers and lifted scalars of all members. The members' own tensors become views of them.

    Args:
        models: the members, already on their final device.

    Attributes:
        rows: the parameters, one row per member.
        progress: the share of training that is over, for each member.
        names: of the tensors of a member, its parameters first.
        fixed: their stacks, in this order.
    """

    def __init__(self, models: Sequence[Autoencoder]) -> None:
        self.models = models
        self.rows = ParameterMatrix(models)
        untrained, owners = stack_buffers(models), [lifted_scalars(m) for m in models]
        lifted = {k: self.rows.values.new_tensor([getattr(*own[k]) for own in owners]) for k in owners[0]}
        self.progress = untrained["progress"]
        self.names = [*self.rows.names, *untrained, *lifted]
        self.fixed = [*self.rows.stacks, *untrained.values(), *lifted.values()]
        self._programs: dict[tuple[Any, ...], Program] = {}

    def program(self, function: Callable[..., Tensor], data: Sequence[Tensor], train: bool = False) -> Program:
        """A function of a model and data, for all members. It is captured at the first call with data of these shapes.

        Raises:
            Unpackable: if it cannot be captured.
        """
        trained = len(self.rows.names) if train else 0
        return self._captured(partial(program, trained=trained), function, data, train)

    def mapped(self, function: Callable[..., Sequence[Tensor]], data: Sequence[Tensor]) -> Program:
        """Like `program`, for a function that returns any tensors. The model is in evaluation mode.

        Raises:
            Unpackable: if it cannot be captured.
        """
        return self._captured(mapped, function, data, train=False)

    def _captured(
        self, capture: Callable[..., Program], function: Callable[..., Any], data: Sequence[Tensor], train: bool
    ) -> Program:
        key = (function, train, self.models[0].phase, *(d.shape for d in data))
        if key not in self._programs:
            first = self.models[0]
            was_training = first.training
            first.train(train)
            try:
                self._programs[key] = capture(FunctionalCall(first, function, self.names).of, self.fixed, data)
            finally:
                first.train(was_training)
        return self._programs[key]


class SeedGroups:
    """The members grouped by seed. Members with the same seed have the same order, pixels and noise.

    Args:
        models: the members.

    Attributes:
        seeds: the U different seeds.
        place_of_seed: for each member the place of its seed among them.
    """

    def __init__(self, models: Sequence[Autoencoder]) -> None:
        self.models = models
        self.seeds = list(dict.fromkeys(m.seed for m in models))
        self.place_of_seed = torch.tensor([self.seeds.index(m.seed) for m in models])

    def noise(self, batch_size: int, streams: Sequence[torch.Generator]) -> Float[Tensor, "M B *noise"]:
        """The noise of an objective. There is one generator per seed."""
        return self.expand(self.noise_of_seeds(batch_size, streams))

    def noise_of_seeds(self, batch_size: int, streams: Sequence[torch.Generator]) -> Float[Tensor, "U B *noise"]:
        """The same for each seed once."""
        return torch.stack([self.models[0].noise(batch_size, stream) for stream in streams])

    def expand(self, x: Float[Tensor, "U *any"]) -> Float[Tensor, "M *any"]:
        """Repeat values of the seeds for every member."""
        self.place_of_seed = self.place_of_seed.to(x.device)
        return self.expand_by(x, self.place_of_seed)

    def expand_by(self, x: Float[Tensor, "U *any"], places: Int64[Tensor, " M"]) -> Float[Tensor, "M *any"]:
        """`expand`, with `place_of_seed` as an argument: a compiled step keeps no tensors of its own."""
        return x if len(self.seeds) == len(self.models) else x.index_select(0, places)
