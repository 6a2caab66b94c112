"""The pictures of a study: the first seed of its rows, inside the page."""

import base64
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from vaebench.records.images import Pictures, PicturesError, Pixels, find, png, read
from vaebench.records.record import Record, RecordError
from vaebench.records.run_folder import ARRAYS
from vaebench.reporting.figures.plotting import at_least_one
from vaebench.reporting.figures.svg import ACCENT, CATEGORIES, Panel, panel, variable
from vaebench.reporting.tables.labels import slug
from vaebench.reporting.tables.rankings import Row, Table

log = logging.getLogger(__name__)

MOST, BYTES = 12, 400_000
"""Rows that are shown, and their bytes in the page; of more, as many as have room, at equal distances."""

LEAST_PIXELS = 28
"""Pixels of the screen that an image is wide, if it is small."""


class Picture(NamedTuple):
    """One sheet: its words, its bytes as an address, and its size on the screen."""

    caption: str
    address: str
    width: int
    height: int


class Exhibit(NamedTuple):
    """The sheets of one row, which run they are of, and its codes; of a single unit there is no such picture."""

    title: str
    pictures: tuple[Picture, ...]
    codes: Panel | None = None
    said: str = ""
    """What the codes are, or why nothing is shown."""


class Gallery(NamedTuple):
    """The exhibits, and which class has which colour (a CSS variable's name)."""

    exhibits: tuple[Exhibit, ...]
    legend: tuple[tuple[str, str], ...] = ()


def gallery(table: Table, folder: Path | None) -> Gallery:
    """What the folder of a study has to show; nothing where no run has pictures."""
    rows = [row for row in table.rows if row.group.done]
    found = [(row, path) for row in rows if folder is not None and (path := find(folder, row.group.done[0].id))]
    most = min(len(found), MOST, max(1, BYTES // max((_size(path) for _, path in found), default=1)))
    chosen = [found[i * len(found) // most] for i in range(most)]
    seen = [(_title(table, row), _read(row.group.done[0], path)) for row, path in chosen]
    classes = sorted(
        {int(label) for _, pictures in seen if isinstance(pictures, Pictures) for label in pictures.labels}
    )
    coloured = dict(zip(classes, CATEGORIES, strict=False)) if len(classes) <= len(CATEGORIES) else {}
    exhibits = tuple(_exhibit(title, one, coloured) for title, one in seen)
    return Gallery(exhibits, tuple((variable(colour), f"class {label}") for label, colour in coloured.items()))


def _read(record: Record, path: Path) -> Pictures | str:
    """The pictures of a run, or in words that there are none to show: the page stands without them."""
    try:
        seen = read(path)
        record.left(path, ARRAYS)
        return seen
    except (PicturesError, RecordError) as error:
        log.warning("%s", error)
        return f"{path.parent.name}/{path.name} holds no pictures that can be read"


def _exhibit(title: str, seen: Pictures | str, coloured: Mapping[int, str]) -> Exhibit:
    if isinstance(seen, str):
        return Exhibit(title, (), said=seen)
    return Exhibit(title, tuple(_sheets(seen)), _codes(title, seen, coloured), _said(seen))


def _size(path: Path) -> int:
    """About what a file of pictures takes as text."""
    return path.stat().st_size * 4 // 3


def _title(table: Table, row: Row) -> str:
    return slug([*table.headings, "seed"], [*row.labels, str(row.group.done[0].config["seed"])])


def _sheets(seen: Pictures) -> list[Picture]:
    scale = max(1, round(LEAST_PIXELS / seen.originals.shape[-1]))
    captioned = [
        ("Observations above, reconstructions below", seen.pairs),
        ("Drawn from the prior", seen.drawn),
        (f"A unit moved from −3 to 3 standard deviations, a row each: {seen.moved_units}", seen.moved),
        ("The latent space of two units, at equal shares of the prior", seen.spanned),
        ("Observations, shifted, with a part erased; then what the model makes of each", seen.compared),
    ]
    return [_picture(caption, sheet, scale) for caption, sheet in captioned if sheet is not None]


def _said(seen: Pictures) -> str:
    """Which codes are drawn: without a prior there is no KL by which units could be chosen."""
    return "Codes, first two units" if seen.drawn is None else "Posterior means in the two units of largest KL"


def _codes(title: str, seen: Pictures, coloured: Mapping[int, str]) -> Panel | None:
    """Posterior means in the plane of the two units of largest KL."""
    if seen.codes.shape[1] < 2:
        return None
    labels = seen.labels if len(seen.labels) else np.full(len(seen.codes), -1)

    def draw(axes: Axes) -> None:
        for label in dict.fromkeys(sorted(labels.tolist())):
            x, y = seen.codes[labels == label].T
            axes.plot(x, y, "o", color=coloured.get(label, ACCENT), alpha=0.75, markersize=3.5, markeredgewidth=0)
        at_least_one(axes)
        axes.set_xlabel(f"unit {seen.units[0]}")
        axes.set_ylabel(f"unit {seen.units[1]}")

    return panel("Codes of observations", title, draw)


def _picture(caption: str, sheet: Pixels, scale: int) -> Picture:
    address = "data:image/png;base64," + base64.b64encode(png(sheet)).decode()
    return Picture(caption, address, sheet.shape[1] * scale, sheet.shape[0] * scale)
