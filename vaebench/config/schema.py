"""The JSON schema of a study file: with it, an editor completes the keys, explains them, and marks what is wrong.

A study names it in its first line, `# yaml-language-server: $schema=schema.json`. It is derived from the same
signatures as the checks and says the same, but for two things: what a component requires may be given by an axis of
the grid, so nothing but the question is required here; and a `${…}` passes only where text does.
"""

import json
from collections.abc import Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from vaebench.config import presentation
from vaebench.config.grid import RANGE
from vaebench.config.key_types import (
    EMPTY,
    EVERY,
    AnyOf,
    Component,
    Field,
    Fields,
    Kind,
    ListOf,
    Section,
    component_fields,
    walk,
)
from vaebench.config.registry import REGISTRIES, Registry
from vaebench.config.study import SECTIONS

Schema = dict[str, Any]


def write(path: Path = Path("conf/schema.json")) -> Path:
    """Write the schema where the shipped studies look for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text(), encoding="utf-8")
    return path


def text() -> str:
    """The schema as it is shipped."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


def schema() -> Schema:
    """The schema of a study file."""
    words = {"type": "array", "items": {"type": "string"}, "description": "files and modules with further components"}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A study of vaebench",
        **_object(
            {
                **_properties(presentation.FIELDS),
                "imports": words,
                **_properties(SECTIONS),
                "grid": _grid(),
            },
            required=[presentation.QUESTION],
        ),
        "definitions": {d: s for registry in REGISTRIES for d, s in _definitions(registry).items()},
    }


def _grid() -> Schema:
    axes: dict[str, list[Schema]] = {}
    for node in walk(SECTIONS, EVERY):
        key, item = ".".join(map(str, node.keys)), _of(node.kind)
        if item not in axes.setdefault(key, []):
            axes[key].append(item)
    properties = {key: _axis(items) for key, items in axes.items()}
    return {"description": "axes: every combination of their values is a run", **_object(properties)}


def _axis(items: list[Schema]) -> Schema:
    values = {"type": "array", "items": _any(items), "minItems": 1}
    span = {"type": "string", "pattern": f"^{RANGE.pattern}$"}
    return _any([values, span] if any(item.get("type") == "integer" for item in items) else [values])


def _definitions(registry: Registry) -> dict[str, Schema]:
    """A component in its forms: a name, a mapping with a name, a mapping whose name an axis or the base supplies."""
    entries = {f"{registry.variable}.{name}": _entry(registry, name) for name in registry}
    names = [{"const": name, "description": registry.source(name).summary} for name in registry]
    keys: dict[str, list[Schema]] = {}
    for entry in entries.values():
        for key, value in entry["properties"].items():
            if key != "name" and value not in keys.setdefault(key, []):
                keys[key].append(value)
    nameless = _object({key: _any(values) for key, values in keys.items()})
    whole = _any([*names, *({"$ref": f"#/definitions/{entry}"} for entry in entries), nameless])
    return {registry.variable: whole, **entries}


def _entry(registry: Registry, name: str) -> Schema:
    properties = {"name": {"const": name}, **_properties(component_fields(registry, name))}
    return {"title": name, "description": registry.source(name).summary, **_object(properties, required=["name"])}


def _properties(fields: Fields) -> dict[str, Schema]:
    return {key: _property(field) for key, field in fields.items()}


def _property(field: Field) -> Schema:
    of, found = _of(field.kind), {}
    if field.help:
        found["description"] = field.help
    if field.default is not EMPTY and not is_dataclass(field.default):
        found["default"] = json.loads(json.dumps(field.default))
    return {**found, **({"allOf": [of]} if "$ref" in of else of)}  # beside a bare $ref, editors look at nothing else


def _of(kind: Kind) -> Schema:
    match kind:
        case AnyOf():
            return _any(list(map(_of, kind.options)))
        case Component(registry):
            return {"$ref": f"#/definitions/{registry.variable}"}
        case Section():
            return _object(_properties(kind.fields))
        case ListOf():
            limits = {**({"minItems": 1} if kind.nonempty else {}), **({"uniqueItems": True} if kind.distinct else {})}
            return {"type": "array", "items": _of(kind.item), **limits}
    return TypeAdapter(kind.annotation).json_schema()


def _object(properties: Mapping[str, Schema], required: list[str] | None = None) -> Schema:
    needed = {"required": required} if required else {}
    return {"type": "object", "properties": dict(properties), **needed, "additionalProperties": False}


def _any(choices: list[Schema]) -> Schema:
    return choices[0] if len(choices) == 1 else {"anyOf": choices}
