"""A strict check of what a YAML file says: every key known, none missing, each value of its type and in its range.

Pydantic checks single values. The walk from a study to its components is ours, for two reasons. A pydantic union of the
components would need every file of every registry to be read, and a model to be built for each class, before the first
check (0.15 s of CPU); here a study pays only for the components that it names. And a fault must say its place, the
nearest name and a remedy, so that pydantic's own messages would be replaced in any case.

`disagreements` finds conflicts between two parts of a run, as far as they can be found before torch is imported. A
class declares what it needs in a literal or in an annotation, so this file names no class.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, reduce
from operator import or_
from typing import Any, NamedTuple

from pydantic import ConfigDict, TypeAdapter, ValidationError

from vaebench.config.faults import Keys, Place, Refused
from vaebench.config.key_types import (
    EMPTY,
    Component,
    Fields,
    Kind,
    ListOf,
    Node,
    Scalar,
    Section,
    component_fields,
    described,
    expected,
    shown,
    walk,
    with_name,
)
from vaebench.config.registry import Registry, UnknownName, did_you_mean

STRICT = ConfigDict(strict=True, allow_inf_nan=False)
"""No conversion but from a whole number to a float, and finite numbers only."""


class MissingKey(str):
    """The text about a key that must be given."""


def validated(kind: Kind, value: Any, at: Keys = (), identifying: bool = False) -> Any:
    """The value with every default filled in, components as mappings and lists as tuples.

    Args:
        at: where the value stands in its run.
        identifying: whether only what defines a run is kept: without later keywords that have their default, at any
            depth. A keyword that is added to the suite is marked `Later`. A run that does not use it has the same
            configuration, and so the same id, as before.

    Raises:
        Refused: with every fault found.
    """
    check = _Check(identifying)
    found = check.value(kind, value, at)
    if check.faults:
        raise Refused(check.faults.items())
    return found


@dataclass
class _Check:
    """One walk over a value. It gathers faults, so that a user sees all of them at once."""

    identifying: bool
    faults: dict[Keys, str] = field(default_factory=dict)

    def value(self, kind: Kind, value: Any, at: Keys, default: Any = None) -> Any:
        """The checked value of a key; None where a fault was found in it."""
        value = with_name(kind, value, default)
        for option in kind.options:
            match option:
                case Component(registry) if isinstance(value, str | Mapping):
                    return self._component(registry, value, at)
                case ListOf() if isinstance(value, tuple):
                    return self._items(kind, option, value, at)
                case Section() if value is not None or kind is option:
                    return self._section(option, value, at)
        if adapter := _adapter(kind):
            with suppress(ValidationError):
                return adapter.validate_python(value)
        self.faults[at] = expected(kind, value)
        return None

    def _component(self, registry: Registry, value: str | Mapping[str, Any], at: Keys) -> Any:
        spec = {"name": value} if isinstance(value, str) else value
        if "name" not in spec:
            self.faults[at] = f"no `name`; expected {described(Component(registry))}"
            return None
        try:
            if not isinstance(name := spec["name"], str):
                raise UnknownName(expected(Component(registry), name))
            fields = component_fields(registry, name)
        except UnknownName as error:
            self.faults[(*at, "name") if isinstance(value, Mapping) else at] = str(error)
            return None
        given = {key: each for key, each in spec.items() if key != "name"}
        return {"name": name, **self._keys(fields, given, at, name, registry)}

    def _section(self, section: Section, value: Any, at: Keys) -> Any:
        if isinstance(value, section.cls):  # a default
            value = {key: getattr(value, key) for key in section.fields}
        if not isinstance(value, Mapping):
            self.faults[at] = f"expected {described(section)}; got {shown(value)}"
            return None
        return self._keys(section.fields, value, at, section.cls.__name__.lower())

    def _keys(
        self, fields: Fields, given: Mapping[str, Any], at: Keys, owner: str, registry: Registry | None = None
    ) -> dict[str, Any]:
        checked = {}
        for key, each in fields.items():
            value = _canonical(given.get(key, each.default))
            if value is EMPTY:
                self.faults[*at, key] = MissingKey(f"missing; expected {described(each.kind)}")
            else:
                found = self.value(each.kind, value, (*at, key), each.default)
                # A later keyword with its default stays out of what a run's id is the hash of.
                if not (self.identifying and each.later and value == validated(each.kind, each.default)):
                    checked[key] = found
        for key in [str(key) for key in given if key not in fields]:
            self.faults[*at, key] = _unknown(key, fields, owner, registry)
        return checked

    def _items(self, kind: Kind, of: ListOf, items: tuple[Any, ...], at: Keys) -> Any:
        inner = _Check(self.identifying)
        found = tuple(inner.value(of.item, item, (*at, i)) for i, item in enumerate(items))
        if inner.faults and isinstance(of.item, Component):
            self.faults |= inner.faults
        elif inner.faults or (of.nonempty and not items):
            self.faults[at] = expected(kind, items)
        elif of.distinct and (twice := list(_repeated(found))):
            text = f"{' and '.join(map(str, twice[:3]))} named twice; name it once, with all that it takes"
            self.faults[at] = text
        return found


def _repeated(items: tuple[Any, ...]) -> Iterator[Any]:
    """What stands twice in a list. A component is known by its name, since its numbers are named after it."""
    names = [item["name"] if isinstance(item, Mapping) else item for item in items]
    return (name for name in dict.fromkeys(names) if names.count(name) > 1)


def _unknown(key: str, fields: Fields, owner: str, registry: Registry | None) -> str:
    if near := did_you_mean(key, fields):
        return f"unknown key{near}"
    takers = registry.taking(key) if registry else []
    also = f"; {', '.join(takers)} would take it" if takers else ""
    return f"unknown key; {owner} takes {', '.join(fields) or 'no keywords'}{also}"


@cache
def _adapter(kind: Kind) -> TypeAdapter | None:
    """Pydantic's check of a single value; None for a kind that admits no single value."""
    annotations = [option.annotation for option in kind.options if isinstance(option, Scalar)]
    return TypeAdapter(reduce(or_, annotations), config=STRICT) if annotations else None


