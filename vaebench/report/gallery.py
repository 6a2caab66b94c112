"""The pictures of a study: the first seed of its rows, inside the page."""

import base64
from pathlib import Path
from typing import NamedTuple

from vaebench.pictures import Pictures, Pixels, find, png, read
from vaebench.tables.blocks import Row, Table
from vaebench.tables.labels import slug

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
    """The sheets of one row, and which run they are of."""

    title: str
    pictures: tuple[Picture, ...]


def gallery(table: Table, folder: Path | None) -> list[Exhibit]:
    """What the folder of a study has to show; nothing where no run has pictures."""
    rows = [row for block in table.blocks for row in block.rows if row.group.done]
    found = [(row, path) for row in rows if folder is not None and (path := find(folder, row.group.done[0].id))]
    most = min(len(found), MOST, max(1, BYTES // max((_size(path) for _, path in found), default=1)))
    chosen = [found[i * len(found) // most] for i in range(most)]
    return [Exhibit(_title(table, row), tuple(_sheets(read(path)))) for row, path in chosen]


def _size(path: Path) -> int:
    """About what a file of pictures takes as text."""
    return path.stat().st_size * 4 // 3


def _title(table: Table, row: Row) -> str:
    return slug([*table.headings, "seed"], [*row.labels, str(row.group.done[0].config["seed"])])


def _sheets(seen: Pictures) -> list[Picture]:
    scale = max(1, round(LEAST_PIXELS / seen.originals.shape[-1]))
    units = ", ".join(map(str, seen.units))
    captioned = [
        ("Observations above, reconstructions below", seen.pairs),
        ("Drawn from the prior", seen.drawn),
        (f"A unit moved from −3 to 3 standard deviations, a row each: {units}", seen.moved),
    ]
    return [_picture(caption, sheet, scale) for caption, sheet in captioned if sheet is not None]


def _picture(caption: str, sheet: Pixels, scale: int) -> Picture:
    address = "data:image/png;base64," + base64.b64encode(png(sheet)).decode()
    return Picture(caption, address, sheet.shape[1] * scale, sheet.shape[0] * scale)
