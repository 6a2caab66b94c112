"""The axes of a study and the points they span: `grid:` in the file, `key=values` on the command line."""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from vaebench.config.document import Document, Fault, Keys
from vaebench.config.fields import shown

MOST_RUNS = 100_000
"""More runs than this in one study are taken for a slip of the pen."""

MOST_DIGITS = 99
"""Of either end of a range."""

RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)")


class GridError(ValueError):
    """Axes that span no grid."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.text)
        self.fault = fault


@dataclass(frozen=True)
class Axis:
    """One key and the values it takes in turn.

    Attributes:
        key: from the top of a run, e.g. `model.beta`.
        values: as written, before any check.
        line: of the key in the file; 0 for an axis from the command line.
    """

    key: str
    values: Sequence[Any]
    line: int = 0

    @property
    def path(self) -> tuple[str, ...]:
        return tuple(self.key.split("."))


@dataclass(frozen=True)
class Point:
    """One value of every axis."""

    axes: tuple[Axis, ...]
    indices: tuple[int, ...]

    @property
    def values(self) -> dict[str, Any]:
        return {axis.key: axis.values[i] for axis, i in zip(self.axes, self.indices, strict=True)}

    def label(self, axes: Sequence[Axis] | None = None) -> str:
        """The point in short, e.g. `beta=4,seed=0`; only the given axes of it, if any are given."""
        lasts = [axis.path[-1] for axis in self.axes]
        return ",".join(
            f"{last if lasts.count(last) == 1 else axis.key}={_short(axis.values[i])}"
            for axis, last, i in zip(self.axes, lasts, self.indices, strict=True)
            if axes is None or axis in axes
        )

    def over(self, base: Mapping[str, Any]) -> dict[str, Any]:
        """The run at this point: each value laid over the base, in the order of the axes."""
        run: Any = base
        for axis, value in zip(self.axes, self.values.values(), strict=True):
            for key in reversed(axis.path):
                value = {key: value}
            run = laid(run, value)
        return dict(run)

    def place(self, base: Mapping[str, Any], keys: Keys) -> tuple[Axis, int] | None:
        """The axis, and which of its values, that a key of the run comes from; None if it comes from the base."""
        chosen = list(zip(self.axes, self.indices, strict=True))[::-1]
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
        GridError: if they are far too many.
    """
    if (n := prod(map(size, axes))) > MOST_RUNS:
        sizes = " × ".join(f"{axis.key} {size(axis)}" for axis in axes)
        text = f"expected at most {MOST_RUNS} runs, got {n} ({sizes}); shorten an axis"
        raise GridError(Fault(max(axis.line for axis in axes), ("grid",), text))
    return [Point(tuple(axes), i) for i in itertools.product(*(range(len(axis.values)) for axis in axes))]


def size(axis: Axis) -> int:
    """How many values an axis has; `len` ends at 2^63."""
    values = axis.values
    return values.stop - values.start if isinstance(values, range) else len(values)


def laid(base: Any, over: Any) -> Any:
    """`over` laid over `base`: mappings key by key; a component's plain name over its mapping changes the `name` only;
    anything else takes the place of what was there."""
    if isinstance(base, str) and isinstance(over, Mapping):
        base = {"name": base}
    if isinstance(base, Mapping) and isinstance(over, str):
        over = {"name": over}
    if isinstance(base, Mapping) and isinstance(over, Mapping):
        return {**base, **{key: laid(base[key], value) if key in base else value for key, value in over.items()}}
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

    Raises:
        ValueError: if it runs backwards, or further than any seed.
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
    """Whether a value, as written, says something at some keys inside it."""
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