def _canonical(value: Any) -> Any:
    """Lists as tuples, and −0.0 as 0.0, so that a run has one id."""
    if isinstance(value, list):
        return tuple(map(_canonical, value))
    return value + 0.0 if isinstance(value, float) else value


def filled_in(fields: Fields, values: Mapping[str, Any], path: Sequence[str]) -> Mapping[str, Any]:
    """The values with the default of a later keyword on this path, if they leave it out.

    >>> from vaebench.config.study import SECTIONS
    >>> filled_in(SECTIONS, {"train": {"epochs": 3}}, ["train", "stages"])
    {'train': {'epochs': 3, 'stages': ()}}
    """
    if _has(values, path):  # so that tables of finished runs read no component's file
        return values
    key, *rest = path
    field = fields.get(key)
    if field is None or (key not in values and not field.later):
        return values
    value = values[key] if key in values else validated(field.kind, field.default)
    if rest and isinstance(value, Mapping):
        value = filled_in(_fields_of(field.kind, value), value, rest)
    return {**values, key: value}


def _has(values: Any, path: Sequence[str]) -> bool:
    for key in path:
        if not isinstance(values, Mapping) or key not in values:
            return False
        values = values[key]
    return True


def _fields_of(kind: Kind, value: Mapping[str, Any]) -> Fields:
    for option in kind.options:
        match option:
            case Component(registry) if value.get("name") in registry:
                return component_fields(registry, value["name"])
            case Section():
                return option.fields
    return {}


WORDS = {
    "binary": "x in {0, 1}",
    "unit": "x in [0, 1]",
    "real": "x in R",
    "expected": "x in [0, 1] in place of x in {0, 1}",
}
SUPPORTS = tuple(WORDS)
"""{0, 1} ⊂ [0, 1] ⊂ R. Expected pixels need a likelihood of binary ones, whose log p(x|z) is linear in x.

A likelihood declares the support that it covers, and data declare the support of x, both as the literal `support` of
the class. A class without it (a user's files, whose values are not known yet) is checked when the data is read.
"""


