"""Runs, the linear optimum and the ceiling of all VAEs over βσ²."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from vaebench.records.record import Record
from vaebench.reporting.figures.base import FacetFigure
from vaebench.reporting.figures.facets import Facet
from vaebench.reporting.figures.svg import FAINT, INK, WARNING
from vaebench.reporting.tables.rankings import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BELOW, DEPTH, ONSET = "below_ceiling", "depth_can_buy", "collapse_onset"
"""The estimates that are drawn."""


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


def _points(row: Row) -> Iterator[Point]:
    """Of every run of a row that has a σ², one for all pixels, and a ceiling."""
    for record in row.group.done:
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
