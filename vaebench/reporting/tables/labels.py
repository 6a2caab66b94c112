"""What a row is called: the parts of its configuration that vary within the study.

The axes of the grid come first, in the order of the file; what varies beside them (a folder that holds two sweeps)
follows. A component is called by its class, and by the leaves that differ among rows of the same class. What stands
above a column of labels is decided in `table.py`: the heading of a fact such as β, or the last part of the path.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from vaebench.config.study import IMPORTS, SECTIONS
from vaebench.config.validation import filled_in

ABSENT = "–"
SEED = "seed"


@dataclass(frozen=True)
class Label:
    """One column of labels: the path it stands for, the key by which users call it, and a text a row."""

    path: str
    key: str  # the last part of the path, or the whole path if several end so
    texts: tuple[str, ...]


def labels(configs: Sequence[Mapping[str, Any]], axes: Sequence[str]) -> list[Label]:
    """The columns that tell the configurations (without their seeds) apart; the model's class if nothing does."""
    keys = [canonical(config) for config in configs]
    different = dict(zip(keys, configs, strict=True))  # the runs of a row, which are many, have one configuration
    row = {key: i for i, key in enumerate(different)}
    return [
        replace(column, texts=tuple(column.texts[row[key]] for key in keys))
        for column in _labels(list(different.values()), axes)
    ]


def _labels(configs: Sequence[Mapping[str, Any]], axes: Sequence[str]) -> list[Label]:
    named = list(dict.fromkeys(axis.removesuffix(".name") for axis in axes if axis != SEED))
    for path in [*(axis.split(".") for axis in named), *_sometimes(configs)]:
        configs = [filled_in(SECTIONS, config, path) for config in configs]
    said = [SEED, *named, *_of_one_version(configs)]
    rest = [_without({**config, IMPORTS: config.get(IMPORTS, {})}, said) for config in configs]
    columns = {}
    for path in [*named, *varying(rest)]:
        inside = [other for other in named if other.startswith(f"{path}.")]
        columns[path] = [at(_without(config, inside), path) for config in configs]
    kept = {p: v for p, v in columns.items() if not _same(v)} or {"model": [at(c, "model") for c in configs]}
    leaves = [p.rpartition(".")[2] for p in kept]
    return [
        Label(p, leaf if leaves.count(leaf) == 1 else p, _texts(values))
        for (p, values), leaf in zip(kept.items(), leaves, strict=True)
    ]


