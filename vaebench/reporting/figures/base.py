"""What all figures share: which rows share a panel, which colour a row has, and how a figure is drawn of its panels.

The last axis with few values has the colours, and the first other one has the panels: in a grid of models × σ² × β, β
has the colours and the models have the panels. Rows that differ in the remaining axes (σ²) share a colour. Rows that
cannot be compared never share a panel.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Generic, NamedTuple, TypeVar

from vaebench.reporting.figures.plotting import Band, plot_band
from vaebench.reporting.figures.svg import CATEGORIES, RAMP, Asked, Axes, Panel, panel, variable
from vaebench.reporting.tables.labels import brief, is_number, natural
from vaebench.reporting.tables.layout import comparability
from vaebench.reporting.tables.rows import Block, Row, Table

T = TypeVar("T")

MOST_COLOURS, MOST_PANELS = 8, 6

Legend = tuple[tuple[str, str], ...]  # colour (the name of a CSS variable, `c0` or `r0`) and text of every entry


class Series(NamedTuple):
    """A row, its colour, and what stands at the end of its line: its value of the coloured axis."""

    row: Row
    colour: str
    name: str = ""


class Facet(NamedTuple):
    """The rows of one panel, and a title that says what they have in common."""

    title: str
    series: tuple[Series, ...]


@dataclass(frozen=True)
class Facets:
    """The facets of a study, which all its figures use, and the colour of every value of the coloured axis."""

    all: tuple[Facet, ...]
    colours: Mapping[str, str]

    @classmethod
    def of(cls, table: Table) -> "Facets":
        """The facets of a table."""
        columns = range(len(table.headings))
        hue = _column(table.rows, [*reversed(columns)], MOST_COLOURS)
        split = _column(table.rows, [i for i in columns if i != hue], MOST_PANELS)
        values = _values(table.rows, hue or 0)
        coloured = dict(zip(values, colours(values), strict=True))
        facets = [
            Facet(
                _title(table, block, split, name),
                tuple(Series(r, coloured[r.labels[hue or 0]], brief(r.labels[hue or 0])) for r in members),
            )
            for block in table.blocks
            for name, members in _split(block, split)
        ]
        return cls(tuple(facets), {labelled(table.headings[hue or 0], v): c for v, c in coloured.items()})

    def legend(self, facets: Sequence[Facet]) -> Legend:
        """The legend of some facets; empty if the study has only one colour."""
        shown = {series.colour for facet in facets for series in facet.series}
        entries = [(variable(c), text) for text, c in self.colours.items() if c in shown]
        return tuple(_few(entries)) if len(entries) > 1 or len(self.colours) > len(entries) else ()

    def keep(self, has: Callable[[Row], bool]) -> list[Facet]:
        """The facets without the rows that have nothing to show, and without the facets that are then empty."""
        kept = [Facet(f.title, tuple(s for s in f.series if has(s.row))) for f in self.all]
        return [f for f in kept if f.series]


def measured_on(table: Table, block: Block) -> list[str]:
    """What distinguishes the data and measure of a block from those of the others; empty if it is the only one."""
    return [comparability(table, block)] if len(table.blocks) > 1 else []


def _column(rows: Sequence[Row], columns: Sequence[int], most: int) -> int | None:
    """The first column of labels that has several values, but not too many."""
    return next((i for i in columns if 1 < len({r.labels[i] for r in rows}) <= most), None)


def _values(rows: Sequence[Row], column: int) -> list[str]:
    return sorted({r.labels[column] for r in rows}, key=natural)


def _split(block: Block, column: int | None) -> list[tuple[str, list[Row]]]:
    """The rows of a block by their label in a column."""
    if column is None:
        return [("", list(block.rows))]
    return [(v, [r for r in block.rows if r.labels[column] == v]) for v in _values(block.rows, column)]


def _title(table: Table, block: Block, column: int | None, value: str) -> str:
    return ", ".join(filter(None, [labelled(table.headings[column or 0], value), *measured_on(table, block)]))


def labelled(heading: str, value: str) -> str:
    """A value; with its heading if it is a number, which alone would not explain itself."""
    return f"{heading} {value}" if is_number(value) else brief(value)


def coloured(names: Iterable[str]) -> dict[str, str]:
    """A colour for each name, by the value at its end; empty if there are more names than colours."""
    found = list(dict.fromkeys(names))
    if len(found) > MOST_COLOURS:
        return {}
    return dict(zip(found, colours([name.rpartition(" ")[2] for name in found]), strict=True))


def colours(values: Sequence[str]) -> list[str]:
    """A colour for each value: along the ramp if all values are numbers, otherwise from the categories."""
    if all(map(is_number, values)):
        last = max(len(values) - 1, 1)
        return [RAMP[round(i * (len(RAMP) - 1) / last)] for i in range(len(values))]
    return [CATEGORIES[i % len(CATEGORIES)] for i in range(len(values))]


def _few(values: Sequence[T]) -> list[T]:
    """At most as many entries as a legend has room for, with the first and the last."""
    if len(values) <= MOST_COLOURS:
        return list(values)
    last = MOST_COLOURS - 1
    return [values[round(i * (len(values) - 1) / last)] for i in range(MOST_COLOURS)]


class Drawn(NamedTuple):
    """A figure that has been drawn: panels that show one thing, with one legend."""

    name: str  # a word for links
    title: str  # what is shown
    caption: str  # how to read it
    panels: tuple[Panel, ...]  # the SVG of every panel
    legend: Legend = ()  # colour and text of every entry


class Sketch(NamedTuple):
    """A figure before it is drawn: the fields of `Drawn`, and of each panel what `svg.panel` takes."""

    name: str
    title: str
    caption: str
    panels: tuple[Asked, ...]
    legend: Legend = ()

    def drawn(self, panels: Iterable[Panel] | None = None) -> Drawn:
        """The figure with its panels; they are drawn now, if they are not given."""
        made = (panel(*asked) for asked in self.panels) if panels is None else panels
        return Drawn(self.name, self.title, self.caption, tuple(made), self.legend)


class Figure(ABC, Generic[T]):
    """One figure of a study; T is the data of one panel."""

    name: ClassVar[str]  # a word for links
    title: ClassVar[str]  # what is shown

    @abstractmethod
    def panels(self, table: Table, facets: Facets) -> Sequence[tuple[str, T]]:
        """Title and data of every panel; empty if the table has no numbers for this figure."""

    @abstractmethod
    def caption(self, panels: Sequence[T]) -> str:
        """How to read the panels."""

    @abstractmethod
    def plot(self, axes: Axes, panel: T) -> None:
        """Plots the data of one panel."""

    def legend(self, facets: Facets, panels: Sequence[T]) -> Legend:
        """Colour and text of every entry; by default there is no legend."""
        return ()

    def sketch(self, table: Table, facets: Facets) -> Sketch | None:
        """The figure before it is drawn; None if the table has no numbers for it."""
        found = self.panels(table, facets)
        if not found:
            return None
        data = [each for _, each in found]
        panels = tuple(Asked(self.title, title, partial(self.plot, panel=each)) for title, each in found)
        return Sketch(self.name, self.title, self.caption(data), panels, self.legend(facets, data))

    def draw(self, table: Table, facets: Facets) -> Drawn | None:
        """The figure, None if the table has no numbers for it."""
        sketch = self.sketch(table, facets)
        return None if sketch is None else sketch.drawn()


class FacetFigure(Figure[Facet]):
    """A figure with a panel for every facet that has rows to show; the legend says which colour is which row."""

    @abstractmethod
    def has(self, row: Row) -> bool:
        """Whether the row has numbers for this figure."""

    def panels(self, table: Table, facets: Facets) -> Sequence[tuple[str, Facet]]:
        return [(facet.title, facet) for facet in facets.keep(self.has)]

    def legend(self, facets: Facets, panels: Sequence[Facet]) -> Legend:
        return facets.legend(panels)


class Lines(NamedTuple):
    """The rows of a facet, and the line of each: the mean over seeds with its interval."""

    facet: Facet
    bands: tuple[Band, ...]


def lines(facets: Facets, band: Callable[[Row], Band], fewest: int = 1) -> list[Lines]:
    """The lines of every facet, without the rows whose line has fewer points."""
    kept = facets.keep(lambda row: len(band(row).x) >= fewest)
    return [Lines(facet, tuple(band(series.row) for series in facet.series)) for facet in kept]


class LinesFigure(Figure[Lines]):
    """A figure with one line a row."""

    def marker(self, band: Band) -> str:
        """Matplotlib's name of the mark at every point; empty for none."""
        return ""

    def legend(self, facets: Facets, panels: Sequence[Lines]) -> Legend:
        return facets.legend([p.facet for p in panels])

    def plot(self, axes: Axes, panel: Lines) -> None:
        for series, band in zip(panel.facet.series, panel.bands, strict=True):
            plot_band(axes, band, series.colour, self.marker(band), series.name)


class LineFigure(LinesFigure):
    """A figure with a panel for every facet."""

    @abstractmethod
    def band(self, row: Row) -> Band:
        """The line of a row; without points if the row has no numbers for this figure."""

    def panels(self, table: Table, facets: Facets) -> Sequence[tuple[str, Lines]]:
        return [(found.facet.title, found) for found in lines(facets, self.band)]
