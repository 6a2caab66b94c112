"""Runs, the linear optimum and the ceiling of all VAEs over βσ²."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from vaebench.records.record import Record
from vaebench.reporting.figures.base import FacetFigure
from vaebench.reporting.figures.facets import Facet
from vaebench.reporting.figures.svg import CATEGORIES, FAINT, INK, WARNING, panel, standalone, variable
from vaebench.reporting.tables.rows import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BELOW, DEPTH, ONSET = "below_ceiling", "depth_can_buy", "collapse_onset"
"""The estimates that are drawn."""


LEGEND = 112
"""Where the legend of the chart begins, in points: on the right, where the curves are low."""


class Point(NamedTuple):
    """One run: τ, and what it and the linear optimum lack, in units of F."""

    tau: float
    run: float
    linear: float
    onset: float


class Ceiling(FacetFigure):
    """How far runs and the linear optimum are from the ceiling, over τ = βσ²."""

    name, title = "ceiling", "Nats from the ceiling of all VAEs over βσ²"

    def has(self, row: Row) -> bool:
        return any(True for _ in _points(row))

    def caption(self, panels: Sequence[Facet]) -> str:
        return (
            "What a run (disc) and the optimum of a linear VAE with as many units (line) lack to the ceiling, which is "
            "zero: (ceiling − objective)/β on the training split, in nats. No decoder, prior or encoder is below zero. "
            "The height of the line is what depth can buy; the share of it below a disc is what this net did not buy. "
            "Right of the dashed line total collapse is the optimum at any depth."
        )

    def plot(self, axes: "Axes", panel: Facet) -> None:
        all_points = {point for series in panel.series for point in _points(series.row)}
        line = sorted({(p.tau, p.linear) for p in all_points})
        axes.axhline(0, color=INK, linewidth=1)
        axes.plot([tau for tau, _ in line], [value for _, value in line], color=FAINT, marker=".")
        for series in panel.series:
            points = list(_points(series.row))
            axes.plot([p.tau for p in points], [p.run for p in points], "o", color=series.colour)
        for onset in {p.onset for p in all_points}:
            axes.axvline(onset, color=WARNING, linewidth=1, linestyle="--")
        axes.set_xscale("log")
        axes.set_xlabel("βσ²")
        axes.set_ylabel("nats from the ceiling")


class Curve(NamedTuple):
    """What is known at one τ before training, in units of F."""

    tau: float
    collapsed: float
    linear: float
    ceiling: float


def chart(curves: Sequence[Curve], records: Iterable[Record], onset: float) -> str:
    """The forecast as an SVG file: what total collapse, the optimum of a linear VAE and runs lack to the ceiling.

    Args:
        curves: by τ.
        records: of runs. Those without a ceiling have no disc.
        onset: the τ from which on total collapse is the optimum.
    """
    dots = [point for record in records for point in _points_of((record,))]
    lines = {"total collapse": (CATEGORIES[5], "collapsed"), "best linear VAE": (CATEGORIES[0], "linear")}

    def plot(axes: "Axes") -> None:
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


def _points(row: Row) -> Iterator[Point]:
    """Of every run of a row."""
    return _points_of(row.group.done)


def _points_of(records: Iterable[Record]) -> Iterator[Point]:
    """Of every run that has a σ², one for all pixels, and a ceiling."""
    for record in records:
        below, depth, onset = (_number(record, name) for name in (BELOW, DEPTH, ONSET))
        beta, variance = record.facts.get("beta"), record.facts.get("variance")
        if below is None or depth is None or onset is None or not beta or not variance or _per_pixel(record):
            continue
        yield Point(beta * variance, below / beta, depth / beta, onset)


def _number(record: Record, name: str) -> float | None:
    found = record.estimate(name)
    return found.value if found is not None and isinstance(found.value, float) else None


def _per_pixel(record: Record) -> bool:
    """Whether each pixel has its own σ². Then x is not in one unit, and τ = β."""
    likelihood = record.config.get("model", {}).get("likelihood")
    return isinstance(likelihood, dict) and bool(likelihood.get("per_pixel"))
