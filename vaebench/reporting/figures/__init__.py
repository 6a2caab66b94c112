"""The figures of a study, each made by one function: the page embeds them, and W&B shows the same ones.

Importing a figure does not import matplotlib. Only drawing does.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import islice

from vaebench.reporting.figures import headline, lines, planes
from vaebench.reporting.figures.base import Drawn, Facets, Sketch
from vaebench.reporting.figures.side_by_side import panels
from vaebench.reporting.tables.table import Table

FIGURES: Mapping[str, Callable[[Table, Facets], Sketch | None]] = {
    "pair": planes.pair,
    "over-epochs": lines.over_epochs,
    "headline": headline.main_numbers,
    "rows": headline.number_rows,
    "altered": lines.altered,
    "phase": planes.phase,
    "forecast": planes.forecast,
    "ceiling": planes.ceiling,
    "plane": planes.rate_distortion,
    "bounds": lines.bounds,
    "units-by-beta": lines.units_by_beta,
    "units": lines.units_by_rank,
    "collapse": lines.collapsed_units,
    "curves": lines.curves,
}
"""Each by its name, which is a word for links, in the order of the page; None if the table has no numbers for it."""


def draw(table: Table) -> list[Drawn]:
    """Every figure for which the table has numbers."""
    sketches = dict(_sketched(table))
    made = iter(panels([asked for sketch in sketches.values() for asked in sketch.asked]))
    return [sketch.drawn(name, islice(made, len(sketch.asked))) for name, sketch in sketches.items()]


def first(table: Table) -> Drawn | None:
    """The figure that comes first on the page, if there is one; the others are not drawn."""
    return next((sketch.drawn(name) for name, sketch in _sketched(table)), None)


def _sketched(table: Table) -> Iterator[tuple[str, Sketch]]:
    facets = Facets.of(table)
    return ((name, made) for name, figure in FIGURES.items() if (made := figure(table, facets)) is not None)
