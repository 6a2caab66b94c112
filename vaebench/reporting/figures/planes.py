"""One number against another: what a study asks for, rate against distortion (Alemi et al. 2018), runs and forecasts.

Before training, the data say how many units will be active, and where the ceiling of all VAEs is.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from vaebench.records.description import Role
from vaebench.records.record import BELOW, DEPTH, ONSET, Record
from vaebench.reporting.figures.base import (
    Facet,
    Facets,
    Sketch,
    coloured,
    doubt,
    few_ticks,
    labelled,
    measured_on,
    plot_mark,
    sketch,
    whole_ticks,
)
from vaebench.reporting.figures.headline import Kind, chosen
from vaebench.reporting.figures.svg import ACCENT, CATEGORIES, FAINT, INK, WARNING, Axes, panel, standalone, variable
from vaebench.reporting.tables.labels import brief, plain
from vaebench.reporting.tables.quantities import Quantity
from vaebench.reporting.tables.table import Row, Table


class PlanePanel(NamedTuple):
    """Two numbers, and the rows that have both, each with its name and its colour."""

    x: Quantity
    y: Quantity
    rows: list[tuple[str, str, Row]]


def pair(table: Table, facets: Facets) -> Sketch | None:
    """A mark a row: means over seeds, with the interval of both numbers."""
    asked = chosen(table)
    if asked is None or asked.kind is not Kind.QUANTITY or asked.x is None:
        return None
    colour = coloured(_name(table, row, asked.series) for row in table.rows)
    panels = []
    for block in table.blocks:
        named = [(_name(table, row, asked.series), row) for row in block.rows]
        for y in asked.numbers:
            rows = [(n, colour[n], r) for n, r in named if colour and r.group.values(y) and r.group.values(asked.x)]
            if len(rows) > 1:
                panels.append((", ".join([y.heading, *measured_on(table, block)]), PlanePanel(asked.x, y, rows)))
    caption = f"A mark a row, over {asked.x.heading}: means over seeds, with the 95 % interval of both numbers."
    caption += doubt((row, q) for _, p in panels for _, _, row in p.rows for q in (p.x, p.y))
    legend = {name: (variable(colour), name) for _, p in panels for name, colour, _ in p.rows}
    return sketch("The answer in two numbers", panels, _plot_pair, caption, tuple(legend.values()))


def _plot_pair(axes: Axes, panel: PlanePanel) -> None:
    for _, colour, row in panel.rows:
        x, y = (row.group.cell(each).interval for each in (panel.x, panel.y))
        assert x is not None
        assert y is not None
        axes.errorbar(
            [x.mean], [y.mean], [y.half_width or 0.0], [x.half_width or 0.0], "o", color=colour, elinewidth=0.8
        )
        if any(row.group.cell(each).caution is not None for each in (panel.x, panel.y)):
            plot_mark(axes, x.mean, y.mean, colour)
    few_ticks(axes)
    axes.set_xlabel(panel.x.heading)
    axes.set_ylabel(panel.y.heading)


def _name(table: Table, row: Row, series: int | None) -> str:
    """What has a colour: the row's label in the series, or all its labels."""
    columns = range(len(table.headings)) if series is None else [series]
    return ", ".join(labelled(table.headings[i], row.labels[i]) for i in columns)


def rate_distortion(table: Table, facets: Facets) -> Sketch | None:
    """A mark a run in the plane of rate and distortion."""

    def plot(axes: Axes, facet: Facet) -> None:
        for series in facet.series:
            x, y = zip(*_both(series.row, Role.RATE, Role.DISTORTION), strict=True)
            axes.plot(x, y, "o", color=series.colour, alpha=0.85, markeredgewidth=0)
        _plot_equal_elbo(axes)
        few_ticks(axes)

    shown = facets.keep(lambda row: bool(_both(row, Role.RATE, Role.DISTORTION)))
    caption = (
        "A mark a run, in nats per observation. Down and to the left is better; along a faint line the ELBO, "
        "−(rate + distortion), is the same."
    )
    panels, labels = [(facet.title, facet) for facet in shown], ("rate", "distortion")
    return sketch("Rate and distortion", panels, plot, caption, facets.legend(shown), labels)


def _both(row: Row, first: Role, second: Role) -> list[tuple[float, float]]:
    """The numbers of two roles, of every run that has both."""
    x, y = row.group.values_of(first), row.group.values_of(second)
    return [(x[seed], y[seed]) for seed in x if seed in y]


def _plot_equal_elbo(axes: Axes) -> None:
    """Plots lines of slope −1 across the panel, and leaves the limits as they are."""
    axes.grid(False)
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    for i in range(1, 8):
        total = left + bottom + (right - left + top - bottom) * i / 8  # rate + distortion along this line
        axes.plot([left, right], [total - left, total - right], color=FAINT, alpha=0.5, linewidth=0.6, zorder=0)
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, top)


PLANE = ("model.beta", "model.likelihood", "model.likelihood.variance")
"""The axes of a study that span the plane of σ² and β."""

