"""The JSON schema accepts what the checks accept, refuses what an editor should mark, and is shipped current."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from vaebench.config import schema
from vaebench.config.registry import REGISTRIES

ROOT = Path(__file__).parents[1]
CONF = sorted((ROOT / "conf").rglob("*.yaml"))
SCHEMA = schema.schema()

TYPES = {"object": dict, "array": list, "string": str, "integer": int, "number": int | float, "boolean": bool}
ANNOTATIONS = {"description", "default", "title", "definitions", "$schema"}


def accepts(of: dict[str, Any], value: Any) -> bool:
    """Whether a schema accepts a value: the part of JSON Schema that ours uses, and an error for any other part."""
    unknown = of.keys() - KEYWORDS.keys() - ANNOTATIONS
    assert not unknown, f"the schema uses {unknown}, which this test does not know"
    return all(check(of[key], value, of) for key, check in KEYWORDS.items() if key in of)


def _is(type_: str, value: Any) -> bool:
    if type_ == "null":
        return value is None
    return isinstance(value, TYPES[type_]) and (type_ == "boolean" or not isinstance(value, bool))


def _properties(known: dict[str, Any], value: Any, of: dict[str, Any]) -> bool:
    return not isinstance(value, dict) or all(accepts(known[key], v) for key, v in value.items() if key in known)


KEYWORDS = {
    "$ref": lambda ref, value, of: accepts(SCHEMA["definitions"][ref.removeprefix("#/definitions/")], value),
    "type": lambda type_, value, of: _is(type_, value),
    "const": lambda const, value, of: value == const,
    "enum": lambda enum, value, of: value in enum,
    "anyOf": lambda choices, value, of: any(accepts(choice, value) for choice in choices),
    "allOf": lambda choices, value, of: all(accepts(choice, value) for choice in choices),
    "properties": _properties,
    "additionalProperties": lambda other, value, of: (
        not isinstance(value, dict)
        or all(bool(other) and accepts(other, v) for k, v in value.items() if k not in of.get("properties", {}))
    ),
    "minProperties": lambda n, value, of: not isinstance(value, dict) or len(value) >= n,
    "required": lambda keys, value, of: not isinstance(value, dict) or set(keys) <= value.keys(),
    "items": lambda item, value, of: not isinstance(value, list) or all(accepts(item, v) for v in value),
    "minItems": lambda n, value, of: not isinstance(value, list) or len(value) >= n,
    "uniqueItems": lambda _, value, of: (
        not isinstance(value, list) or all(v not in value[:i] for i, v in enumerate(value))
    ),
    "minLength": lambda n, value, of: not isinstance(value, str) or len(value) >= n,
    "pattern": lambda pattern, value, of: not isinstance(value, str) or re.search(pattern, value) is not None,
    "minimum": lambda bound, value, of: not _is("number", value) or value >= bound,
    "maximum": lambda bound, value, of: not _is("number", value) or value <= bound,
    "exclusiveMinimum": lambda bound, value, of: not _is("number", value) or value > bound,
    "exclusiveMaximum": lambda bound, value, of: not _is("number", value) or value < bound,
}


def test_the_shipped_schema_is_current() -> None:
    shipped = json.loads((ROOT / "conf" / "schema.json").read_text(encoding="utf-8"))
    assert shipped == SCHEMA, "run `python -m vaebench schema`"


@pytest.mark.parametrize("path", CONF, ids=lambda path: path.stem)
def test_the_schema_accepts_every_shipped_study(path: Path) -> None:
    assert accepts(SCHEMA, yaml.safe_load(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    ("study", "fits"),
    [
        ("model: VAE", True),
        ("model: {latent_dim: 3}", True),
        ("model: {network: {hidden: [3]}}", True),
        ("data: {name: Digits, binarize: null}", True),
        ("data: {name: Digits, binarize: {name: Fixed}}", True),
        ("evaluate: {metrics: [ELBO, {name: IWAE}]}", True),
        ("evaluate: {estimators: [NaiveMonteCarlo, {name: AnnealedImportanceSampling, chains: 4}]}", True),
        ("evaluate: {estimators: [{name: NaiveMonteCarlo, chains: 4}]}", False),
        ("grid: {model: [AE, {name: BetaVAE, beta: 4}], seed: 0..4}", True),
        ("grid: {model.beta: [0.1, 1], model.network.hidden: [[3], [4, 4]]}", True),
        ("trian: {}", False),
        ("model: VEA", False),
        ("model: {name: VAE, beta: 4}", False),
        ("model: {name: BetaVAE, beta: -1}", False),
        ("model: {name: BetaVAE, latent_dim: 1.5}", False),
        ("model: {name: BetaVAE, network: {name: MLP, channels: [3]}}", False),
        ("train: {epochs: 0}", False),
        ("evaluate: {split: tset}", False),
        ("grid: {model.betta: [1]}", False),
        ("grid: {model.beta: []}", False),
        ("grid: {model.beta: 4}", False),
        ("seed: -1", False),
        ("evaluate: {metrics: []}", False),
        ("evaluate: {metrics: [ELBO, ELBO]}", False),
        ("evaluate: {metrics: [{name: IWAE, k: []}]}", False),
        ("evaluate: {metrics: [{name: IWAE, k: [5, 5]}]}", False),
        ("evaluate: {estimators: []}", True),
    ],
)
def test_the_schema_tells_studies_from_slips(study: str, fits: bool) -> None:
    assert accepts(SCHEMA, {"question": "Why?", **yaml.safe_load(study)}) is fits


def test_the_question_is_required() -> None:
    assert not accepts(SCHEMA, {"model": "VAE"})


@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: registry.kind)
def test_every_entry_is_completed_and_explained(registry: Any) -> None:
    for name in registry:
        definition = SCHEMA["definitions"][f"{registry.variable}.{name}"]
        assert definition["properties"].keys() == {"name", *registry.keywords(name)}
        assert definition["description"]
        assert all(value.get("description") for key, value in definition["properties"].items() if key != "name")


def test_writing_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = (schema.write(tmp_path / name).read_bytes() for name in ("a.json", "b.json"))
    assert first == second
    assert json.loads(first) == SCHEMA
