"""The tensors of a pack's members, one stack for each, and the programs that run on them.

A member's code becomes a function of its tensors. A pack checks that its members differ in values only.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from inspect import isroutine
from typing import Any

import lightning
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.func import functional_call

from vaebench.models.base import EPOCH_HOOKS, Autoencoder
from vaebench.training.packed import torch_private
from vaebench.training.packed.capture import Program, Unpackable, mapped, program

ALIGNMENT = 64
"""A row is padded to a multiple of this, so that every row starts at the same place in a register and a cache line."""


class ParameterMatrix:
    """The parameters of all members in one matrix, a row per member. The members' own parameters become views of it.

    The weights of an `nn.Linear` are stored transposed, inputs by outputs: a batched matrix product reads this layout
    about twice as fast.

    Args:
        members: modules of one structure.

    Attributes:
        names: of the parameters.
        values: the matrix `[M, P]`.
        stacks: for each parameter its stack `[M, *shape]`, a view of the matrix.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        own = [[(n, p) for n, p in m.named_parameters() if p.requires_grad] for m in members]
        first = own[0]
        transposed = {f"{n}.weight" for n, m in members[0].named_modules() if isinstance(m, nn.Linear)}
        self.names = [name for name, _ in first]
        self._transposed = [name in transposed for name in self.names]
        self._shapes = [p.shape for _, p in first]
        size = sum(shape.numel() for shape in self._shapes)
        self._padding = -size % ALIGNMENT
        self.values = first[0][1].new_zeros(len(members), size + self._padding).detach()
        self.stacks = self.views(self.values)
        with torch.no_grad():
            for row, parameters in enumerate(own):
                for (_, p), stack in zip(parameters, self.stacks, strict=True):
                    stack[row].copy_(p)
                    p.data = stack[row]

    def views(self, matrix: Float[Tensor, "M P"]) -> list[Tensor]:
        """For each parameter its columns of a matrix with the layout of `values`, as a stack `[M, *shape]`."""
        sizes, stacks = [shape.numel() for shape in self._shapes], []
        columns = matrix[:, : sum(sizes)].split(sizes, 1)
        for own, shape, transposed in zip(columns, self._shapes, self._transposed, strict=True):
            arranged = own.unflatten(1, shape[::-1] if transposed else shape) if shape else own.squeeze(1)
            stacks.append(arranged.transpose(1, 2) if transposed else arranged)
        return stacks

    def flat(self, stacks: Sequence[Tensor], out: Tensor) -> Tensor:
        """Arrange stacks `[M, *shape]`, one per parameter, as a matrix `[M, P]` with the layout of `values`."""
        arranged = [s.transpose(1, 2) if t else s for s, t in zip(stacks, self._transposed, strict=True)]
        columns = [s.reshape(len(out), -1) for s in arranged]
        return torch.cat([*columns, out.new_zeros(len(out), self._padding)], 1, out=out)


def stack_buffers(members: Sequence[nn.Module]) -> dict[str, Tensor]:
    """Stacks `[M, …]` of all buffers and frozen parameters. The members' own tensors become views of the stacks."""
    frozen = [{name: p for name, p in m.named_parameters() if not p.requires_grad} for m in members]
    untrained = [dict(m.named_buffers()) | own for m, own in zip(members, frozen, strict=True)]
    stacks = {name: torch.stack([own[name].detach() for own in untrained]) for name in untrained[0]}
    for name, stack in stacks.items():
        for own, view in zip(untrained, stack, strict=True):
            own[name].data = view
    return stacks


