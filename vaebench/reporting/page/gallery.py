"""The images of a study, inside its page: for each row, the run of its first seed."""

import base64
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from vaebench.records.arrays import Pictures, PicturesError, Pixels, find_pictures, png, read_pictures, sheet
from vaebench.records.files import ARRAYS
from vaebench.records.record import Record, RecordError
from vaebench.reporting.figures.base import Legend, limit_to_prior
from vaebench.reporting.figures.svg import ACCENT, CATEGORIES, Axes, Panel, panel, variable
from vaebench.reporting.tables.table import Table

T = TypeVar("T")

log = logging.getLogger(__name__)

MOST, MOST_DETAILED, BYTES = 8, 6, 400_000
"""Rows of the matrix at most, rows whose units are shown, and about so many bytes in the page. Of more rows, some at
equal distances are shown."""

LEAST_PIXELS = 28  # width on the screen, in pixels, to which a small image is enlarged


class Image(NamedTuple):
    """One sheet of images: its caption, its content as a `data:` address, and its size on the screen."""

    caption: str
    address: str
    width: int
    height: int


class Setting(NamedTuple):
    """One row of a matrix."""

    title: str  # which run it is
    reconstructions: Image | None  # of the observations above, in the same order; None if they cannot be read
    samples: Image | None  # draws from the prior; None if there is no prior
    note: str = ""  # why there is something missing


class Matrix(NamedTuple):
    """Observations, and what each setting makes of the same ones; None where no setting can be read."""

    originals: Image | None
    settings: tuple[Setting, ...]


class Item(NamedTuple):
    """What the units of one row do."""

    title: str  # which run it is
    images: tuple[Image, ...]  # the sheets
    codes: Panel | None = None  # posterior means of observations; None if the latent space has only one unit
    note: str = ""  # what the codes are


class Gallery(NamedTuple):
    """A matrix for each set of observations, the details of some rows, and the colour of every class."""

    matrices: tuple[Matrix, ...]
    items: tuple[Item, ...]
    legend: Legend = ()


def gallery(table: Table, folder: Path | None) -> Gallery:
    """The images in the folder of a study; without matrices if no run has images."""
    rows = [row for row in table.rows if row.group.done]
    found = [
        (row, path) for row in rows if folder is not None and (path := find_pictures(folder, row.group.done[0].id))
    ]
    most = min(len(found), MOST)
    read_ones = [(table.name(row), _read(row.group.done[0], path)) for row, path in _spread(found, most)]
    seen = [(title, one) for title, one in read_ones if isinstance(one, Pictures)]
    classes = sorted({int(label) for _, one in seen for label in one.labels})
    coloured = dict(zip(classes, CATEGORIES, strict=False)) if len(classes) <= len(CATEGORIES) else {}
    largest = max((path.stat().st_size * 4 // 3 for _, path in found), default=1)  # base64 makes four bytes of three
    detailed = _spread(seen, min(len(seen), MOST_DETAILED, max(1, BYTES // max(largest, 1))))
    items = [item for title, one in detailed if (item := _item(title, one, coloured)).images or item.codes]
    legend = tuple((variable(colour), f"class {label}") for label, colour in coloured.items())
    return Gallery(tuple(_matrices(read_ones)), tuple(items), legend)


def _spread(many: Sequence[T], most: int) -> list[T]:
    """So many of them, at equal distances from the first on."""
    return [many[i * len(many) // most] for i in range(most)]


def _matrices(read_ones: Sequence[tuple[str, Pictures | str]]) -> Iterator[Matrix]:
    together: dict[tuple[object, bytes], list[tuple[str, Pictures]]] = {}
    for title, one in read_ones:
        if isinstance(one, Pictures):
            together.setdefault((one.originals.shape, one.originals.tobytes()), []).append((title, one))
    for members in together.values():
        first = members[0][1]
        yield Matrix(_strip("Observations", first.originals), tuple(_setting(title, one) for title, one in members))
    if unread := [Setting(title, None, None, one) for title, one in read_ones if isinstance(one, str)]:
        yield Matrix(None, tuple(unread))


def _setting(title: str, found: Pictures) -> Setting:
    columns = len(found.originals)
    drawn = _strip("Drawn from the prior", found.samples[:columns]) if len(found.samples) else None
    return Setting(title, _strip("Reconstructions", found.reconstructions), drawn, "" if drawn else "no prior")


def _strip(caption: str, images: Pixels) -> Image:
    return _image(caption, sheet(images[None]), _enlarged(images))


def _enlarged(images: Pixels) -> int:
    return max(1, round(LEAST_PIXELS / images.shape[-1]))


def _read(record: Record, path: Path) -> Pictures | str:
    """The images of a run, or why there are none to show; the rest of the page does not need them."""
    try:
        found = read_pictures(path)
        record.left(path, ARRAYS)
        return found
    except (PicturesError, RecordError) as error:
        log.warning("%s", error)
        return f"{path.parent.name}/{path.name} holds no pictures that can be read"


def _item(title: str, found: Pictures, coloured: Mapping[int, str]) -> Item:
    # Without a prior there is no KL by which units could be chosen.
    note = "Codes, first two units" if found.drawn is None else "Posterior means in the two units of largest KL"
    return Item(title, tuple(_images(found)), _codes(title, found, coloured), note)


def _images(found: Pictures) -> list[Image]:
    details = [
        (f"A unit moved from −3 to 3 standard deviations, a row each: {found.moved_units}", found.moved),
        ("The latent space of two units, at equal shares of the prior", found.spanned),
        ("Observations, shifted, with a part erased; then what the model makes of each", found.compared),
    ]
    scale = _enlarged(found.originals)
    return [_image(caption, made, scale) for caption, made in details if made is not None]


def _codes(title: str, found: Pictures, coloured: Mapping[int, str]) -> Panel | None:
    """Posterior means in the plane of two units, coloured by class."""
    if found.codes.shape[1] < 2:
        return None
    labels = found.labels if len(found.labels) else np.full(len(found.codes), -1)

    def plot(axes: Axes) -> None:
        for label in dict.fromkeys(sorted(labels.tolist())):
            x, y = found.codes[labels == label].T
            axes.plot(x, y, "o", color=coloured.get(label, ACCENT), alpha=0.75, markersize=3.5, markeredgewidth=0)
        limit_to_prior(axes)
        axes.set_xlabel(f"unit {found.units[0]}")
        axes.set_ylabel(f"unit {found.units[1]}")

    return panel("Codes of observations", title, plot)


def _image(caption: str, made: Pixels, scale: int) -> Image:
    address = "data:image/png;base64," + base64.b64encode(png(made)).decode()
    return Image(caption, address, made.shape[1] * scale, made.shape[0] * scale)
