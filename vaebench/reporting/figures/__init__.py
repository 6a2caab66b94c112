"""The figures of a study, each drawn by one class: the page embeds them, and W&B shows the same ones.

Importing a figure does not import matplotlib. Only drawing does.
"""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from vaebench.reporting.figures.base import Drawn, Facets, Figure, Sketch
from vaebench.reporting.figures.headline import Headline, Rows
from vaebench.reporting.figures.lines import (
    Altered,
    Bounds,
    CollapsedUnits,
    Curves,
    OverEpochs,
    UnitsByBeta,
    UnitsByRank,
)
from vaebench.reporting.figures.planes import Ceiling, Forecast, Phase, Plane, RateDistortion
from vaebench.reporting.figures.side_by_side import panels
from vaebench.reporting.tables.table import Table

FIGURES: tuple[Figure[Any], ...] = (
    *(Plane(), OverEpochs(), Headline(), Rows(), Altered(), Phase(), Forecast(), Ceiling(), RateDistortion(), Bounds()),
    *(UnitsByBeta(), UnitsByRank(), CollapsedUnits(), Curves()),
)
"""In the order of the page."""


def draw(table: Table) -> list[Drawn]:
    """Every figure for which the table has numbers."""
    sketches = list(_sketched(table))
    made = iter(panels([asked for sketch in sketches for asked in sketch.asked]))
    return [sketch.drawn(islice(made, len(sketch.asked))) for sketch in sketches]


def first(table: Table) -> Drawn | None:
    """The figure that comes first on the page, if there is one; the others are not drawn."""
    return next((sketch.drawn() for sketch in _sketched(table)), None)


def _sketched(table: Table) -> Iterator[Sketch]:
    facets = Facets.of(table)
    return (sketch for figure in FIGURES if (sketch := figure.sketch(table, facets)) is not None)
