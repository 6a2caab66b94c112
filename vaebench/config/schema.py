"""The JSON schema of a study file: with it, an editor completes the keys, explains them, and marks what is wrong.

A study names it in its first line, `# yaml-language-server: $schema=schema.json`. It is derived from the same
signatures as the checks and says the same, but for two things: what a component requires may be given by an axis of
the grid, so nothing but the question is required here; and a `${…}` passes only where text does.
"""

import inspect
import json
from collections.abc import Mapping
from dataclasses import is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

from annotated_types import MinLen
from pydantic import TypeAdapter

from vaebench.config.annotations import EVERY, Keywords, keys_of, list_of, registry_of
from vaebench.config.grid import RANGE
from vaebench.config.registry import REGISTRIES, Distinct, Registry
from vaebench.config.signature import arguments_described
from vaebench.config.study import KEYWORDS, Run

Schema = dict[str, Any]


def write(path: Path = Path("conf/schema.json")) -> Path:
    """Write the schema where the shipped studies look for it."""
    path.write_text(text(), encoding="utf-8")
    return path


def text() -> str:
    """The schema as it is shipped."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


def schema() -> Schema:
    """The schema of a study file."""
    question = {"type": "string", "minLength": 1, "description": "what the study asks, in one sentence"}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A study of vaebench",
        **_object(
            {
                "question": question,
                **_properties(KEYWORDS, arguments_described(inspect.getdoc(Run) or "")),
                "grid": _grid(),
            },
            required=["question"],
        ),
        "definitions": {d: s for registry in REGISTRIES for d, s in _definitions(registry).items()},
    }


def _grid() -> Schema:
    axes: dict[str, list[Schema]] = {}
    for key, annotation in keys_of(KEYWORDS, EVERY):
        item = _of(annotation)
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
    source = registry.source(name)
    properties = {"name": {"const": name}, **_properties(registry.keywords(name), source.descriptions)}
    return {"title": name, "description": source.summary, **_object(properties, required=["name"])}


def _properties(keywords: Keywords, descriptions: Mapping[str, str]) -> dict[str, Schema]:
    return {key: _property(p, descriptions.get(key)) for key, p in keywords.items()}


def _property(parameter: inspect.Parameter, description: str | None) -> Schema:
    of, found = _of(parameter.annotation), {}
    if description:
        found["description"] = description
    if parameter.default is not parameter.empty and not is_dataclass(parameter.default):
        found["default"] = json.loads(json.dumps(parameter.default))
    return {**found, **({"allOf": [of]} if "$ref" in of else of)}  # beside a bare $ref, editors look at nothing else


def _of(annotation: Any) -> Schema:
    """What a value may be, the counterpart of `derivation.checked`."""
    if get_origin(annotation) in (Union, UnionType):
        return _any([_of(a) for a in get_args(annotation)])
    if (listed := list_of(annotation)) is not None:
        marks = get_args(annotation)[1:]
        some = {"minItems": 1} if any(isinstance(mark, MinLen) for mark in marks) else {}
        return {**_of(listed), **some, **({"uniqueItems": True} if Distinct() in marks else {})}
    if (registry := registry_of(annotation)) is not None:
        return {"$ref": f"#/definitions/{registry.variable}"}
    if is_dataclass(annotation):
        keywords = inspect.signature(annotation).parameters  # type: ignore[arg-type]
        return _object(_properties(keywords, arguments_described(inspect.getdoc(annotation) or "")))
    if get_origin(annotation) is tuple and get_args(annotation)[1:] == (...,):
        return {"type": "array", "items": _of(get_args(annotation)[0])}
    return TypeAdapter(annotation).json_schema() if annotation is not None else {"type": "null"}


def _object(properties: Mapping[str, Schema], required: list[str] | None = None) -> Schema:
    needed = {"required": required} if required else {}
    return {"type": "object", "properties": dict(properties), **needed, "additionalProperties": False}


def _any(choices: list[Schema]) -> Schema:
    return choices[0] if len(choices) == 1 else {"anyOf": choices}
