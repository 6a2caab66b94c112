"""What all figures share: which rows share a panel and a colour, lines over seeds with their intervals, and the classes
of figures.

The last axis with few values has the colours, and the first other one has the panels: in a grid of models × σ² × β, β
has the colours and the models have the panels. Rows that differ in the remaining axes (σ²) share a colour. Rows that
cannot be compared never share a panel.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Generic, NamedTuple, TypeVar

from vaebench.records.record import Record
from vaebench.reporting.figures.svg import CATEGORIES, GROUND, INK, RAMP, Asked, Axes, Panel, panel, variable
from vaebench.reporting.tables.intervals import t_interval
from vaebench.reporting.tables.labels import brief, is_number, natural
from vaebench.reporting.tables.layout import comparability
from vaebench.reporting.tables.quantities import MARK
from vaebench.reporting.tables.table import Block, Group, Row, Table

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
        return tuple(evenly(entries, MOST_COLOURS)) if len(entries) > 1 or len(self.colours) > len(entries) else ()

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


def evenly(values: Sequence[T], most: int) -> list[T]:
    """At most so many of the values, at equal distances, with the first and the last.

    >>> evenly(range(9), 3)
    [0, 4, 8]
    """
    if len(values) <= most:
        return list(values)
    return [values[round(i * (len(values) - 1) / (most - 1))] for i in range(most)]


MOST_POINTS = 100  # points of a line; the eye cannot separate more
WARM_UP = 0.05  # the first part of training whose values may lie outside the panel
MOST_TICKS = 6  # tick labels below an axis that never touch
LONG_TICK = 5  # characters of a label at a tick; where one is longer, there is one tick less


class Band(NamedTuple):
    """A line over seeds: x, the mean, and the mean ∓ the interval's half-width (the mean itself for one seed)."""

    x: list[float]
    mean: list[float]
    low: list[float]
    high: list[float]


def band(lines: Sequence[Sequence[tuple[float, float]]]) -> Band:
    """Mean and interval of several lines of (x, y), at every x that at least one line has.

    >>> band([[(1.0, 2.0)], [(1.0, 2.0), (2.0, 5.0)]])
    Band(x=[1.0, 2.0], mean=[2.0, 5.0], low=[2.0, 5.0], high=[2.0, 5.0])
    """
    at: dict[float, list[float]] = {}
    for line in lines:
        for x, y in line:
            at.setdefault(x, []).append(y)
    intervals = {x: t_interval(at[x]) for x in evenly(sorted(at), MOST_POINTS)}
    return Band(
        list(intervals),
        [i.mean for i in intervals.values()],
        [i.mean - (i.half_width or 0) for i in intervals.values()],
        [i.mean + (i.half_width or 0) for i in intervals.values()],
    )


def means(groups: Iterable[Group]) -> str:
    """What a mark of these rows is, for a caption."""
    several = any(len(group.done) > 1 for group in groups)
    return "mean over seeds and its 95 % interval" if several else "one seed each, so no interval"


def within(line: Band, low: float = -math.inf, high: float = math.inf) -> Band:
    """The line with its interval cut to the values that are possible.

    >>> within(Band([1.0], [0.5], [-0.5], [1.5]), 0.0, 1.0)
    Band(x=[1.0], mean=[0.5], low=[0.0], high=[1.0])
    """
    return line._replace(low=[max(y, low) for y in line.low], high=[min(y, high) for y in line.high])


def over_ranks(group: Group, name: str) -> Band:
    """An array of the runs, sorted in each run from the largest value, over the rank counted from one."""
    arrays = [sorted(array(record, name), reverse=True) for record in group.done]
    return band([[(float(i), y) for i, y in enumerate(a, 1)] for a in arrays])


def over_array(group: Group, name: str, along: str) -> Band:
    """An array of the runs over another array of theirs."""
    pairs = [(array(record, along), array(record, name)) for record in group.done]
    return band([list(zip(x, y, strict=True)) for x, y in pairs if len(x) == len(y)])


def array(record: Record, name: str) -> list[float]:
    """An array of a record; empty if the record has none, or if not every value is finite."""
    estimate = record.estimate(name)
    values = estimate.value if estimate is not None and isinstance(estimate.value, list) else []
    return values if all(map(math.isfinite, values)) else []


def plot_band(axes: Axes, line: Band, colour: str, marker: str = "", name: str = "") -> None:
    """Plots a line, and the interval around it; a name stands at its end if all lines of the panel have one."""
    axes.plot(line.x, line.mean, color=colour, marker=marker, label=name or "_nameless")
    if line.low != line.high:
        axes.fill(
            [*line.x, *reversed(line.x)], [*line.low, *reversed(line.high)], color=colour, alpha=0.18, linewidth=0
        )


