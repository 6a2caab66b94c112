"""One measured number against another, where a study asks for that."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from vaebench.reporting.figures.base import Figure
from vaebench.reporting.figures.chosen import Kind, chosen
from vaebench.reporting.figures.facets import MOST_COLOURS, Facets, Legend, colours, measured_on
from vaebench.reporting.figures.plotting import few_ticks
from vaebench.reporting.figures.svg import variable
from vaebench.reporting.tables.labels import brief, is_number
from vaebench.reporting.tables.quantities import Quantity
from vaebench.reporting.tables.rows import Row, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class PlanePanel(NamedTuple):
    """Two numbers, and the rows that have both, each with its name and its colour."""

    x: Quantity
    y: Quantity
    rows: list[tuple[str, str, Row]]


class Plane(Figure[PlanePanel]):
    """A mark a row: means over seeds, with the interval of both numbers."""

    name, title = "pair", "The answer in two numbers"

    def panels(self, table: Table, facets: Facets) -> Sequence[tuple[str, PlanePanel]]:
        asked = chosen(table)
        if asked is None or asked.kind is not Kind.QUANTITY or asked.x is None:
            return []
        names = list(dict.fromkeys(_name(table, row, asked.series) for row in table.rows))
        if len(names) > MOST_COLOURS:
            return []
        coloured = dict(zip(names, colours([name.rpartition(" ")[2] for name in names]), strict=True))
        found = []
        for block in table.blocks:
            named = [(_name(table, row, asked.series), row) for row in block.rows]
            for y in asked.numbers:
                rows = [(n, coloured[n], r) for n, r in named if r.group.values(y) and r.group.values(asked.x)]
                if len(rows) > 1:
                    found.append((", ".join([y.heading, *measured_on(table, block)]), PlanePanel(asked.x, y, rows)))
        return found

    def caption(self, panels: Sequence[PlanePanel]) -> str:
        return f"A mark a row, over {panels[0].x.heading}: means over seeds, with the 95 % interval of both numbers."

    def legend(self, facets: Facets, panels: Sequence[PlanePanel]) -> Legend:
        return tuple({name: (variable(colour), name) for p in panels for name, colour, _ in p.rows}.values())

    def plot(self, axes: "Axes", panel: PlanePanel) -> None:
        for _, colour, row in panel.rows:
            x, y = (row.group.cell(each).interval for each in (panel.x, panel.y))
            assert x is not None
            assert y is not None
            axes.errorbar(
                [x.mean], [y.mean], [y.half_width or 0.0], [x.half_width or 0.0], "o", color=colour, elinewidth=0.8
            )
        few_ticks(axes)
        axes.set_xlabel(panel.x.heading)
        axes.set_ylabel(panel.y.heading)


def _name(table: Table, row: Row, series: int | None) -> str:
    """What has a colour: the row's label in the series, or all its labels."""
    columns = range(len(table.headings)) if series is None else [series]
    pairs = [(table.headings[i], row.labels[i]) for i in columns]
    return ", ".join(f"{heading} {label}" if is_number(label) else brief(label) for heading, label in pairs)