class Placed(NamedTuple):
    """A component of a run: its place, its registry, and its mapping with every default filled in."""

    path: Keys
    registry: Registry
    spec: Mapping[str, Any]

    @property
    def support(self) -> str | None:
        constant: str | None = self.registry.source(self.spec["name"]).constant("support")
        return constant if constant in SUPPORTS else None


VALIDATION_USERS = (("train", "early_stopping"), ("evaluate", "split"))  # keys that may ask for a validation split


def disagreements(fields: Fields, run: Mapping[str, Any]) -> Iterator[Place]:
    """Every conflict in a run whose parts are each valid."""
    placed = []
    for node in walk(fields, run):
        if node.kind.component and isinstance(node.value, Mapping):
            placed.append(Placed(node.keys, node.kind.component.registry, node.value))
        if node.kind.divides:
            yield from _indivisible(node, node.kind.divides, run)
    yield from _outside_support(placed)
    yield from _uncovered_epochs(run["train"])
    if run["data"].get("validation") == 0:
        for section, key in VALIDATION_USERS:
            if run[section][key] not in (None, "train", "test"):
                text = "expected no use of a validation split, since data.validation is 0; change one of the two"
                yield (section, key), text


def _uncovered_epochs(train: Mapping[str, Any]) -> Iterator[Place]:
    total = sum(stage["epochs"] for stage in train["stages"])
    if train["stages"] and total != train["epochs"]:
        text = f"expected stages of train.epochs = {train['epochs']} epochs in all, got {total}; change one of the two"
        yield ("train", "stages"), text


def _indivisible(node: Node, divided: str, run: Mapping[str, Any]) -> Iterator[Place]:
    total: Any = run
    for key in divided.split("."):
        total = total[key]
    values = node.value if isinstance(node.value, tuple) else () if node.value is None else (node.value,)
    for bad in [value for value in values if total % value]:
        text = f"expected a divisor of {divided} = {total}, got {shown(bad)}; change one of the two"
        yield node.keys, text


def _outside_support(placed: list[Placed]) -> Iterator[Place]:
    model = [c for c in placed if c.path[0] == "model" and c.support]
    data = [c for c in placed if c.path[0] == "data" and c.support]
    if model and data and not _is_covered(model[-1].support, data[-1].support):  # the innermost component decides
        likelihood, source = model[-1], data[-1]
        text = f"{likelihood.spec['name']} expects {WORDS[likelihood.support or '']}, got {source.spec['name']} with"
        remedy = f"set {' or '.join(_remedies(likelihood, source))}"
        yield likelihood.path, f"{text} {WORDS[source.support or '']}; {remedy}"


def _remedies(likelihood: Placed, source: Placed) -> Iterator[str]:
    """What may be set instead: a conversion that the data set offers, or another likelihood."""
    for key, taken in component_fields(source.registry, source.spec["name"]).items():
        if offered := taken.kind.component:
            fit = [
                n
                for n in offered.registry
                if _is_covered(likelihood.support, offered.registry.source(n).constant("support"))
            ]
            if fit:
                yield f"{'.'.join(map(str, (*source.path, key)))}: {' | '.join(fit)}"
    registry = likelihood.registry
    fit = [n for n in registry if _is_covered(registry.source(n).constant("support"), source.support)]
    if fit:
        yield f"{'.'.join(map(str, likelihood.path))}: {' | '.join(fit)}"


def _is_covered(wide: str | None, narrow: str | None) -> bool:
    if "expected" in (wide, narrow):
        return (wide, narrow) == ("binary", "expected")
    return wide in SUPPORTS and narrow in SUPPORTS and SUPPORTS.index(wide) >= SUPPORTS.index(narrow)