FEWEST = 2  # values of σ², and of β, that make a map


def pairs(row: Row) -> list[tuple[float, float]]:
    """(forecast, active units) of every run that has both."""
    return _both(row, Role.FORECAST, Role.ACTIVE_UNITS)


def forecast(table: Table, facets: Facets) -> Sketch | None:
    """How many runs have how many active units, by forecast; without a legend, since all rows have one colour."""
    shown = facets.keep(lambda row: bool(pairs(row)))
    runs = [record for facet in shown for series in facet.series for record in series.row.group.done]
    notes = {str(note) for record in runs if (note := record.facts.get("forecast_note"))}
    caption = (
        "A disc a place, with the number of runs there; on the line the forecast min(L, #{λ_i > βσ²/0.99}) holds. "
        f"The forecast is {'; '.join(sorted(notes)) or 'the data spectrum’s'}."
    )
    panels, labels = [(facet.title, facet) for facet in shown], ("forecast", "active units")
    return sketch("Active units against the forecast", panels, _plot_forecast, caption, labels=labels)


def _plot_forecast(axes: Axes, facet: Facet) -> None:
    places = Counter(pair for series in facet.series for pair in pairs(series.row))
    top = max(max(place) for place in places)
    axes.plot([0, top], [0, top], color=FAINT, linewidth=1, zorder=0)
    for (x, y), count in sorted(places.items()):
        axes.plot(x, y, "o", markersize=13, color=ACCENT, alpha=0.28, markeredgewidth=0)
        axes.text(x, y, str(count), ha="center", va="center_baseline", color=INK)
    margin = max(top * 0.09, 0.6)
    axes.set_xlim(-margin, top + margin)
    axes.set_ylim(-margin, top + margin)
    whole_ticks(axes.xaxis, axes.yaxis)


class Place(NamedTuple):
    """One configuration in the plane: σ², β, the number of its units, and (forecast, active units) of every run.

    `onset` is the βσ² from which on total collapse is the optimum at any depth; None if the record does not have it.
    """

    variance: float
    beta: float
    units: int
    runs: list[tuple[float, float]]
    onset: float | None = None


def phase(table: Table, facets: Facets) -> Sketch | None:
    """The phase diagram: active units over σ² × β, where the study spans this plane."""
    others = [i for i, path in enumerate(table.axes) if path not in PLANE]
    planes: defaultdict[str, list[Place]] = defaultdict(list)
    for block in table.blocks:
        for row in block.rows:
            if (place := _place(row)) is not None:
                planes[", ".join([*(brief(row.labels[i]) for i in others), *measured_on(table, block)])].append(place)
    panels = [(title, places) for title, places in planes.items() if _is_plane(places)]
    caption = (
        "Active units, the stronger the colour the more; where a run differs from the forecast, the cell is framed "
        "and the forecast follows in brackets."
    )
    if onsets := sorted({p.onset for _, places in panels for p in places if p.onset is not None}):
        caption += (
            f" From βσ² = {' or '.join(f'{onset:.4g}' for onset in onsets)} on total collapse is the optimum at any "
            "depth; below it, a deep VAE without an active unit is not at its optimum."
        )
    return sketch("Active units over σ² × β", panels, _plot_phase, caption, labels=("β", "σ²"))


def _plot_phase(axes: Axes, places: list[Place]) -> None:
    variances, betas = sorted({p.variance for p in places}), sorted({p.beta for p in places})
    for place in places:
        _plot_place(axes, betas.index(place.beta), variances.index(place.variance), place)
    axes.set_xticks(range(len(betas)), labels=[plain(float(b)) for b in betas])
    axes.set_yticks(range(len(variances)), labels=[plain(float(v)) for v in variances])
    axes.set_xlim(-0.5, len(betas) - 0.5)
    axes.set_ylim(-0.5, len(variances) - 0.5)
    axes.grid(False)
    axes.tick_params(length=0)


def _place(row: Row) -> Place | None:
    """The place of a row; None if σ² was learned, or if a number is missing."""
    facts = row.group.done[0].facts if row.group.done else {}
    fixed = row.group.config["model"].get("likelihood") or {}
    if fixed.get("name") != "Gaussian" or "beta" not in facts or "variance" not in facts or not (found := pairs(row)):
        return None
    return Place(facts["variance"], facts["beta"], facts["latent_dim"], found, row.group.done[0].number(ONSET))


def _is_plane(places: list[Place]) -> bool:
    """Whether there are several σ² and several β, and at most one row for each pair."""
    cells = {(p.variance, p.beta) for p in places}
    return len(cells) == len(places) and min(len({c[i] for c in cells}) for i in (0, 1)) >= FEWEST


