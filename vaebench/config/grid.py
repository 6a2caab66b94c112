"""The axes of a study, from its file and from the command line, and the grid of their combinations.

`SourceMap` says which line of the file, or which word of the command line, sets a key of one of the runs.
"""

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from vaebench.config.faults import Fault, Keys, said
from vaebench.config.key_types import Fields, shown, walk
from vaebench.config.registry import nearest
from vaebench.config.yaml_document import Document, NotYaml

MOST_RUNS = 100_000  # a study with more runs is taken for a mistake
MOST_DIGITS = 99  # digits of either end of a range

RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)")


class GridError(ValueError):
    """Axes that do not form a grid."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.text)
        self.fault = fault


@dataclass(frozen=True)
class Axis:
    """One key and its values."""

    key: str  # from the top of a run, e.g. `model.beta`
    values: Sequence[Any]  # as written, before any check
    line: int = 0  # of the key in the file; 0 for an axis from the command line

    @cached_property
    def path(self) -> tuple[str, ...]:
        return tuple(self.key.split("."))

    @cached_property
    def shorts(self) -> list[str]:
        """Each value in short, for labels."""
        return [_short(value) for value in self.values]


@dataclass(frozen=True)
class Point:
    """One combination: a value of every axis."""

    axes: tuple[Axis, ...]
    indices: tuple[int, ...]

    @property
    def values(self) -> dict[str, Any]:
        return {axis.key: axis.values[i] for axis, i in zip(self.axes, self.indices, strict=True)}

    def label(self, axes: Sequence[Axis] | None = None) -> str:
        """The point in short, e.g. `beta=4,seed=0`; only the given axes of it, if any are given."""
        lasts = [axis.path[-1] for axis in self.axes]
        return ",".join(
            f"{last if lasts.count(last) == 1 else axis.key}={axis.shorts[i]}"
            for axis, last, i in zip(self.axes, lasts, self.indices, strict=True)
            if axes is None or axis in axes
        )

    def applied_to(self, base: Mapping[str, Any]) -> dict[str, Any]:
        """The run at this point: the base, with each axis's value merged into it in the order of the axes."""
        run: Any = base
        for axis, value in zip(self.axes, self.values.values(), strict=True):
            for key in reversed(axis.path):
                value = {key: value}
            run = merge(run, value)
        return dict(run)

    def place(self, base: Mapping[str, Any], keys: Keys) -> tuple[Axis, int] | None:
        """The axis and the index of its value that a key of the run comes from; None if it comes from the base."""
        chosen = list(zip(self.axes, self.indices, strict=True))[::-1]  # what a later axis sets holds
        for axis, i in chosen:
            if axis.path == keys[: len(axis.path)] and _has(axis.values[i], keys[len(axis.path) :]):
                return axis, i
        if not keys or _has(base, keys):
            return None
        return next(((a, i) for a, i in chosen if all(k == p for k, p in zip(a.path, keys, strict=False))), None)


def axes_of(grid: Any, document: Document) -> tuple[list[Axis], list[Fault]]:
    """The axes of a file's `grid:`, and what is wrong with them."""
    if not isinstance(grid, Mapping):
        text = f"expected axes, `model.beta: [0.1, 1, 4]` below it; got {shown(grid)}; list axes or take `grid:` out"
        return [], [Fault(document.line(("grid",)), ("grid",), text)]
    axes, faults = [], []
    for key, values in grid.items():
        path: Keys = ("grid", key)
        try:
            axes.append(_axis(key, values, document))
        except ValueError as error:
            faults.append(Fault(document.line(path), path, str(error)))
    return axes, faults


def points(axes: Sequence[Axis]) -> list[Point]:
    """Every combination, the last axis fastest.

    Raises:
        GridError: if there are too many.
    """
    if (n := prod(map(size, axes))) > MOST_RUNS:
        sizes = " × ".join(f"{axis.key} {size(axis)}" for axis in axes)
        text = f"expected at most {MOST_RUNS} runs, got {n} ({sizes}); shorten an axis"
        raise GridError(Fault(max(axis.line for axis in axes), ("grid",), text))
    shared = tuple(axes)
    return [Point(shared, i) for i in itertools.product(*(range(len(axis.values)) for axis in axes))]


def size(axis: Axis) -> int:
    """The number of values of an axis. (`len` of a range fails from 2^63.)"""
    values = axis.values
    return values.stop - values.start if isinstance(values, range) else len(values)


