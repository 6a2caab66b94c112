"""What an annotation admits: which components, which keys below them, and how to say it."""

import inspect
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen

from vaebench.config.registry import Divides, Registry

Keywords = Mapping[str, inspect.Parameter]

EVERY: Any = inspect.Parameter.empty
"""Nothing is given, so anything may be."""


def parameters(section: Any) -> Keywords:
    """The keywords of a plain dataclass."""
    return _parameters(section)


@cache
def _parameters(section: type) -> Keywords:
    return inspect.signature(section).parameters


def alternatives(annotation: Any) -> tuple[Any, ...]:
    """The members of a union, or the annotation itself; lists without their marks."""
    members = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    return tuple(list_of(member) or member for member in members)


def list_of(annotation: Any) -> Any:
    """The list that marks are put on, or None where they are put on anything else."""
    inner = get_args(annotation)[0] if get_origin(annotation) is Annotated else None
    return inner if get_origin(inner) is tuple else None


def registry_of(annotation: Any) -> Registry | None:
    """The registry whose entries an annotation admits, if it does."""
    for alternative in alternatives(annotation):
        for mark in get_args(alternative)[1:] if get_origin(alternative) is Annotated else ():
            if isinstance(mark, Registry):
                return mark
    return None


def item_of(annotation: Any) -> Any:
    """The annotation of the items, if lists are among what an annotation admits."""
    tuples = (a for a in alternatives(annotation) if get_origin(a) is tuple)
    return next((get_args(t)[0] for t in tuples), None)


def named(value: Any, default: Any) -> Any:
    """A component as written; a mapping that says no name is laid over the default component, if there is one."""
    if isinstance(value, Mapping) and "name" not in value and isinstance(default, str | Mapping):
        return {**({"name": default} if isinstance(default, str) else default), **value}
    return value


def keys_of(keywords: Keywords, value: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """The keys of a run, dotted, and their annotations, as far as the names in it say.

    Where a name is missing, those of every entry; with `EVERY` for the value, all that any run takes.
    """
    for key, p in keywords.items():
        given = EVERY if value is EVERY else value.get(key, p.default) if isinstance(value, Mapping) else p.default
        here = (*above, key)
        yield ".".join(here), p.annotation
        if is_dataclass(p.annotation):
            yield from keys_of(parameters(p.annotation), given, here)
        elif (registry := registry_of(p.annotation)) is not None:
            yield ".".join((*here, "name")), Literal[tuple(registry)]
            for name in _names(registry, named(given, p.default)):
                yield from keys_of(registry.keywords(name), given, here)


def expected(annotation: Any, value: Any) -> str:
    """`expected …, got …`, with a hint where the value looks like a slip."""
    hint = ""
    if isinstance(value, str) and _is_number(value):
        hint = "; take the quotes away"
    elif item_of(annotation) is None and (
        isinstance(value, tuple | list) or (isinstance(value, str) and ".." in value)
    ):
        hint = "; for several values, one run each, write it under `grid:`"
    elif item_of(annotation) is not None and isinstance(value, str | int | float):
        hint = f"; write [{shown(value)}]"
    return f"expected {described(annotation)}, got {shown(value)}{hint}"


def described(annotation: Any) -> str:
    """An annotation in words, e.g. `a whole number > 0`."""
    origin, args = get_origin(annotation), get_args(annotation)
    if (registry := registry_of(annotation)) and origin is Annotated:
        return f"the name of a {registry.kind} ({', '.join(registry)}), or a mapping with it"
    if list_of(annotation) is not None:
        some = "a list of at least one" if any(isinstance(mark, MinLen) for mark in args[1:]) else "a list"
        return described(args[0]).replace("a list", some, 1)
    if origin is Annotated:
        return " ".join([described(args[0]), " and ".join(filter(None, map(_bound, args[1:])))]).strip()
    if origin in (Union, UnionType):
        return " or ".join(map(described, args))
    if origin is Literal:
        return " or ".join(map(str, args))
    if origin is tuple and args[1:] == (...,):
        return f"a list, each item {described(args[0])}"
    if origin is tuple:
        return f"a list of {len(args)}: {', '.join(map(described, args))}"
    if is_dataclass(annotation):
        return f"a mapping with any of {', '.join(parameters(annotation))}"
    words = {
        int: "a whole number",
        float: "a number",
        bool: "true or false",
        str: "text",
        NoneType: "null",
        None: "null",
    }
    return words.get(annotation, getattr(annotation, "__name__", str(annotation)))


def shown(value: Any) -> str:
    """A value as YAML would have it, cut to a readable length."""
    text = "nothing" if value is None else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _names(registry: Registry, given: Any) -> Iterable[str]:
    if isinstance(given, Mapping):
        given = given.get("name", EVERY)
    if given is EVERY:
        return registry
    return [given] if isinstance(given, str) and given in registry else []


def _bound(mark: Any) -> str:
    signs = {Gt: ("gt", ">"), Ge: ("ge", "≥"), Lt: ("lt", "<"), Le: ("le", "≤")}
    if isinstance(mark, Divides):
        return f"that divides {mark.path}"
    return f"{signs[type(mark)][1]} {getattr(mark, signs[type(mark)][0])}" if type(mark) in signs else ""


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