def plot_doubtful(axes: Axes, line: Band, places: Sequence[float], colour: str) -> None:
    """Plots an open disc and the mark at the points that rest on collapsed weights."""
    for x, y in zip(line.x, line.mean, strict=True):
        if x in places:
            axes.plot(x, y, "o", markerfacecolor=GROUND, markeredgecolor=colour, markeredgewidth=1.2)
            axes.annotate(MARK, (x, y), (3, 3), textcoords="offset points", color=INK)


def limit_after_warm_up(axes: Axes, lines: Sequence[Band]) -> None:
    """Sets the vertical limits without the first epochs, whose values would flatten all others."""
    last = max((line.x[-1] for line in lines), default=0.0)
    rest = [(a, b) for line in lines for x, a, b in zip(line.x, line.low, line.high, strict=True) if x > WARM_UP * last]
    if rest:
        low, high = min(a for a, _ in rest), max(b for _, b in rest)
        margin = 0.04 * (high - low) or 0.5
        axes.set_ylim(low - margin, high + margin)


def limit_to_zero(axes: Axes) -> None:
    """Makes zero part of the vertical axis."""
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))


def limit_to_prior(axes: Axes) -> None:
    """Makes −1 to 1, the scale of a prior, part of both axes, so that collapsed codes look collapsed."""
    for low, high, limit in ((*axes.get_xlim(), axes.set_xlim), (*axes.get_ylim(), axes.set_ylim)):
        limit(min(low, -1.1), max(high, 1.1))
    few_ticks(axes)


def whole_ticks(axes: Axes, *, x: bool = False, y: bool = False) -> None:
    """Puts ticks at whole numbers, for counts."""
    from matplotlib.ticker import MaxNLocator

    for wanted, axis in ((x, axes.xaxis), (y, axes.yaxis)):
        if wanted:
            axis.set_major_locator(MaxNLocator(integer=True))


def few_ticks(axes: Axes, most: int = MOST_TICKS) -> None:
    """Puts as many ticks on the horizontal axis as have room for any label."""
    from matplotlib.ticker import MaxNLocator

    locator = MaxNLocator(most)
    if max(len(f"{value:.6g}") for value in locator.tick_values(*axes.get_xlim())) > LONG_TICK:
        locator = MaxNLocator(most - 1)
    axes.xaxis.set_major_locator(locator)


class Drawn(NamedTuple):
    """A figure that has been drawn: panels that show one thing, with one legend."""

    name: str  # a word for links
    title: str  # what is shown
    caption: str  # how to read it
    legend: Legend = ()  # colour and text of every entry
    panels: tuple[Panel, ...] = ()  # the SVG of every panel


class Sketch(NamedTuple):
    """A figure before it is drawn: all but its panels, and of each panel what `svg.panel` takes."""

    figure: Drawn
    asked: tuple[Asked, ...]

    def drawn(self, panels: Iterable[Panel] | None = None) -> Drawn:
        """The figure with its panels; they are drawn now, if they are not given."""
        made = (panel(*asked) for asked in self.asked) if panels is None else panels
        return self.figure._replace(panels=tuple(made))


class Figure(ABC, Generic[T]):
    """One figure of a study; T is the data of one panel."""

    name: ClassVar[str]  # a word for links
    title: ClassVar[str]  # what is shown
    labels: ClassVar[tuple[str, str]] = "", ""  # of the horizontal and the vertical axis; empty if `plot` writes them
    how: ClassVar[str] = ""  # how to read the panels

    @abstractmethod
    def panels(self, table: Table, facets: Facets) -> Sequence[tuple[str, T]]:
        """Title and data of every panel; empty if the table has no numbers for this figure."""

    @abstractmethod
    def plot(self, axes: Axes, panel: T) -> None:
        """Plots the data of one panel."""

    def caption(self, panels: Sequence[T]) -> str:
        """How to read these panels."""
        return self.how

    def legend(self, facets: Facets, panels: Sequence[T]) -> Legend:
        """Colour and text of every entry; by default there is no legend."""
        return ()

    def sketch(self, table: Table, facets: Facets) -> Sketch | None:
        """The figure before it is drawn; None if the table has no numbers for it."""
        found = self.panels(table, facets)
        if not found:
            return None
        data = [each for _, each in found]
        figure = Drawn(self.name, self.title, self.caption(data), self.legend(facets, data))
        return Sketch(figure, tuple(Asked(self.title, title, partial(self._plot, panel=each)) for title, each in found))

    def _plot(self, axes: Axes, panel: T) -> None:
        self.plot(axes, panel)
        axes.set(**{key: label for key, label in zip(("xlabel", "ylabel"), self.labels, strict=True) if label})


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
