"""What a word on the command line means: a run, the row of a table that it belongs to, a row by its labels, a study."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vaebench.records import record
from vaebench.records.record import Record
from vaebench.records.run_folder import RECORD, id_of, record_paths
from vaebench.reporting.tables import table as tables
from vaebench.reporting.tables.labels import ABSENT, plain, slug
from vaebench.reporting.tables.rankings import Row, Table

RUN = "a run's folder, its record, or the beginning of its id"
ROW = f"{RUN}; a study, e.g. beta or results/beta; or a row of one, e.g. beta:beta=4"


class Chosen(NamedTuple):
    """A row, what it is called in full, and the paths of the configuration by which it was asked for."""

    name: str
    row: Row
    asked: tuple[str, ...] = ()


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
        rows, asked = _labelled(found, labels, word)
        return [_chosen(folder, found, row)._replace(asked=asked) for row in rows]
    path = _file(word, roots)
    folder, id = path.parent.parent, record.read(path).id
    found = tables.table(record.read_all(folder))
    return [_chosen(folder, found, r) for r in found.rows if id in {m.id for m in (*r.group.done, *r.group.failed)}]


def _study(name: str, roots: Sequence[Path]) -> Path | None:
    """The first folder of that name that holds records: as it stands, or below a root."""
    stem = Path(name).stem if name.endswith((".yaml", ".yml")) else name
    folders = [Path(name), *(root / stem for root in roots)] if stem else []
    return next((f for f in folders if record_paths(f)), None)


def _file(word: str, roots: Sequence[Path]) -> Path:
    """The record's file."""
    for path in (Path(word), Path(word) / RECORD):
        if path.is_file():
            return path if path.suffix == ".json" else path.with_name(RECORD)
    found: dict[str, Path] = {}
    for root in roots if re.fullmatch(r"\w+", word) else ():
        for path in (path for study in sorted(root.glob("*")) for path in record_paths(study, word)):
            found.setdefault(id_of(path), path)
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        raise LookupError(f"{word}: {len(found)} runs begin so: {', '.join(sorted(found)[:8])}; give more of the id")
    raise LookupError(f"{word}: nothing of that name in {' or '.join(f'{r}/' for r in roots)}; expected {ROW}")


def _labelled(table: Table, labels: str, word: str) -> tuple[list[Row], tuple[str, ...]]:
    """The rows of which every given label is true, and the paths that the labels stand for.

    A label is a column of the table, or any other key of a configuration, by its path or the last part of that. All
    labels of a row, as they are shown, mean that row.
    """
    names = {_closed(slug(table.headings, row.labels)): row for row in table.rows}
    if _closed(labels) in names:
        return [names[_closed(labels)]], table.axes
    wanted = [part.strip().partition("=") for part in filter(None, labels.split(","))]
    found, asked = list(table.rows), []
    for key, _, value in wanted:
        path, values = _values(table, key, word)
        asked.append(path)
        found = [row for row in found if values[row.group.key] == value]
    if not found:
        raise LookupError(f"{word}: no such row; there are {'; '.join(names)}")
    return found, tuple(asked)


def _values(table: Table, key: str, word: str) -> tuple[str, dict[str, str]]:
    """The path that a key stands for, and its value in words, by row.

    Raises:
        ValueError: if no configuration of the study has it, or several of its keys are called so.
    """
    for i, names in enumerate(zip(table.axes, table.headings, strict=True)):
        if key in names:
            return table.axes[i], {row.group.key: row.labels[i] for row in table.rows}
    leaves = {row.group.key: dict(leaves_of(row.group.config)) for row in table.rows}
    paths = {path for each in leaves.values() for path in each if key == path or path.endswith(f".{key}")}
    if len(paths) > 1:
        raise ValueError(f"{word}: {key!r} may be {' or '.join(sorted(paths))}; give the whole path")
    if not paths or not key:
        raise ValueError(f"{word}: no label {key!r}; this study has {', '.join(table.headings)}")
    path = paths.pop()
    return path, {row: plain(each.get(path, ABSENT)) for row, each in leaves.items()}


def leaves_of(config: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every path of a configuration that ends in a value, and the value."""
    if not isinstance(config, Mapping):
        yield path, config
        return
    for key, value in config.items():
        yield from leaves_of(value, f"{path}.{key}".removeprefix("."))


def _closed(labels: str) -> str:
    """Labels without spaces, as a word of the command line has them."""
    return "".join(labels.split())


def _chosen(folder: Path, table: Table, row: Row) -> Chosen:
    return Chosen(f"{folder}: {slug(table.headings, row.labels)}", row)
