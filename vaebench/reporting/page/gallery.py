"""The images of a study, inside its page: for each row, the run of its first seed."""

import base64
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from vaebench.records.images import Pictures, PicturesError, Pixels, find, png, read
from vaebench.records.record import Record, RecordError
from vaebench.records.run_folder import ARRAYS
from vaebench.reporting.figures.facets import Legend
from vaebench.reporting.figures.plotting import limit_to_prior
from vaebench.reporting.figures.svg import ACCENT, CATEGORIES, Panel, panel, variable
from vaebench.reporting.tables.labels import slug
from vaebench.reporting.tables.rankings import Row, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

log = logging.getLogger(__name__)

MOST, BYTES = 6, 400_000
"""At most so many rows, and about so many bytes in the page. Of more rows, some at equal distances are shown."""

LEAST_PIXELS = 28
"""Width on the screen, in pixels, to which a small image is enlarged."""


class Image(NamedTuple):
    """One sheet of images: its caption, its content as a `data:` address, its size on the screen, and its place.

    Attributes:
        first: whether it is seen at once, and not among the details.
    """

    caption: str
    address: str
    width: int
    height: int
    first: bool


class Item(NamedTuple):
    """The images of one row.

    Attributes:
        title: which run they are of.
        images: the sheets.
        codes: posterior means of observations; None if the latent space has only one unit.
        note: what the codes are, or why nothing is shown.
    """

    title: str
    images: tuple[Image, ...]
    codes: Panel | None = None
    note: str = ""

    @property
    def has_details(self) -> bool:
        """Whether there is more than what is seen at once."""
        return self.codes is not None or not all(image.first for image in self.images)


class Gallery(NamedTuple):
    """The items, and the colour of every class."""

    items: tuple[Item, ...]
    legend: Legend = ()

    @property
    def has_details(self) -> bool:
        """Whether any item has details."""
        return any(item.has_details for item in self.items)


def gallery(table: Table, folder: Path | None) -> Gallery:
    """The images in the folder of a study; without items if no run has images."""
    rows = [row for row in table.rows if row.group.done]
    found = [(row, path) for row in rows if folder is not None and (path := find(folder, row.group.done[0].id))]
    most = min(len(found), MOST, max(1, BYTES // max((_size(path) for _, path in found), default=1)))
    chosen = [found[i * len(found) // most] for i in range(most)]
    read_ones = [(_title(table, row), _read(row.group.done[0], path)) for row, path in chosen]
    classes = sorted({int(label) for _, one in read_ones if isinstance(one, Pictures) for label in one.labels})
    colours = dict(zip(classes, CATEGORIES, strict=False)) if len(classes) <= len(CATEGORIES) else {}
    items = tuple(_item(title, one, colours) for title, one in read_ones)
    return Gallery(items, tuple((variable(colour), f"class {label}") for label, colour in colours.items()))


def _read(record: Record, path: Path) -> Pictures | str:
    """The images of a run, or why there are none to show; the rest of the page does not need them."""
    try:
        found = read(path)
        record.left(path, ARRAYS)
        return found
    except (PicturesError, RecordError) as error:
        log.warning("%s", error)
        return f"{path.parent.name}/{path.name} holds no pictures that can be read"


def _item(title: str, found: Pictures | str, colours: Mapping[int, str]) -> Item:
    if isinstance(found, str):
        return Item(title, (), note=found)
    # Without a prior there is no KL by which units could be chosen.
    note = "Codes, first two units" if found.drawn is None else "Posterior means in the two units of largest KL"
    return Item(title, tuple(_images(found)), _codes(title, found, colours), note)


def _size(path: Path) -> int:
    """About how many bytes of the page a file takes: base64 makes four bytes of three."""
    return path.stat().st_size * 4 // 3


def _title(table: Table, row: Row) -> str:
    return slug([*table.headings, "seed"], [*row.labels, str(row.group.done[0].config["seed"])])


def _images(found: Pictures) -> list[Image]:
    scale = max(1, round(LEAST_PIXELS / found.originals.shape[-1]))
    captioned = [
        ("Observations above, reconstructions below", found.pairs),
        ("Drawn from the prior", found.drawn),
    ]
    details = [
        (f"A unit moved from −3 to 3 standard deviations, a row each: {found.moved_units}", found.moved),
        ("The latent space of two units, at equal shares of the prior", found.spanned),
        ("Observations, shifted, with a part erased; then what the model makes of each", found.compared),
    ]
    return [
        _image(caption, sheet, scale, first)
        for first, many in ((True, captioned), (False, details))
        for caption, sheet in many
        if sheet is not None
    ]


def _codes(title: str, found: Pictures, colours: Mapping[int, str]) -> Panel | None:
    """Posterior means in the plane of two units, coloured by class."""
    if found.codes.shape[1] < 2:
        return None
    labels = found.labels if len(found.labels) else np.full(len(found.codes), -1)

    def plot(axes: "Axes") -> None:
        for label in dict.fromkeys(sorted(labels.tolist())):
            x, y = found.codes[labels == label].T
            axes.plot(x, y, "o", color=colours.get(label, ACCENT), alpha=0.75, markersize=3.5, markeredgewidth=0)
        limit_to_prior(axes)
        axes.set_xlabel(f"unit {found.units[0]}")
        axes.set_ylabel(f"unit {found.units[1]}")

    return panel("Codes of observations", title, plot)


def _image(caption: str, sheet: Pixels, scale: int, first: bool) -> Image:
    address = "data:image/png;base64," + base64.b64encode(png(sheet)).decode()
    return Image(caption, address, sheet.shape[1] * scale, sheet.shape[0] * scale, first)
