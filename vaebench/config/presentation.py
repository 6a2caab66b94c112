"""How a study is shown: its question, its headline, its first chart, its answer. Nothing here changes a number."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from annotated_types import MinLen

from vaebench.config.faults import Fault, Keys, Refused
from vaebench.config.key_types import Section, section_fields, shown
from vaebench.config.registry import did_you_mean, nearest
from vaebench.config.validation import validated
from vaebench.config.yaml_document import Document
from vaebench.records.files import SUFFIXES

EPOCH = "epoch"  # the x of a chart of the curves of training

SUM = re.compile(r"[\w%./]+(?: [+-] [\w%./]+)*")
"""A number by its name in a record, or a sum: `elbo + below_optimum - train/objective`."""


@dataclass(frozen=True)
class Axes:
    """The axes of a study's first chart.

    Args:
        x: an axis of the grid, `epoch`, or a number by its name in a record.
        y: numbers by their names, or sums such as `ais - iwae_5000`; a panel each, `{title: number}` to name it.
        series: the axis of the grid whose values have the colours; empty if all other axes have.
    """

    x: str
    y: Annotated[tuple[str, ...], MinLen(1)] | Annotated[dict[str, str], MinLen(1)]
    series: str = ""

    @property
    def panels(self) -> tuple[tuple[str, str], ...]:
        """The number of each panel, and its title; an empty title stands for the number's heading."""
        titled = self.y.items() if isinstance(self.y, Mapping) else (("", text) for text in self.y)
        return tuple((text, title) for title, text in titled)


@dataclass(frozen=True)
class Presentation:
    """How a study is shown.

    Args:
        question: what the study asks, in one sentence.
        headline: numbers that the headline shows beside the best bound, by their names in a record.
        figure: the axes of the first chart; without it the chart is chosen by what the study varies.
        answer: the answer in words; {iwae_500 @ beta=1} is filled in from the records, and so is
            {ais - iwae_500 @ beta=1}.
    """

    question: str = ""
    headline: tuple[str, ...] = ()
    figure: Axes | None = None
    answer: str = ""


PLAIN = Presentation()  # of records whose study's file is not known
QUESTION, FIGURE = "question", "figure"
FIELDS = section_fields(Presentation)  # the keys of a study file


def of(document: Document) -> Presentation:
    """What a file says of it. Values that are not valid are left out; `faults` names them."""
    found = {}
    for key in FIELDS.keys() & document.value.keys():
        with suppress(Refused):
            found[key] = validated(Section(Presentation), {key: document.value[key]})[key]
    figure = found.pop(FIGURE, None)
    if figure is None or any(_figure_faults(figure, ())):
        return Presentation(**found)
    return Presentation(**found, figure=Axes(**figure))


def file_of(folder: Path, place: str | Path) -> Path:
    """The file in a folder of the study with this place below `results`; it ends in `.yaml` if it is not there."""
    paths = [folder / f"{place}{suffix}" for suffix in SUFFIXES]
    return next((path for path in paths if path.is_file()), paths[0])


def read(path: Path) -> Presentation:
    """What a study's file says of it; nothing if the file cannot be read. No run is checked."""
    try:
        document = Document(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError):
        return PLAIN
    return PLAIN if document.faults else of(document)


def faults(document: Document) -> list[Fault]:
    """What is wrong with these keys."""
    given, found = {key: value for key, value in document.value.items() if key in FIELDS}, dict[Keys, str]()
    try:
        validated(Section(Presentation), given)
    except Refused as error:
        found |= error.places
    question, figure, grid = given.get(QUESTION), given.get(FIGURE), document.value.get("grid")
    if not isinstance(question, str) or not question.strip():
        text = f"expected the question that the study asks, in one sentence; got {shown(question)}"
        found[(QUESTION,)] = text
    if isinstance(figure, Mapping):
        axes = _names_of([key for key in grid if key != "seed"]) if isinstance(grid, Mapping) else []
        found |= {(FIGURE, key): text for key, text in _figure_faults(figure, axes)}
    return [Fault(document.line(keys), keys, text) for keys, text in found.items()]


def _figure_faults(figure: Mapping[str, Any], axes: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Texts that name no axis and no number, each under its key; without the axes of a grid, names are not checked."""
    x, y, series = (figure.get(key) for key in ("x", "y", "series"))
    if isinstance(x, str) and (not SUM.fullmatch(x) or (x not in (*axes, EPOCH) and nearest(x, axes) is not None)):
        yield "x", f"expected {_meaning('x')}; got {shown(x)}{did_you_mean(x, axes)}"
    texts = y.values() if isinstance(y, Mapping) else y if isinstance(y, list | tuple) else ()
    if any(isinstance(text, str) and not SUM.fullmatch(text) for text in texts):
        yield "y", f"expected {_meaning('y')}; got {shown(y)}"
    if isinstance(series, str) and series and axes and series not in axes:
        text = f"expected {_meaning('series')}, one of {', '.join(axes)}; got {shown(series)}"
        yield "series", f"{text}{did_you_mean(series, axes)}"


def _meaning(key: str) -> str:
    return (section_fields(Axes)[key].help or "").partition("; empty")[0].rstrip(".")


def _names_of(keys: Sequence[str]) -> list[str]:
    """The names of the axes of a grid: the whole keys, and their last parts, which stand above the columns."""
    whole = [key.removesuffix(".name") for key in keys]
    return list(dict.fromkeys([*(key.rpartition(".")[2] for key in whole), *whole]))