def _plot_place(axes: Axes, x: int, y: int, place: Place) -> None:
    """Plots a cell: its shade is the mean count, its text the smallest and the largest, with the forecast if needed."""
    from matplotlib.patches import Rectangle

    counts, forecast = sorted({active for _, active in place.runs}), place.runs[0][0]
    mean = sum(active for _, active in place.runs) / len(place.runs)
    differs = any(active != expected for expected, active in place.runs)
    corner, side = (x - 0.47, y - 0.47), 0.94
    axes.add_patch(Rectangle(corner, side, side, color=ACCENT, alpha=0.6 * mean / place.units, linewidth=0))
    if differs:
        axes.add_patch(Rectangle(corner, side, side, fill=False, edgecolor=WARNING, linewidth=1.4))
    text = "–".join(f"{count:g}" for count in dict.fromkeys((counts[0], counts[-1])))
    axes.text(x, y, f"{text} ({forecast:g})" if differs else text, ha="center", va="center", color=INK)


LEGEND = 112  # where the legend of the chart begins, in points: on the right, where the curves are low


class Point(NamedTuple):
    """One run: τ, and what it and the linear optimum lack, in units of F."""

    tau: float
    run: float
    linear: float
    onset: float


def ceiling(table: Table, facets: Facets) -> Sketch | None:
    """How far runs and the linear optimum are from the ceiling, over τ = βσ²."""

    def plot(axes: Axes, facet: Facet) -> None:
        points = [list(_points(series.row.group.done)) for series in facet.series]
        every = {point for each in points for point in each}
        axes.axhline(0, color=INK, linewidth=1)
        axes.plot(*zip(*sorted({(p.tau, p.linear) for p in every}), strict=True), color=FAINT, marker=".")
        for series, each in zip(facet.series, points, strict=True):
            axes.plot([p.tau for p in each], [p.run for p in each], "o", color=series.colour)
        for onset in {p.onset for p in every}:
            axes.axvline(onset, color=WARNING, linewidth=1, linestyle="--")
        axes.set_xscale("log")

    shown = facets.keep(lambda row: any(True for _ in _points(row.group.done)))
    caption = (
        "What a run (disc) and the optimum of a linear VAE with as many units (line) lack to the ceiling, which is "
        "zero: (ceiling − objective)/β on the training split, in nats. No decoder, prior or encoder is below zero. "
        "The height of the line is what depth can buy; the share of it below a disc is what this net did not buy. "
        "Right of the dashed line total collapse is the optimum at any depth."
    )
    panels, labels = [(facet.title, facet) for facet in shown], ("βσ²", "nats from the ceiling")
    title = "Nats from the ceiling of all VAEs over βσ²"
    return sketch(title, panels, plot, caption, facets.legend(shown), labels)


class Curve(NamedTuple):
    """What is known at one τ before training, in units of F."""

    tau: float
    collapsed: float
    linear: float
    ceiling: float


def chart(curves: Sequence[Curve], records: Iterable[Record], onset: float) -> str:
    """The forecast as an SVG file: what total collapse, the optimum of a linear VAE and runs lack to the ceiling.

    Args:
        records: of runs. Those without a ceiling have no disc.
        onset: the τ from which on total collapse is the optimum.
    """
    dots = [point for record in records for point in _points((record,))]
    lines = {"total collapse": (CATEGORIES[5], "collapsed"), "best linear VAE": (CATEGORIES[0], "linear")}

    def plot(axes: Axes) -> None:
        for colour, name in lines.values():
            heights = [getattr(c, name) - c.ceiling for c in curves]
            axes.plot([c.tau for c in curves], heights, color=colour, marker="." if name == "linear" else "")
        axes.axhline(0, color=INK, linewidth=1.4)
        axes.plot([p.tau for p in dots], [p.run for p in dots], "o", color=CATEGORIES[2], alpha=0.7)
        axes.axvline(onset, color=WARNING, linewidth=1, linestyle="--")
        axes.set_xscale("log")
        axes.set_ylim(top=1.7 * max([0.01, *(c.linear - c.ceiling for c in curves)]))
        axes.set_xlabel("βσ²")
        axes.set_ylabel("nats from the ceiling")

    legend = [(variable(colour), text) for text, (colour, _) in lines.items()]
    legend += [(variable(CATEGORIES[2]), "trained runs")] if dots else []
    legend += [(variable(FAINT), text) for text in ("0: the ceiling of all VAEs", "dashed: collapse is best beyond")]
    return standalone(panel("Nats from the ceiling of all VAEs", "", plot), legend, left=LEGEND)


def _points(records: Iterable[Record]) -> Iterator[Point]:
    """Of every run that has a σ², one for all pixels, and a ceiling."""
    for record in records:
        below, depth, onset = map(record.number, (BELOW, DEPTH, ONSET))
        beta, variance = record.facts.get("beta"), record.facts.get("variance")
        if below is None or depth is None or onset is None or not beta or not variance or _per_pixel(record):
            continue
        yield Point(beta * variance, below / beta, depth / beta, onset)


def _per_pixel(record: Record) -> bool:
    """Whether each pixel has its own σ². Then x is not in one unit, and τ = β."""
    likelihood = record.config.get("model", {}).get("likelihood")
    return isinstance(likelihood, dict) and bool(likelihood.get("per_pixel"))
