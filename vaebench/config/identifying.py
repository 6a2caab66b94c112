"""Which values of a run define it: all but those of later keywords that have their default."""

from collections.abc import Mapping, Sequence
from typing import Any

from vaebench.config.fields import Component, Fields, Kind, ListOf, Section, component_fields
from vaebench.config.validation import validated


def identifying(fields: Fields, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values without those that a later keyword has by default, at any depth.

    A keyword that is added to the suite is marked `Later`. A run that does not use it has the same configuration, and
    so the same id, as before.

    Args:
        fields: the keys that the values may have.
        values: checked, with every default filled in; a component has its `name` among them.
    """
    kept = {}
    for key, value in values.items():
        field = fields.get(key)
        if field is None:  # the name of a component
            kept[key] = value
        elif not (field.later and value == validated(field.kind, field.default)):
            kept[key] = _inside(field.kind, value)
    return kept


def filled_in(fields: Fields, values: Mapping[str, Any], path: Sequence[str]) -> Mapping[str, Any]:
    """The values with the default of a later keyword on this path, if they leave it out.

    >>> from vaebench.config.study import SECTIONS
    >>> filled_in(SECTIONS, {"train": {"epochs": 3}}, ["train", "stages"])
    {'train': {'epochs': 3, 'stages': ()}}
    """
    key, *rest = path
    field = fields.get(key)
    if field is None or (key not in values and not field.later):
        return values
    value = values[key] if key in values else validated(field.kind, field.default)
    if rest and isinstance(value, Mapping):
        value = filled_in(_fields_of(field.kind, value), value, rest)
    return {**values, key: value}


def _fields_of(kind: Kind, value: Mapping[str, Any]) -> Fields:
    for option in kind.options:
        match option:
            case Component(registry) if value.get("name") in registry:
                return component_fields(registry, value["name"])
            case Section():
                return option.fields
    return {}


def _inside(kind: Kind, value: Any) -> Any:
    for option in kind.options:
        match option:
            case Component(registry) if isinstance(value, Mapping):
                return identifying(component_fields(registry, value["name"]), value)
            case Section() if isinstance(value, Mapping):
                return identifying(option.fields, value)
            case ListOf() if isinstance(value, tuple | list):
                return [_inside(option.item, item) for item in value]
    return value
