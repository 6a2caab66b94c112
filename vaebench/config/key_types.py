"""What a key of a study may be: its type, range, choices or registry, its default and its help.

The description is read once from a constructor's annotations. Validation, cross-checks, the JSON schema, the keys that
an override may name and the texts of errors all use this description, and none of them looks at an annotation.
"""

import inspect
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, is_dataclass, replace
from functools import cache, cached_property
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, cast, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen

from vaebench.config.faults import Keys
from vaebench.config.registry import Distinct, Divides, Later, Registry
from vaebench.config.signature import ClassSource, arguments_described

EMPTY: Any = inspect.Parameter.empty  # the default of a key that must be given
EVERY: Any = object()  # in place of the value of a run: whatever any run may say


class _Kind:
    """What the kinds have in common. They compare by identity, so that a check can be cached by its kind."""

    @cached_property
    def options(self) -> "tuple[Kind, ...]":
        """The kinds that a value may be, one by one."""
        return (cast("Kind", self),)

    @cached_property
    def component(self) -> "Component | None":
        """The component among the options."""
        return next((option for option in self.options if isinstance(option, Component)), None)

    @cached_property
    def divides(self) -> str | None:
        """The key whose number a number here, or in a list here, must divide, e.g. `evaluate.draws`."""
        inner = (option.item if isinstance(option, ListOf) else option for option in self.options)
        marks = (mark for scalar in inner if isinstance(scalar, Scalar) for mark in scalar.marks)
        return next((mark.path for mark in marks if isinstance(mark, Divides)), None)


@dataclass(frozen=True, eq=False)
class Scalar(_Kind):
    """A single value. Pydantic checks it against its annotation: a type, a range, choices."""

    annotation: Any

    @cached_property
    def marks(self) -> tuple[Any, ...]:
        """The range, and whatever else stands beside the type."""
        return get_args(self.annotation)[1:] if get_origin(self.annotation) is Annotated else ()


@dataclass(frozen=True, eq=False)
class ListOf(_Kind):
    """A list of any length."""

    item: "Kind"
    nonempty: bool = False
    distinct: bool = False


@dataclass(frozen=True, eq=False)
class Component(_Kind):
    """The name of an entry of a registry, or a mapping with `name` and the entry's keys."""

    registry: Registry

    @property
    def name(self) -> Scalar:
        """The key `name` in the mapping."""
        return _one_of(tuple(self.registry))


@dataclass(frozen=True, eq=False)
class Section(_Kind):
    """A mapping with the keys that a dataclass takes."""

    cls: type

    @property
    def fields(self) -> "Fields":
        return section_fields(self.cls)


@dataclass(frozen=True, eq=False)
class AnyOf(_Kind):
    """One of several kinds; at most one of them is a component, and at most one a list."""

    kinds: tuple["Kind", ...]

    @cached_property
    def options(self) -> "tuple[Kind, ...]":
        """The kinds that a value may be, one by one."""
        return self.kinds


Kind = Scalar | ListOf | Component | Section | AnyOf


class Field(NamedTuple):
    """One key: what it may be, its default (`EMPTY` if it must be given), and what the docstring says of it.

    A key that came `later` is no part of a run's id while it has its default.
    """

    kind: Kind
    default: Any
    help: str | None
    later: bool = False


Fields = Mapping[str, Field]


def kind_of(annotation: Any) -> Kind:
    """The kind that an annotation stands for.

    >>> kind_of(tuple[int, ...])
    ListOf(item=Scalar(annotation=<class 'int'>), nonempty=False, distinct=False)
    """
    origin, args = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return AnyOf(tuple(map(kind_of, args)))
    if origin is tuple and args[1:] == (...,):
        return ListOf(kind_of(args[0]))
    if origin is Annotated:
        for mark in args[1:]:
            if isinstance(mark, Registry):
                return Component(mark)
        inner = kind_of(args[0])
        if isinstance(inner, ListOf):
            nonempty = any(isinstance(mark, MinLen) for mark in args[1:])
            return replace(inner, nonempty=nonempty, distinct=Distinct() in args[1:])
    return Section(annotation) if is_dataclass(annotation) else Scalar(annotation)  # type: ignore[arg-type]


@cache
def _one_of(names: tuple[str, ...]) -> Scalar:
    return Scalar(Literal[names])


@cache
def section_fields(cls: type) -> Fields:
    """The keys of a dataclass."""
    return _fields(inspect.signature(cls).parameters, arguments_described(inspect.getdoc(cls) or ""))


def component_fields(registry: Registry, name: str) -> Fields:
    """The keys of an entry of a registry, beside `name`.

    Raises:
        UnknownName: if the registry has no such entry.
    """
    return _component_fields(registry, registry.source(name))


@cache
def _component_fields(registry: Registry, source: ClassSource) -> Fields:
    return _fields(registry.keywords(source.name), source.descriptions)