def merge(base: Any, over: Any) -> Any:
    """`base` with `over` merged into it: mappings key by key, anything else replaced.

    A component's plain name counts as a mapping with that `name`.

    >>> merge({"name": "VAE", "latent_dim": 2}, {"latent_dim": 5})
    {'name': 'VAE', 'latent_dim': 5}
    >>> merge({"name": "VAE", "latent_dim": 2}, "BetaVAE")
    {'name': 'BetaVAE', 'latent_dim': 2}
    """
    if isinstance(base, str) and isinstance(over, Mapping):
        base = {"name": base}
    if isinstance(base, Mapping) and isinstance(over, str):
        over = {"name": over}
    if isinstance(base, Mapping) and isinstance(over, Mapping):
        return {**base, **{key: merge(base[key], value) if key in base else value for key, value in over.items()}}
    return over


def _axis(key: str, values: Any, document: Document) -> Axis:
    line = document.line(("grid", key))
    if isinstance(values, str) and (numbers := span(values)):
        return Axis(key, numbers, line)
    if not isinstance(values, list):
        deeper = f"{key}.{next(iter(values), '')}: […]" if isinstance(values, Mapping) else None
        remedy = f"write {deeper or f'[{shown(values)}]'}"
        raise ValueError(f"expected a list of values or a range a..b, got {shown(values)}; {remedy}")
    if not values:
        raise ValueError("expected at least one value, got an empty list; fill it or take the axis out")
    return Axis(key, values, line)


def span(text: str) -> range | None:
    """The whole numbers of `a..b`, both ends included; None for any other text.

    >>> span("0..4")
    range(0, 5)

    Raises:
        ValueError: if it runs backwards, or has too many digits.
    """
    match = RANGE.fullmatch(text.strip())
    if match is None:
        return None
    if (digits := max(len(match[1]), len(match[2]))) > MOST_DIGITS:
        raise ValueError(f"expected a range a..b of at most {MOST_DIGITS} digits each, got {digits}; shorten it")
    first, last = int(match[1]), int(match[2])
    if last < first:
        raise ValueError(f"expected a range a..b with a ≤ b, got {text}; write {last}..{first}")
    return range(first, last + 1)


def _has(value: Any, keys: Keys) -> bool:
    """Whether a value, as written, contains something at these keys."""
    if not keys:
        return True
    if isinstance(value, Mapping):
        return keys[0] in value and _has(value[keys[0]], keys[1:])
    if isinstance(value, list):
        return isinstance(keys[0], int) and keys[0] < len(value) and _has(value[keys[0]], keys[1:])
    return isinstance(value, str) and keys == ("name",)


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        rest = ",".join(f"{key}={_short(v)}" for key, v in value.items() if key != "name")
        return f"{value.get('name', '')}({rest})" if rest else str(value.get("name", ""))
    if isinstance(value, list):
        return "-".join(map(_short, value))
    return value if isinstance(value, str) else "null" if value is None else shown(value)


# -- `key=values` on the command line ---------------------------------------------------------------------------------


def overridden(axes: list[Axis], overrides: Sequence[str], run: Fields, base: Mapping[str, Any]) -> list[Axis]:
    """The axes after `key=values` from the command line: an axis of the same key is replaced, others are added.

    Raises:
        GridError: for a key that is unknown, ambiguous or given twice, or values that cannot be read.
    """
    given = set[str]()
    # Whole sections first, then keys that are known by then: a component's name says which keys there are.
    pending = sorted(map(_split, overrides), key=lambda pair: pair[0] not in run)
    while pending:
        known = known_keys(axes, run, base)
        key, text = next((pair for pair in pending if _meant(pair[0], known)), pending[0])
        pending.remove((key, text))
        new = Axis(_full(key, known), _values(key, text))
        if new.key in given:
            raise GridError(Fault(0, (new.key,), "given twice; give its values once, with commas between them"))
        given.add(new.key)
        places = [i for i, axis in enumerate(axes) if axis.key == new.key]
        axes = [new if i in places else axis for i, axis in enumerate(axes)] + ([] if places else [new])
    return axes


def known_keys(axes: Sequence[Axis], run: Fields, base: Mapping[str, Any]) -> set[str]:
    """Every key that some run of the study takes."""
    named = [replace(axis, values=_naming(axis.values) or axis.values[:1]) for axis in axes]
    nodes = (node for point in points(named) for node in walk(run, point.applied_to(base)))
    return {".".join(map(str, node.keys)) for node in nodes}


def unknown(key: str, known: Iterable[str]) -> str:
    """The message about an unknown key, with the most similar key: in full, or by its last part."""
    full = {k.rpartition(".")[2]: k for k in sorted(known)} | {k: k for k in sorted(known)}
    near = nearest(key, full)
    if near:
        return f"unknown key (did you mean {full[near]}?)"
    return f"unknown key; the keys are {', '.join(sorted(known))}"


