"""A member's code as a function of its tensors, and the check that members of a pack differ only in values."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from inspect import isroutine
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.func import functional_call

from vaebench.models.base import EPOCH_HOOKS, Autoencoder
from vaebench.training.packed import torch_private
from vaebench.training.packed.capture import Unpackable

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


def stack_buffers(members: Sequence[nn.Module]) -> dict[str, Tensor]:
    """Stacks `[M, …]` of all buffers and frozen parameters. The members' own tensors become views of the stacks."""
    frozen = [{name: p for name, p in m.named_parameters() if not p.requires_grad} for m in members]
    untrained = [dict(m.named_buffers()) | own for m, own in zip(members, frozen, strict=True)]
    stacks = {name: torch.stack([own[name].detach() for own in untrained]) for name in untrained[0]}
    for name, stack in stacks.items():
        for own, view in zip(untrained, stack, strict=True):
            own[name].data = view
    return stacks


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
        for name in vars(module).keys() - known - (OWN if module is model else set()):
            yield from _inside(f"{path}.{name}".lstrip("."), (module, name))


def _inside(path: str, owner: Owner) -> Iterator[tuple[str, Owner]]:
    """An attribute; for a plain object such as a corruption or a schedule, the attributes of that object."""
    value = getattr(*owner)
    if isinstance(value, nn.Module | Tensor | type) or isroutine(value) or not hasattr(value, "__dict__"):
        yield path, owner
        return
    yield f"{path}.kind", (value, "__class__")
    for name in vars(value):
        yield from _inside(f"{path}.{name}", (value, name))


def _comparable(value: Any) -> Any:
    if isinstance(value, nn.Module):
        return type(value)
    return (value.dtype, value.tolist()) if isinstance(value, Tensor) else value