class Stacks:
    """Stacked parameters, buffers and lifted scalars of all members. The members' own tensors become views of them.

    Args:
        members: already on their final device.

    Attributes:
        matrix: the parameters, one row per member.
        progress: how far the training is, from 0 to 1; a buffer of each member.
        names: of the tensors of a member, its parameters first.
        fixed: their stacks, in this order.
    """

    def __init__(self, members: Sequence[Autoencoder]) -> None:
        self.members = members
        self.matrix = ParameterMatrix(members)
        untrained, owners = stack_buffers(members), [lifted_scalars(m) for m in members]
        lifted = {k: self.matrix.values.new_tensor([getattr(*own[k]) for own in owners]) for k in owners[0]}
        self.progress = untrained["progress"]
        self.names = [*self.matrix.names, *untrained, *lifted]
        self.fixed = [*self.matrix.stacks, *untrained.values(), *lifted.values()]
        self._programs: dict[tuple[Any, ...], Program] = {}

    def program(self, function: Callable[..., Tensor], data: Sequence[Tensor], train: bool = False) -> Program:
        """A function of a model and data, for all members. It is captured at the first call with data of these shapes.

        Raises:
            Unpackable: if it cannot be captured.
        """
        trained = len(self.matrix.names) if train else 0
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
        key = (function, train, self.members[0].phase, *(d.shape for d in data))
        if key not in self._programs:
            first = self.members[0]
            was_training = first.training
            first.train(train)
            try:
                self._programs[key] = capture(FunctionalCall(first, function, self.names).of, self.fixed, data)
            finally:
                first.train(was_training)
        return self._programs[key]


class SeedGroups:
    """The members grouped by seed. Members with the same seed have the same order, pixels and noise.

    Attributes:
        seeds: the U different seeds.
        place_of_seed: for each member the place of its seed among them.
    """

    def __init__(self, members: Sequence[Autoencoder]) -> None:
        self.members = members
        self.seeds = list(dict.fromkeys(m.seed for m in members))
        self.place_of_seed = torch.tensor([self.seeds.index(m.seed) for m in members])

    def noise(self, batch_size: int, streams: Sequence[torch.Generator]) -> Float[Tensor, "M B *noise"]:
        """The noise of an objective. There is one generator per seed."""
        return self.expand(self.noise_of_seeds(batch_size, streams))

    def noise_of_seeds(self, batch_size: int, streams: Sequence[torch.Generator]) -> Float[Tensor, "U B *noise"]:
        """The same for each seed once."""
        return torch.stack([self.members[0].noise(batch_size, stream) for stream in streams])

    def expand(self, x: Float[Tensor, "U *any"]) -> Float[Tensor, "M *any"]:
        """Repeat values of the seeds for every member."""
        self.place_of_seed = self.place_of_seed.to(x.device)
        return self.expand_by(x, self.place_of_seed)

    def expand_by(self, x: Float[Tensor, "U *any"], places: Int64[Tensor, " M"]) -> Float[Tensor, "M *any"]:
        """`expand`, with `place_of_seed` as an argument: a compiled step keeps no tensors of its own."""
        return x if len(self.seeds) == len(self.members) else x.index_select(0, places)


# -- a member as a function of its tensors -----------------------------------------------------------------------------

OWN = frozenset(
    {*vars(lightning.LightningModule()), "seed", "generator", "_hparams", "_hparams_initial", "_noise_state"}
)
"""Attributes that belong to Lightning or to training. They are not part of the objective."""

Owner = tuple[Any, str]  # where a setting stands: an object, and the name of its attribute


def lifted_scalars(model: nn.Module) -> dict[str, Owner]:
    """Float settings that a model's code reads, such as the level of a corruption: a pack makes them tensors `[M]`.

    Attributes of torch's own modules are left out: torch passes them to functions that accept only plain numbers.
    """
    owners = {k: owner for k, owner in _attributes(model) if type(getattr(*owner)) is float}
    return {k: owner for k, owner in owners.items() if not type(owner[0]).__module__.startswith("torch.")}