def _fields(parameters: Mapping[str, inspect.Parameter], helps: Mapping[str, str]) -> Fields:
    return {
        key: Field(kind_of(_plain(p.annotation)), p.default, helps.get(key), _plain(p.annotation) is not p.annotation)
        for key, p in parameters.items()
    }


def _plain(annotation: Any) -> Any:
    """The annotation without the mark `Later`; the annotation itself if it does not have the mark."""
    inner, *marks = get_args(annotation) if get_origin(annotation) is Annotated else (annotation,)
    if Later() not in marks:
        return annotation
    marks.remove(Later())
    return Annotated[inner, *marks] if marks else inner


class Node(NamedTuple):
    """A key of a run: where it stands, what it may be, and its value."""

    keys: Keys
    kind: Kind
    value: Any


def walk(fields: Fields, values: Any, above: Keys = ()) -> Iterator[Node]:
    """Every key of a run, from the outside inwards, as far as the names in the run say which keys there are.

    Args:
        fields: the keys to begin with.
        values: the run, as written or with every default filled in; `EVERY` for the keys of all runs.
        above: where the fields stand.
    """
    for key, field in fields.items():
        if values is EVERY:
            value = EVERY
        else:
            value = values.get(key, field.default) if isinstance(values, Mapping) else field.default
            value = with_name(field.kind, value, field.default)
        keys = (*above, key)
        yield Node(keys, field.kind, value)
        for option in field.kind.options:
            if not isinstance(option, Scalar):
                yield from _inside(option, value, keys)


def _inside(kind: Kind, value: Any, keys: Keys) -> Iterator[Node]:
    if isinstance(kind, Section):
        yield from walk(kind.fields, value, keys)
    elif isinstance(kind, Component):
        yield Node((*keys, "name"), kind.name, value)
        for name in _names(kind.registry, value):
            yield from walk(component_fields(kind.registry, name), value, keys)
    elif isinstance(kind, ListOf) and isinstance(kind.item, Component):
        for i, item in enumerate(value if isinstance(value, tuple) else ()):
            yield Node((*keys, i), kind.item, item)
            yield from _inside(kind.item, item, (*keys, i))


def _names(registry: Registry, value: Any) -> Iterable[str]:
    """The entries that a value may mean: the one that it names, or all where it says no name."""
    if isinstance(value, Mapping):
        value = value.get("name", EVERY)
    if value is EVERY or value is EMPTY:
        return registry
    return [value] if isinstance(value, str) and value in registry else []


def with_name(kind: Kind, value: Any, default: Any) -> Any:
    """The value as written; a component that is a mapping without `name` is laid over the default component."""
    if kind.component is None or not isinstance(value, Mapping) or "name" in value:
        return value
    base = {"name": default} if isinstance(default, str) else default
    return {**base, **value} if isinstance(base, Mapping) else value


# -- in words ---------------------------------------------------------------------------------------------------------


def expected(kind: Kind, value: Any) -> str:
    """`expected …, got …`, with a hint where the value looks like a common mistake."""
    takes_list = any(isinstance(option, ListOf) for option in kind.options)
    hint = ""
    if isinstance(value, str) and _is_number(value):
        hint = "; take the quotes away"
    elif not takes_list and (isinstance(value, tuple | list) or (isinstance(value, str) and ".." in value)):
        hint = "; for several values, one run each, write it under `grid:`"
    elif takes_list and isinstance(value, str | int | float):
        hint = f"; write [{shown(value)}]"
    return f"expected {described(kind)}, got {shown(value)}{hint}"


def described(kind: Kind) -> str:
    """A kind in words.

    >>> described(kind_of(Annotated[int, Gt(0)] | None))
    'a whole number > 0 or null'
    """
    match kind:
        case AnyOf():
            return " or ".join(map(described, kind.options))
        case Component(registry):
            article = "an" if registry.kind[0] in "aeiou" else "a"
            return f"the name of {article} {registry.kind} ({', '.join(registry)}), or a mapping with it"
        case ListOf():
            return f"a list{' of at least one' if kind.nonempty else ''}, each item {described(kind.item)}"
        case Section():
            return f"a mapping with any of {', '.join(kind.fields)}"
    return _scalar(kind.annotation)


def _scalar(annotation: Any) -> str:
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return " ".join([described(kind_of(args[0])), " and ".join(filter(None, map(_bound, args[1:])))]).strip()
    if origin is Literal:
        return " or ".join(map(str, args))
    if origin is tuple:
        return f"a list of {len(args)}: {', '.join(described(kind_of(arg)) for arg in args)}"
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text", NoneType: "null"}
    words |= {dict[str, str]: "a mapping of names to texts"}
    return words.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _bound(mark: Any) -> str:
    signs = {Gt: ("gt", ">"), Ge: ("ge", "≥"), Lt: ("lt", "<"), Le: ("le", "≤")}
    if isinstance(mark, Divides):
        return f"that divides {mark.path}"
    return f"{signs[type(mark)][1]} {getattr(mark, signs[type(mark)][0])}" if type(mark) in signs else ""


def shown(value: Any) -> str:
    """A value as YAML would have it, cut to a readable length."""
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
