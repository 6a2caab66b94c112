"""What all figures share: which rows share a panel and a colour, lines over seeds with their intervals, and sketches.

The last axis with few values has the colours, and the first other one has the panels: in a grid of models × σ² × β, β
has the colours and the models have the panels. Rows that differ in the remaining axes (σ²) share a colour. Rows that
cannot be compared never share a panel.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from vaebench.reporting.figures.svg import ACCENT, CATEGORIES, GROUND, INK, RAMP, Asked, Axes, Panel, panel, variable
from vaebench.reporting.tables.intervals import t_interval
from vaebench.reporting.tables.labels import brief, is_number, natural
from vaebench.reporting.tables.layout import comparability
from vaebench.reporting.tables.quantities import MARK, Quantity, rests
from vaebench.reporting.tables.table import Block, Group, Row, Table

if TYPE_CHECKING:
    from matplotlib.axis import Axis

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
        facets = []
        for block in table.blocks:
            for name, members in _split(block, split):
                title = filter(None, [labelled(table.headings[split or 0], name), *measured_on(table, block)])
                series = tuple(Series(r, coloured[r.labels[hue or 0]], brief(r.labels[hue or 0])) for r in members)
                facets.append(Facet(", ".join(title), series))
        return cls(tuple(facets), {labelled(table.headings[hue or 0], v): c for v, c in coloured.items()})

    def legend(self, facets: Sequence[Facet]) -> Legend:
        """The legend of some facets; empty if the study has only one colour."""
        shown = {series.colour for facet in facets for series in facet.series}
        if len(set(self.colours.values())) == 1:
            return ()
        entries = [(variable(c), text) for text, c in self.colours.items() if c in shown]
        return tuple(evenly(entries, MOST_COLOURS) if shown <= set(RAMP) else entries)

    def keep(self, has: Callable[[Row], bool]) -> list[Facet]:
        """The facets without the rows that have nothing to show, and without the facets that are then empty."""
        kept = [Facet(f.title, tuple(s for s in f.series if has(s.row))) for f in self.all]
        return [f for f in kept if f.series]


def measured_on(table: Table, block: Block) -> list[str]:
    """What distinguishes the data and measure of a block from those of the others; empty if no other has numbers."""
    return [comparability(table, block)] if len(table.measured) > 1 else []


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
    """A colour for each value: along the ramp if all values are numbers, otherwise from the categories.

    More words than there are categories have one colour, since two of the same colour would be taken for one.
    """
    if all(map(is_number, values)):
        last = max(len(values) - 1, 1)
        return [RAMP[round(i * (len(RAMP) - 1) / last)] for i in range(len(values))]
    return list(CATEGORIES[: len(values)]) if len(values) <= len(CATEGORIES) else [ACCENT] * len(values)


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


def shared(lines: Iterable[Sequence[tuple[float, float]]]) -> list[list[tuple[float, float]]]:
    """Lines of (x, y) at every x that all of them have. A line without a point does not count.

    So their mean is one of the same runs everywhere, although some stopped early.

    >>> shared([[(1.0, 2.0)], [(1.0, 4.0), (2.0, 5.0)], []])
    [[(1.0, 2.0)], [(1.0, 4.0)]]
    """
    there = [line for line in lines if line]
    everywhere = set.intersection(*({x for x, _ in line} for line in there)) if there else set()
    return [[(x, y) for x, y in line if x in everywhere] for line in there]


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
            plot_mark(axes, x, y, colour)


def plot_mark(axes: Axes, x: float, y: float, colour: str) -> None:
    """Plots an open disc and the mark at one point."""
    axes.plot(x, y, "o", markerfacecolor=GROUND, markeredgecolor=colour, markeredgewidth=1.2)
    axes.annotate(MARK, (x, y), (3, 3), textcoords="offset points", color=INK)


def doubt(shown: Iterable[tuple[Row, Quantity]]) -> str:
    """What a caption says of the marked numbers of a figure, after a space; empty where none is marked."""
    marked = [(q.heading, q.description.bias) for row, q in shown if row.group.cell(q).caution is not None]
    return f" An open disc with {rests(marked)}" if marked else ""


def limit_after_warm_up(axes: Axes, lines: Sequence[Band]) -> None:
    """Sets the vertical limits without the first epochs, whose values would flatten all others."""
    last = max((line.x[-1] for line in lines), default=0.0)
    rest = [(a, b) for line in lines for x, a, b in zip(line.x, line.low, line.high, strict=True) if x > WARM_UP * last]
    if rest:
        low, high = min(a for a, _ in rest), max(b for _, b in rest)
        margin = 0.04 * (high - low) or 0.5
        axes.set_ylim(low - margin, high + margin)


def limit_to_prior(axes: Axes) -> None:
    """Makes −1 to 1, the scale of a prior, part of both axes, so that collapsed codes look collapsed."""
    for low, high, limit in ((*axes.get_xlim(), axes.set_xlim), (*axes.get_ylim(), axes.set_ylim)):
        limit(min(low, -1.1), max(high, 1.1))
    few_ticks(axes)


def whole_ticks(*axes: "Axis") -> None:
    """Puts ticks at whole numbers, for counts."""
    from matplotlib.ticker import MaxNLocator

    for axis in axes:
        axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def whole_epochs(axes: Axes) -> None:
    """Puts the ticks of a horizontal axis of epochs at whole ones, as many as matplotlib does for any number."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True, min_n_ticks=1))


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
    """A figure before it is drawn: all but its name and its panels, and of each panel what `svg.panel` takes."""

    title: str
    caption: str
    legend: Legend
    asked: tuple[Asked, ...]

    def drawn(self, name: str, panels: Iterable[Panel] | None = None) -> Drawn:
        """The figure with its panels; they are drawn now, if they are not given."""
        made = (panel(*asked) for asked in self.asked) if panels is None else panels
        return Drawn(name, self.title, self.caption, self.legend, tuple(made))


