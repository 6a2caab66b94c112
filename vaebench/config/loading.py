"""YAML → Study: the file is read, its grid spanned, and every run checked before anything heavy is imported."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vaebench.config import grid, lines, overrides
from vaebench.config.annotations import shown
from vaebench.config.grid import Axis, GridError, Point
from vaebench.config.lines import DeadReference, Document, Fault, Keys, dotted
from vaebench.config.study import KEYWORDS, ConfigError, Refused, Run, Study
from vaebench.registry import did_you_mean

HEAD = ("question", "grid")
"""What a study file has beside the sections of a run."""


def load(path: str | Path, assignments: Sequence[str] = ()) -> Study:
    """The study in a YAML file.

    Args:
        path: the file.
        assignments: `key=values` from the command line, e.g. `beta=4`, `model.latent_dim=5,10`, `seed=0..4`. A short
            key will do where only one key ends with it. It takes the place of an axis of the same key, or is one more.

    Raises:
        ConfigError: with every fault found, one line each.
    """
    path = Path(path)
    document = Document(_text(path))
    _refuse(path, document.faults)
    _refuse(path, _head_faults(document))
    base = {key: value for key, value in document.value.items() if key not in HEAD}
    axes, faults = grid.axes_of(document.value.get("grid", {}), document)
    try:
        faults += [] if faults else _strays(axes, base)
        _refuse(path, faults)
        axes = overrides.overridden(axes, assignments, KEYWORDS, base)
        points = grid.points(axes)
    except GridError as error:
        raise ConfigError([_line(path, error.fault)]) from None
    runs = _runs(path, document, base, points, shlex.join([str(path), *assignments]))
    _refuse(path, _repeats(document, runs, points))
    return Study(path.stem, path, document.value["question"], runs, tuple(axis.key for axis in axes))


def _runs(
    path: Path, document: Document, base: Mapping[str, Any], points: Sequence[Point], source: str
) -> tuple[Run, ...]:
    runs: list[Run] = []
    found: dict[Fault, list[Point]] = {}
    for point in points:
        try:
            run = Run.of(lines.resolved(point.over(base)))
            runs.append(run.named(point.label() or run.config["model"]["name"], source))
        except (Refused, DeadReference) as error:
            for keys, text in error.places:
                found.setdefault(_placed(document, base, point, keys, text), []).append(point)
    found = _of_whole_axes(document, found, points)
    _refuse(path, [fault._replace(text=fault.text + _only_at(bad, points, fault)) for fault, bad in found.items()])
    return tuple(runs)


def _of_whole_axes(
    document: Document, found: Mapping[Fault, list[Point]], points: Sequence[Point]
) -> dict[Fault, list[Point]]:
    """The faults, with one for an axis in place of the same one at each of its values."""
    sizes: dict[str | int, int] = {axis.key: len(axis.values) for axis in points[0].axes}
    alike: dict[Fault, list[Fault]] = {}
    for fault in found:
        if fault.keys[:1] == ("grid",) and len(fault.keys) == 3:
            whole = fault.keys[:2]
            alike.setdefault(Fault(document.line(whole), whole, fault.text), []).append(fault)
    merged = {part: whole for whole, parts in alike.items() if len(parts) == sizes[whole.keys[1]] for part in parts}
    faults: dict[Fault, list[Point]] = {}
    for fault, bad in found.items():
        faults.setdefault(merged.get(fault, fault), []).extend(bad)
    return faults


def _placed(document: Document, base: Mapping[str, Any], point: Point, keys: Keys, text: str) -> Fault:
    """The fault of a run, at the line that it comes from."""
    place = point.place(base, keys)
    if place is None:
        return Fault(document.line(keys), keys, text)
    axis, i = place
    inside = keys[len(axis.path) :]
    if not axis.line:
        return Fault(0, (axis.key, *inside), text)
    return Fault(document.line(("grid", axis.key, i, *inside)), ("grid", axis.key, i, *inside), text)


def _only_at(bad: Sequence[Point], points: Sequence[Point], fault: Fault) -> str:
    """Where in the grid a fault shows, if not everywhere and not said by its place."""
    said = fault.keys[1 if fault.line else 0] if not fault.line or fault.keys[:1] == ("grid",) else None
    telling = [
        axis
        for n, axis in enumerate(points[0].axes)
        if axis.key != said and len({p.indices[n] for p in bad}) < len(axis.values)
    ]
    labels = list(dict.fromkeys(p.label(telling) for p in bad))
    more = f" and {len(labels) - 1} more" if len(labels) > 1 else ""
    return f" (at grid point {labels[0]}{more})" if telling else ""


def _head_faults(document: Document) -> list[Fault]:
    known = (*HEAD, *KEYWORDS)
    faults = []
    for key in (k for k in document.value if k not in known):
        near = did_you_mean(key, known) or f"; a study has {', '.join(known)}"
        faults.append(Fault(document.line((key,)), (key,), f"unknown key{near}"))
    question = document.value.get("question")
    if not isinstance(question, str) or not question.strip():
        text = f"expected the question that the study asks, in one sentence; got {shown(question)}"
        faults.append(Fault(document.line(("question",)), ("question",), text))
    return faults


def _strays(axes: Sequence[Axis], base: Mapping[str, Any]) -> list[Fault]:
    """Axes that start with no section of a run."""
    strays = [axis for axis in axes if axis.path[0] not in KEYWORDS]
    known = overrides.known_keys([a for a in axes if a not in strays], KEYWORDS, base) if strays else set()
    return [Fault(axis.line, ("grid", axis.key), overrides.unknown(axis.key, known)) for axis in strays]


def _repeats(document: Document, runs: Sequence[Run], points: Sequence[Point]) -> list[Fault]:
    first: dict[str, Point] = {}
    faults = []
    for run, point in zip(runs, points, strict=True):
        if (other := first.setdefault(run.id, point)) is not point:
            text = f"{point.label()} is the same run as {other.label()}; take one of the two out"
            faults.append(
                Fault(document.line(("grid",)) if any(axis.line for axis in point.axes) else 0, ("grid",), text)
            )
    return faults


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        there = sorted(str(p) for folder in {path.parent, Path("conf")} for p in folder.glob("*.yaml"))
        listed = f"; there is {', '.join(there)}" if there else "; give the path of a YAML file"
        reason = f"no such file{did_you_mean(str(path), there) or listed}"
    except IsADirectoryError:
        there = sorted(str(p) for p in path.glob("*.yaml"))
        reason = f"a directory; name one study in it{': ' if there else ''}{', '.join(there)}"
    except UnicodeDecodeError as error:
        reason = f"not text in UTF-8 (byte {error.start}); save it as UTF-8"
    except OSError as error:
        reason = f"cannot be read: {error.strerror}; check the path and its permissions"
    raise ConfigError([f"{path}: {reason}"])


def _refuse(path: Path, faults: Sequence[Fault]) -> None:
    if faults:
        raise ConfigError(_line(path, fault) for fault in sorted(faults, key=lambda fault: fault.line))


def _line(path: Path, fault: Fault) -> str:
    place = f"{path}:{fault.line}" if fault.line else "command line"
    return ": ".join(filter(None, [place, dotted(fault.keys), fault.text]))
