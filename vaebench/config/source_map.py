"""From a key of one of a study's runs to the line of the file, or to the command line, that sets it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from vaebench.config.document import Document, Fault, Keys, dotted
from vaebench.config.grid import Point


class RunFault(NamedTuple):
    """A fault of one run: the index of the run in the study, the key, and a text."""

    run: int
    keys: Keys
    text: str


@dataclass(frozen=True)
class SourceMap:
    """Where the values of a study's runs come from.

    Attributes:
        path: of the file.
        document: its text.
        base: the sections that every run starts from.
        points: of the grid, one per run.
        spelt: a section's name -> its misspelling in the file.
    """

    path: Path
    document: Document
    base: Mapping[str, Any]
    points: Sequence[Point]
    spelt: Mapping[str, str] = field(default_factory=dict)

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


def said(path: Path, faults: Iterable[Fault]) -> list[str]:
    """Each fault on a line that starts with its place, in the order of the file."""
    return [_line(path, fault) for fault in sorted(faults, key=lambda fault: fault.line)]


def _line(path: Path, fault: Fault) -> str:
    place = f"{path}:{fault.line}" if fault.line else "command line"
    return ": ".join(filter(None, [place, dotted(fault.keys), fault.text]))