def _sometimes(configs: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """The paths that some configurations have and others leave out: keywords of later versions at their default."""
    paths = [set(_paths(config)) for config in configs]
    return sorted(set().union(*paths) - set[tuple[str, ...]]().union(*paths[:1]).intersection(*paths))


def _paths(config: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in config.items():
        yield (*above, key)
        if isinstance(value, Mapping):
            yield from _paths(value, (*above, key))


def _of_one_version(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """The imported files that all rows that use them use in one version; only two versions need labels."""
    used = [(key, sha) for c in configs for key, sha in c.get(IMPORTS, {}).items()]
    return [f"{IMPORTS}.{key}" for key in dict(used) if len({sha for k, sha in used if k == key}) == 1]


def slug(keys: Sequence[str], texts: Sequence[str]) -> str:
    """A row as users call it: `beta=4, model=BetaVAE`."""
    return ", ".join(f"{k}={t}" for k, t in zip(keys, texts, strict=True))


def merged_axes(many: Sequence[Sequence[str]]) -> list[str]:
    """One order of axes for records of several sweeps, whatever order the records come in."""
    ordered = sorted({tuple(axes) for axes in many}, key=lambda axes: (-len(axes), axes))
    return list(dict.fromkeys(axis for axes in ordered for axis in axes))


def _texts(values: Sequence[Any]) -> tuple[str, ...]:
    different = {canonical(v): v for v in values}
    texts = {key: describe(v, list(different.values())) for key, v in different.items()}
    return tuple(texts[canonical(v)] for v in values)


def varying(values: Sequence[Any], path: str = "") -> list[str]:
    """The paths at which the values differ; a component whose class differs counts as one."""
    if _same(values):
        return []
    if path and (not all(isinstance(v, Mapping) for v in values) or not _same([v.get("name") for v in values])):
        return [path]
    return [p for k in _keys(values) for p in varying(_members(values, k), f"{path}.{k}".removeprefix("."))]


def describe(value: Any, peers: Sequence[Any]) -> str:
    """A value in words that tell it from its peers: `4`, `BetaVAE (beta=4)`, `epochs=10, batch_size=8`.

    >>> describe([{"name": "Masking", "fraction": 0.1}, {"name": "Other"}], [])
    'Masking + Other'
    """
    if _is_parts(value):
        each = [part for peer in peers if _is_parts(peer) for part in peer]
        return " + ".join(describe(part, each) for part in value)
    if not isinstance(value, Mapping):
        return plain(value)
    name = value.get("name")
    kin = [p for p in peers if isinstance(p, Mapping) and p.get("name") == name]
    parts = ", ".join(
        f"{k}={describe(value.get(k, ABSENT), _members(kin, k))}" for k in _keys(kin) if not _same(_members(kin, k))
    )
    if name is None:
        return parts
    return f"{name} ({parts})" if parts else str(name)


def _is_parts(value: Any) -> bool:
    """Whether a value is a list of components, each with its class."""
    return isinstance(value, list) and bool(value) and all(isinstance(v, Mapping) and "name" in v for v in value)


def plain(value: Any) -> str:
    """A leaf as a reader writes it: 4 for 4.0, `none` for None and for an empty list."""
    if isinstance(value, float):
        return f"{value:.12g}"
    if isinstance(value, str):
        return value[:10] if re.fullmatch("[0-9a-f]{64}", value) else value  # a checksum
    if value == []:
        return "none"
    return json.dumps(value, ensure_ascii=False).replace("null", "none")


def brief(text: str) -> str:
    """A label as tables and charts show it: a class or a list explains itself and needs no key; a number has its key.

    >>> brief("VAE (network=MLP (hidden=[256, 256]), posterior=Flow), variance=0.15")
    'VAE (MLP (256, 256), Flow), variance=0.15'
    """
    return re.sub(r"\(\[([^][]*)\]\)", r"(\1)", re.sub(r"[\w.]+=(?=[A-Z\[])", "", text))


def named(headings: Sequence[str], texts: Sequence[str]) -> str:
    """A row in words for the eye: `VAE (Flow), σ²=0.15`. Only a number has its heading."""
    return ", ".join(
        f"no {h}" if t == ABSENT else slug([h], [t]) if is_number(t) else brief(t)
        for h, t in zip(headings, texts, strict=True)
    )


def natural(text: str) -> tuple[tuple[int, float, str], ...]:
    """A sort key by which numbers inside a text count as numbers."""
    parts = re.split(r"((?<![\w.])-?\d+(?:\.\d+)?(?:e[+-]?\d+)?|\d+)", text)
    return tuple((0, float(p), "") if i % 2 else (1, 0.0, p) for i, p in enumerate(parts) if p)


def canonical(value: Any) -> str:
    """JSON that is equal exactly where the values are."""
    return json.dumps(value, sort_keys=True)


def _without(config: Mapping[str, Any], paths: Sequence[str]) -> Mapping[str, Any]:
    for path in paths:
        first, _, rest = path.partition(".")
        if isinstance(config, Mapping) and first in config:
            kept = {k: v for k, v in config.items() if k != first}
            config = {**config, first: _without(config[first], [rest])} if rest else kept
    return config


def at(config: Any, path: str) -> Any:
    """The value at a path such as `model.beta`; `ABSENT` if there is none."""
    for part in path.split("."):
        config = config.get(part, ABSENT) if isinstance(config, Mapping) else ABSENT
    return config


def _same(values: Sequence[Any]) -> bool:
    return len({canonical(v) for v in values}) <= 1


def _keys(values: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(k for v in values for k in v))


def _members(values: Sequence[Mapping[str, Any]], key: str) -> list[Any]:
    return [v.get(key, ABSENT) for v in values]


def is_number(text: str) -> bool:
    """Whether a label is a number.

    >>> is_number("1e-3"), is_number("VAE")
    (True, False)
    """
    try:
        float(text)
    except ValueError:
        return False
    return True