def _full(key: str, known: set[str]) -> str:
    found = _meant(key, known)
    if len(found) > 1:
        raise GridError(Fault(0, (key,), f"ambiguous; write {' or '.join(found)}"))
    if not found:
        raise GridError(Fault(0, (key,), unknown(key, known)))
    return found[0]


def _meant(key: str, known: set[str]) -> list[str]:
    return [key] if key in known else sorted(k for k in known if k.endswith(f".{key}"))


def _split(override: str) -> tuple[str, str]:
    key, sign, values = override.partition("=")
    if not (key.strip() and sign and values.strip()):
        raise GridError(Fault(0, (override,), "expected key=value, e.g. beta=4, latent_dim=5,10 or seed=0..4"))
    return key.strip(), values.strip()


def _values(key: str, text: str) -> Sequence[Any]:
    document = Document(f"values: [{text}]")
    if faults := document.faults:
        unreadable = f"expected values with commas between them, got {text[:60]!r}; quote it as YAML would"
        raise GridError(Fault(0, (key,), unreadable if isinstance(faults[0].text, NotYaml) else faults[0].text))
    try:
        return span(text) or document.value["values"]
    except ValueError as error:
        raise GridError(Fault(0, (key,), str(error))) from None


def _naming(values: Sequence[Any]) -> list[Any]:
    """The values that may say which keys there are: a component's name, or a mapping with it."""
    return [] if isinstance(values, range) else [v for v in values if isinstance(v, str | Mapping)]


class RunFault(NamedTuple):
    """A fault of one run: the index of the run in the study, the key, and a text."""

    run: int
    keys: Keys
    text: str


@dataclass(frozen=True)
class SourceMap:
    """Where the values of a study's runs come from."""

    path: Path  # of the file
    document: Document  # its text
    base: Mapping[str, Any]  # the sections that every run starts from
    points: Sequence[Point]  # of the grid, one per run
    spelt: Mapping[str, str] = field(default_factory=dict)  # a section's name -> its misspelling in the file

    def faults(self, run_faults: Iterable[RunFault]) -> list[Fault]:
        """The faults by place. Faults that several runs have from the same line become one."""
        found: dict[Fault, list[Point]] = {}
        for run, keys, text in run_faults:
            point = self.points[run]
            found.setdefault(self._placed(point, keys, text), []).append(point)
        found = self._of_whole_axes(found)
        return [fault._replace(text=fault.text + self._only_at(bad, fault)) for fault, bad in found.items()]

    def lines(self, run_faults: Iterable[RunFault]) -> list[str]:
        """The faults as a user reads them, in the order of the file."""
        return said(self.path, self.faults(run_faults))

    def _placed(self, point: Point, keys: Keys, text: str) -> Fault:
        """The fault of a run, at the line that causes it."""
        place = point.place(self.base, keys)
        if place is None:
            keys = (self.spelt.get(str(keys[0]), keys[0]), *keys[1:]) if keys else keys
            return Fault(self.document.line(keys), keys, text)
        axis, i = place
        inside = keys[len(axis.path) :]
        if not axis.line:
            return Fault(0, (axis.key, *inside), text)
        return Fault(self.document.line(("grid", axis.key, i, *inside)), ("grid", axis.key, i, *inside), text)

    def _of_whole_axes(self, found: Mapping[Fault, list[Point]]) -> dict[Fault, list[Point]]:
        """The faults. If every value of an axis has the same fault, it becomes one fault of the axis."""
        sizes: dict[str | int, int] = {axis.key: len(axis.values) for axis in self.points[0].axes}
        alike: dict[Fault, list[Fault]] = {}
        for fault in found:
            if fault.keys[:1] == ("grid",) and len(fault.keys) == 3:
                whole = fault.keys[:2]
                alike.setdefault(Fault(self.document.line(whole), whole, fault.text), []).append(fault)
        merged = {part: whole for whole, parts in alike.items() if len(parts) == sizes[whole.keys[1]] for part in parts}
        faults: dict[Fault, list[Point]] = {}
        for fault, bad in found.items():
            faults.setdefault(merged.get(fault, fault), []).extend(bad)
        return faults

    def _only_at(self, bad: Sequence[Point], fault: Fault) -> str:
        """Where in the grid a fault appears, if not everywhere and if its place does not say so."""
        said = fault.keys[1 if fault.line else 0] if not fault.line or fault.keys[:1] == ("grid",) else None
        partial = [
            axis
            for n, axis in enumerate(self.points[0].axes)
            if axis.key != said and len({p.indices[n] for p in bad}) < len(axis.values)
        ]
        labels = list(dict.fromkeys(p.label(partial) for p in bad))
        more = f" and {len(labels) - 1} more" if len(labels) > 1 else ""
        return f" (at grid point {labels[0]}{more})" if partial else ""
