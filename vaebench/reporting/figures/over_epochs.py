"""Numbers over the epochs of training, where a study asks for that."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from vaebench.records.record import Record
from vaebench.reporting.figures.base import Figure
from vaebench.reporting.figures.chosen import Kind, chosen, joined, terms
from vaebench.reporting.figures.facets import Facet, Facets, Legend
from vaebench.reporting.figures.plotting import Band, band, limit_after_warm_up, plot_band
from vaebench.reporting.tables.quantities import Quantity
from vaebench.reporting.tables.rows import Row, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDE = 100.0
"""The ratio of the largest to the smallest value from which on a positive curve is drawn on a logarithmic axis."""


class EpochsPanel(NamedTuple):
    """A facet, and the terms of what is drawn: columns of the curve, and numbers of the trained run."""

    facet: Facet
    terms: list[tuple[int, str]]
    heading: str


class OverEpochs(Figure[EpochsPanel]):
    """A column of the curve, or a sum of columns and of numbers of the trained run, over epochs."""

    name, title = "over-epochs", "The answer over training"

    def panels(self, table: Table, facets: Facets) -> Sequence[tuple[str, EpochsPanel]]:
        asked = chosen(table)
        if asked is None or asked.kind is not Kind.EPOCHS:
            return []
        found = []
        for text, title in asked.y:
            parts = terms(text)
            heading = title or joined([(sign, _heading(table, name)) for sign, name in parts])
            for facet in facets.keep(lambda row, parts=parts: len(_band(row, parts).x) > 1):  # type: ignore[misc]
                found.append((", ".join(filter(None, [heading, facet.title])), EpochsPanel(facet, parts, heading)))
        return found

    def caption(self, panels: Sequence[EpochsPanel]) -> str:
        return "Over the epochs of training: mean over seeds, and its 95 % interval where there are several."

    def legend(self, facets: Facets, panels: Sequence[EpochsPanel]) -> Legend:
        return facets.legend([p.facet for p in panels])

    def plot(self, axes: "Axes", panel: EpochsPanel) -> None:
        lines = [(_band(s.row, panel.terms), s) for s in panel.facet.series]
        for line, series in lines:
            plot_band(axes, line, series.colour, name=series.name)
        lowest, highest = min(min(line.low) for line, _ in lines), max(max(line.high) for line, _ in lines)
        if 0 < lowest * WIDE < highest:
            axes.set_yscale("log")
        else:
            limit_after_warm_up(axes, [line for line, _ in lines])
        axes.set_xlabel("epoch")
        axes.set_ylabel("nats")


def _heading(table: Table, name: str) -> str:
    runs = [record for row in table.rows for record in row.group.done]
    described = next((record.description(name) for record in runs), None)
    return Quantity(name, described).heading if described else name


def _band(row: Row, parts: Sequence[tuple[int, str]]) -> Band:
    return band([_curve(record, parts) for record in row.group.done])


def _curve(record: Record, parts: Sequence[tuple[int, str]]) -> list[tuple[float, float]]:
    """The sum at every epoch at which the run has all of its terms; empty if the run lacks one."""
    epochs = record.curve.get("epoch", [])
    columns = [(sign, record.curve.get(name) or _constant(record, name, len(epochs))) for sign, name in parts]
    rows = zip(epochs, *(column for _, column in columns), strict=False)
    return [
        (float(epoch), float(sum(sign * value for (sign, _), value in zip(columns, values, strict=True))))
        for epoch, *values in rows
        if epoch is not None and all(value is not None for value in values)
    ]


def _constant(record: Record, name: str, n: int) -> list[float]:
    """A number of the trained run, at each of n epochs; empty if the run has no such number."""
    estimate = record.estimate(name)
    return [] if estimate is None or isinstance(estimate.value, list) else [float(estimate.value)] * n