def sketch(
    title: str,
    panels: Sequence[tuple[str, T]],
    plot: Callable[[Axes, T], None],
    caption: str,
    legend: Legend = (),
    labels: tuple[str, str] = ("", ""),
) -> Sketch | None:
    """A figure before it is drawn; None if there is no panel.

    Args:
        title: what is shown.
        panels: title and data of every panel.
        plot: plots the data of one panel.
        caption: how to read the panels.
        labels: of the horizontal and the vertical axis; empty where `plot` writes them.
    """

    def plot_labelled(axes: Axes, data: T) -> None:
        plot(axes, data)
        axes.set(**{key: label for key, label in zip(("xlabel", "ylabel"), labels, strict=True) if label})

    asked = tuple(Asked(title, each, partial(plot_labelled, data=data)) for each, data in panels)
    return Sketch(title, caption, legend, asked) if asked else None


class Lines(NamedTuple):
    """The rows of a facet, and the line of each: the mean over seeds with its interval."""

    facet: Facet
    bands: tuple[Band, ...]
    numbers: Sequence[Quantity] = ()  # of the trained runs, which are part of every point


def lines(
    facets: Facets,
    band: Callable[[Row], Band],
    heading: str = "",
    fewest: int = 1,
    numbers: Sequence[Quantity] = (),
) -> list[tuple[str, Lines]]:
    """Title and lines of every facet, without the rows whose line has fewer points."""
    return [
        (", ".join(filter(None, [heading, f.title])), Lines(f, tuple(band(s.row) for s in f.series), numbers))
        for f in facets.keep(lambda row: len(band(row).x) >= fewest)
    ]


def sketch_lines(
    title: str,
    panels: Sequence[tuple[str, Lines]],
    facets: Facets,
    caption: str,
    labels: tuple[str, str],
    finish: Callable[[Axes, Lines], None],
    marked: float = 0,
) -> Sketch | None:
    """A figure with one line a row, before it is drawn; see `sketch`.

    Args:
        finish: what is done to a panel after its lines are plotted.
        marked: a line of at most so many points has a mark at each.
    """

    def plot(axes: Axes, panel: Lines) -> None:
        for series, line in zip(panel.facet.series, panel.bands, strict=True):
            plot_band(axes, line, series.colour, "o" if len(line.x) <= marked else "", series.name)
            if doubt((series.row, number) for number in panel.numbers):
                plot_doubtful(axes, line, line.x[-1:], series.colour)
        finish(axes, panel)

    caption += doubt((s.row, number) for _, p in panels for s in p.facet.series for number in p.numbers)
    return sketch(title, panels, plot, caption, facets.legend([p.facet for _, p in panels]), labels)