def check_compatible(members: Sequence[Autoencoder]) -> None:
    """Check that one program can train these members.

    Raises:
        Unpackable: if not, with what differs.
    """
    if names := torch_private.missing():
        raise Unpackable(f"torch {torch.__version__} lacks {', '.join(names)}")
    first = members[0]
    if not first.trained_by_gradient:
        raise Unpackable(f"{type(first).__name__} is not trained by gradients")
    if first.classes is not None:
        raise Unpackable(f"{type(first).__name__} learns from labels, and the batches of a pack have none")
    for name in EPOCH_HOOKS:
        if getattr(type(first), name) is not getattr(Autoencoder, name):
            raise Unpackable(f"{type(first).__name__} has its own {name}")
    structure = _structure(first)
    for member in members[1:]:
        other = _structure(member)
        different = [k for k in {**structure, **other} if structure.get(k, _MISSING) != other.get(k, _MISSING)]
        if different:
            raise Unpackable(f"members differ in {', '.join(different[:3])}, which must be the same for all")


class FunctionalCall(nn.Module):
    """Turns a function of (model, data) into a function of (tensors of the model, data).

    Args:
        model: gives the code. Its own tensors and scalars are replaced at each call.
        function: takes a model and some tensors.
        names: names of the model's tensors, in the order of the arguments.
    """

    def __init__(self, model: Autoencoder, function: Callable[..., Any], names: Sequence[str]) -> None:
        super().__init__()
        self.model, self.function, self.names = model, function, list(names)
        self._scalars = lifted_scalars(model)

    def forward(self, *data: Tensor) -> Any:
        return self.function(self.model, *data)

    def of(self, *tensors: Tensor) -> Any:
        """Call the function with these tensors of the model, followed by the data."""
        own, data = tensors[: len(self.names)], tensors[len(self.names) :]
        named = dict(zip(self.names, own, strict=True))
        with _set({self._scalars[n]: named.pop(n) for n in self.names if n in self._scalars}):
            return functional_call(self, {f"model.{n}": t for n, t in named.items()}, data)


@contextmanager
def _set(attributes: Mapping[Owner, Tensor]) -> Iterator[None]:
    before = {owner: getattr(*owner) for owner in attributes}
    for owner, value in attributes.items():
        setattr(*owner, value)
    try:
        yield
    finally:
        for owner, value in before.items():
            setattr(*owner, value)


_MISSING = object()


def _structure(model: Autoencoder) -> dict[str, Any]:
    """Everything that must be equal in all members, by path."""
    lifted = lifted_scalars(model)
    tensors = {k: (t.shape, t.dtype, t.requires_grad) for k, t in [*model.named_parameters(), *model.named_buffers()]}
    plain = {k: _comparable(getattr(*owner)) for k, owner in _attributes(model) if k not in lifted}
    return plain | tensors | {"model": type(model)}


def _attributes(model: nn.Module) -> Iterator[tuple[str, Owner]]:
    for path, module in model.named_modules():
        known = vars(nn.Module()).keys()
        for name in sorted(vars(module).keys() - known - (OWN if module is model else set())):
            yield from _inside(f"{path}.{name}".lstrip("."), (module, name))


def _inside(path: str, owner: Owner, around: tuple[Any, ...] = ()) -> Iterator[tuple[str, Owner]]:
    """An attribute; for a plain object such as a corruption or a schedule, the attributes of that object.

    Args:
        around: the objects in which it stands.

    Raises:
        Unpackable: if an object stands in itself, as a parent that its child knows.
    """
    value = getattr(*owner)
    if isinstance(value, nn.Module | Tensor | type) or isroutine(value) or not hasattr(value, "__dict__"):
        yield path, owner
        return
    if any(value is one for one in around):
        raise Unpackable(f"{path} is an object that stands in itself")
    yield f"{path}.kind", (value, "__class__")
    for name in vars(value):
        yield from _inside(f"{path}.{name}", (value, name), (*around, value))


def _comparable(value: Any) -> Any:
    if isinstance(value, nn.Module):
        return type(value)
    return (value.dtype, value.tolist()) if isinstance(value, Tensor) else value
