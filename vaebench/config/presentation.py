"""How a study is shown: its question, its headline, its first chart, its answer. Nothing here changes a number."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vaebench.config.document import Document, Fault
from vaebench.config.fields import shown
from vaebench.config.registry import did_you_mean, nearest

QUESTION, HEADLINE, FIGURE, ANSWER = "question", "headline", "figure", "answer"
X, Y, SERIES = "x", "y", "series"  # the keys of a figure
EPOCH = "epoch"  # the x of a chart of the curves of training

SUM = re.compile(r"[\w%./]+(?: [+-] [\w%./]+)*")
"""A number by its name in a record, or a sum: `elbo + below_optimum - train/objective`."""

_X = "an axis of the grid, `epoch`, or a number by its name in a record"
_Y = "numbers by their names, or sums such as `ais - iwae_5000`; a panel each, `{title: number}` to name it"
_SERIES = "the axis of the grid whose values have the colours"

KEYS: Mapping[str, Mapping[str, Any]] = {
    QUESTION: {"type": "string", "minLength": 1, "description": "what the study asks, in one sentence"},
    HEADLINE: {
        "type": "array",
        "items": {"type": "string"},
        "description": "numbers that the headline shows beside the best bound, by their names in a record",
    },
    FIGURE: {
        "type": "object",
        "properties": {
            X: {"type": "string", "description": _X},
            Y: {
                "anyOf": [
                    {"type": "array", "items": {"type": "string"}, "minItems": 1},
                    {"type": "object", "additionalProperties": {"type": "string"}, "minProperties": 1},
                ],
                "description": _Y,
            },
            SERIES: {"type": "string", "description": _SERIES},
        },
        "required": [X, Y],
        "additionalProperties": False,
        "description": "the axes of the first chart; without it the chart is chosen by what the study varies",
    },
    ANSWER: {
        "type": "string",
        "description": "the answer in words; {iwae_500 @ beta=1} is filled in from the records, and so is "
        "{ais - iwae_500 @ beta=1}",
    },
}
"""The keys of a study file, and the schema of each."""


@dataclass(frozen=True)
class Axes:
    """The axes of a study's first chart."""

    x: str  # an axis of the grid, `epoch`, or a number by its name in a record
    # numbers by their names, or sums of numbers, a panel each; and its title, empty for the number's heading.
    y: tuple[tuple[str, str], ...]
    series: str = ""  # the axis of the grid whose values have the colours; empty if all other axes have


@dataclass(frozen=True)
class Presentation:
    """How a study is shown."""

    question: str = ""  # what it asks, in one sentence
    headline: tuple[str, ...] = ()  # numbers that the headline shows beside the best bound, by their names in a record
    answer: str = ""  # a sentence with places for numbers of the records; empty if the study has none
    figure: Axes | None = None  # the axes of the first chart; None if the chart is chosen by what the study varies


PLAIN = Presentation()  # of records whose study's file is not known


def of(document: Document) -> Presentation:
    """What a file says of it. Values of a wrong type are left out; `faults` names them."""
    value = document.value if isinstance(document.value, Mapping) else {}
    names, figure = value.get(HEADLINE, ()), value.get(FIGURE)
    return Presentation(
        question=value[QUESTION] if isinstance(value.get(QUESTION), str) else "",
        headline=tuple(names) if _are_names(names) else (),
        answer=value[ANSWER] if isinstance(value.get(ANSWER), str) else "",
        figure=None
        if figure is None or _figure_faults(figure, ())
        else Axes(figure["x"], _titled(figure["y"]), figure.get(SERIES, "")),
    )


def read(path: Path) -> Presentation:
    """What a study's file says of it; nothing if the file cannot be read. No run is checked."""
    try:
        document = Document(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError):
        return PLAIN
    return PLAIN if document.faults else of(document)


def faults(document: Document) -> list[Fault]:
    """What is wrong with these keys."""
    value = document.value
    found: list[tuple[tuple[str, ...], str, str]] = []
    question = value.get(QUESTION)
    if not isinstance(question, str) or not question.strip():
        found.append(
            ((), f"expected the question that the study asks, in one sentence; got {shown(question)}", QUESTION)
        )
    if not _are_names(value.get(HEADLINE, ())):
        text = f"expected a list of names, e.g. [linear_probe_accuracy]; got {shown(value[HEADLINE])}"
        found.append(((), text, HEADLINE))
    if not isinstance(value.get(ANSWER, ""), str):
        found.append(((), f"expected text; got {shown(value[ANSWER])}", ANSWER))
    if FIGURE in value:
        grid = value.get("grid")
        axes = _names_of([key for key in grid if key != "seed"]) if isinstance(grid, Mapping) else []
        found += [(keys, text, FIGURE) for keys, text in _figure_faults(value[FIGURE], axes)]
    return [Fault(document.line((key, *keys)), (key, *keys), text) for keys, text, key in found]


def _figure_faults(figure: Any, axes: Sequence[str]) -> list[tuple[tuple[str, ...], str]]:
    """What is wrong with the axes of a chart, and under which key; no axes of a grid: their names are not checked."""
    known = (X, Y, SERIES)
    if not isinstance(figure, Mapping):
        return [((), f"expected axes, e.g. {{x: beta, y: [elbo]}}; got {shown(figure)}")]
    found: list[tuple[tuple[str, ...], str]] = [
        ((k,), f"unknown key{did_you_mean(k, known)}; a figure has {', '.join(known)}")
        for k in figure
        if k not in known
    ]
    x, y, series = (figure.get(key) for key in known)
    if not isinstance(x, str) or not SUM.fullmatch(x):
        found.append(((X,), f"expected {_X}; got {shown(x)}"))
    elif axes and x not in (*axes, EPOCH) and nearest(x, axes) is not None:
        found.append(((X,), f"expected {_X}; got {shown(x)}{did_you_mean(x, axes)}"))
    if not _is_titled(y):
        found.append(((Y,), f"expected {_Y}; got {shown(y)}"))
    if series is not None and not isinstance(series, str):
        found.append(((SERIES,), f"expected {_SERIES}; got {shown(series)}"))
    elif series is not None and axes and series not in axes:
        text = f"expected {_SERIES}, one of {', '.join(axes)}; got {shown(series)}{did_you_mean(series, axes)}"
        found.append(((SERIES,), text))
    return found


def _names_of(keys: Sequence[str]) -> list[str]:
    """The names of the axes of a grid: the whole keys, and their last parts, which stand above the columns."""
    whole = [key.removesuffix(".name") for key in keys]
    return list(dict.fromkeys([*(key.rpartition(".")[2] for key in whole), *whole]))


def _titled(y: Sequence[str] | Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The numbers of the vertical axes, each with its title."""
    return tuple((text, title) for title, text in y.items()) if isinstance(y, Mapping) else tuple((n, "") for n in y)


def _is_titled(y: Any) -> bool:
    texts = list(y.values()) if isinstance(y, Mapping) else y
    return _are_names(texts) and len(texts) > 0 and all(SUM.fullmatch(text) for text in texts)


def _are_names(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)
