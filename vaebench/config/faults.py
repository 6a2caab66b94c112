"""What is wrong with a study: a text and its place, and the errors that carry them."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

Keys = tuple[str | int, ...]  # keys and positions from the top of a file inwards, e.g. `("grid", "model.beta", 2)`
Place = tuple[Keys, str]  # keys of a run, and what is wrong there

MOST_FAULTS = 30  # faults that are shown at once


class Fault(NamedTuple):
    """What is wrong at one place of a file, or of the command line: then the line is 0."""

    line: int
    keys: Keys
    text: str


class ConfigError(ValueError):
    """The faults of a study, one line each: `conf/beta.yaml:7: model.betta: unknown key (did you mean beta?)`."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(dict.fromkeys(map(_on_one_line, faults)))
        more = [f"… and {len(self.faults) - MOST_FAULTS} more"] if len(self.faults) > MOST_FAULTS else []
        super().__init__("\n".join([*self.faults[:MOST_FAULTS], *more]))


class Refused(ConfigError):
    """The faults of one run, or of one part of a study: where, and what."""

    def __init__(self, places: Iterable[Place]) -> None:
        self.places = list(places)
        super().__init__(": ".join(filter(None, [dotted(keys), text])) for keys, text in self.places)


def dotted(keys: Keys) -> str:
    """Keys as messages write them: `grid.model.beta[2]`."""
    return "".join(f"[{k}]" if isinstance(k, int) else f".{_printable(k)}" for k in keys).removeprefix(".")


def said(path: Path, faults: Iterable[Fault]) -> list[str]:
    """Each fault on a line that starts with its place, in the order of the file."""
    return [_line(path, fault) for fault in sorted(faults, key=lambda fault: fault.line)]


def _line(path: Path, fault: Fault) -> str:
    place = f"{path}:{fault.line}" if fault.line else "command line"
    return ": ".join(filter(None, [place, dotted(fault.keys), fault.text]))


def _printable(key: str) -> str:
    """A key on one line, cut to a readable length."""
    text = key if key.isprintable() else json.dumps(key)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _on_one_line(fault: str) -> str:
    """The fault, with every character that would move a terminal's cursor written as an escape."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in fault)
