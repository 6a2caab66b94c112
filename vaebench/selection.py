"""What a word on the command line means: a run, the row of a table that it belongs to, a row by its labels, a study."""

import re
from collections.abc import Sequence
from glob import escape
from pathlib import Path
from typing import NamedTuple

from vaebench import record
from vaebench.record import Record
from vaebench.tables import table as tables
from vaebench.tables.blocks import Row, Table
from vaebench.tables.labels import slug

RUN = "a run's folder, its record, or the beginning of its id"
ROW = f"{RUN}; a study, e.g. beta or results/beta; or a row of one, e.g. beta:beta=4"


class Chosen(NamedTuple):
    """A row, and what it is called in full."""

    name: str
    row: Row


def run(word: str, roots: Sequence[Path]) -> Record:
    """One run's record.

    Raises:
        LookupError: if there is no such run, or there are several.
    """
    return record.read(_file(word, roots))


def rows(word: str, roots: Sequence[Path]) -> list[Chosen]:
    """The rows that a word stands for; a run stands for its configuration, with every seed of it in the same study.

    Raises:
        LookupError: if there is nothing of that name.
        ValueError: if a label is none of the study's.
    """
    study, _, labels = word.partition(":")
    folder = _study(study, roots)
    if folder is not None:
        found = tables.table(record.read_all(folder))
        return [_chosen(folder, found, row) for row in _labelled(found, labels, word)]
    path = _file(word, roots)
    folder, id = path.parent.parent, record.read(path).id
    found = tables.table(record.read_all(folder))
    return [_chosen(folder, found, r) for r in _all(found) if id in {m.id for m in (*r.group.done, *r.group.failed)}]


def _study(name: str, roots: Sequence[Path]) -> Path | None:
    """The first folder of that name that holds records: as it stands, or below a root."""
    stem = Path(name).stem if name.endswith((".yaml", ".yml")) else name
    folders = [Path(name), *(root / stem for root in roots)] if stem else []
    return next((f for f in folders if [*f.glob("*/record.json"), *f.glob("records/*.json")]), None)


def _file(word: str, roots: Sequence[Path]) -> Path:
    """The record's file."""
    for path in (Path(word), Path(word) / "record.json"):
        if path.is_file():
            return path if path.suffix == ".json" else path.with_name("record.json")
    start = escape(word)
    found: dict[str, Path] = {}
    for root in roots if re.fullmatch(r"\w+", word) else ():
        for path in sorted(root.glob(f"*/{start}*/record.json")):
            found.setdefault(path.parent.name, path)
        for path in sorted(root.glob(f"*/records/{start}*.json")):
            found.setdefault(path.stem, path)
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        raise LookupError(f"{word}: {len(found)} runs begin so: {', '.join(sorted(found)[:8])}; give more of the id")
    raise LookupError(f"{word}: nothing of that name in {' or '.join(f'{r}/' for r in roots)}; expected {ROW}")


def _labelled(table: Table, labels: str, word: str) -> list[Row]:
    """The rows of which every given label is true."""
    wanted = [part.partition("=") for part in filter(None, labels.split(","))]
    found = _all(table)
    for key, _, value in wanted:
        columns = [i for i, n in enumerate(zip(table.axes, table.headings, strict=True)) if key in n]
        if not columns:
            raise ValueError(f"{word}: no label {key!r}; this study has {', '.join(table.headings)}")
        found = [row for row in found if row.labels[columns[0]] == value]
    if not found:
        names = [slug(table.headings, row.labels).replace(", ", ",") for row in _all(table)]
        raise LookupError(f"{word}: no such row; there are {'; '.join(names)}")
    return found


def _all(table: Table) -> list[Row]:
    return [row for block in table.blocks for row in block.rows]


def _chosen(folder: Path, table: Table, row: Row) -> Chosen:
    return Chosen(f"{folder}: {slug(table.headings, row.labels)}", row)
