"""What all figures share: a class says which panels there are and how one panel is plotted."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Generic, NamedTuple, TypeVar

from vaebench.reporting.figures.facets import Facet, Facets, Legend
from vaebench.reporting.figures.plotting import Band, plot_band
from vaebench.reporting.figures.svg import Panel, panel
from vaebench.reporting.tables.rows import Row, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

T = TypeVar("T")


class Drawn(NamedTuple):
    """A figure that has been drawn: panels that show one thing, with one legend.

    Attributes:
        name: a word for links.
        title: what is shown.
        caption: how to read it.
        panels: the SVG of every panel.
        legend: colour and text of every entry.
    """

    name: str
    title: str
    caption: str
    panels: tuple[Panel, ...]
    legend: Legend = ()


class Figure(ABC, Generic[T]):
    """One figure of a study; T is the data of one panel.

    Attributes:
        name: a word for links.
        title: what is shown.
    """

    name: ClassVar[str]
    title: ClassVar[str]

    @abstractmethod
    def panels(self, table: Table, facets: Facets) -> Sequence[tuple[str, T]]:
        """Title and data of every panel; empty if the table has no numbers for this figure."""

    @abstractmethod
    def caption(self, panels: Sequence[T]) -> str:
        """How to read the panels."""

    @abstractmethod
    def plot(self, axes: "Axes", panel: T) -> None:
        """Plots the data of one panel."""

    def legend(self, facets: Facets, panels: Sequence[T]) -> Legend:
        """Colour and text of every entry; by default there is no legend."""
        return ()

    def draw(self, table: Table, facets: Facets) -> Drawn | None:
        """The figure, None if the table has no numbers for it."""
        found = self.panels(table, facets)
        if not found:
            return None
        data = [each for _, each in found]
        drawn = tuple(panel(self.title, title, partial(self.plot, panel=each)) for title, each in found)
        return Drawn(self.name, self.title, self.caption(data), drawn, self.legend(facets, data))


class FacetFigure(Figure[Facet]):
    """A figure with a panel for every facet that has rows to show; the legend says which colour is which row."""

    @abstractmethod
    def has(self, row: Row) -> bool:
        """Whether the row has numbers for this figure."""

    def panels(self, table: Table, facets: Facets) -> Sequence[tuple[str, Facet]]:
        return [(facet.title, facet) for facet in facets.keep(self.has)]

    def legend(self, facets: Facets, panels: Sequence[Facet]) -> Legend:
        return facets.legend(panels)


class LineFigure(FacetFigure):
    """A figure with one line a row: the mean over seeds with its interval."""

    @abstractmethod
    def band(self, row: Row) -> Band:
        """The line of a row; without points if the row has no numbers for this figure."""

    def marker(self, band: Band) -> str:
        """Matplotlib's name of the mark at every point; empty for none."""
        return ""

    def has(self, row: Row) -> bool:
        return bool(self.band(row).x)

    def plot(self, axes: "Axes", panel: Facet) -> None:
        for series in panel.series:
            band = self.band(series.row)
            plot_band(axes, band, series.colour, self.marker(band), series.name)
