"""Finds what a word on the command line names: a run, or rows of a study's table."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vaebench.records import record
from vaebench.records.files import LEFT, PAPER, RECORD, id_of, record_paths, study_folders
from vaebench.records.record import Record
from vaebench.reporting.tables import table as tables
from vaebench.reporting.tables.labels import ABSENT, plain
from vaebench.reporting.tables.table import Row, Table

ROOTS = (Path("runs"), Path("results"))  # where a run is searched by its id

RUN = "a run's folder, its record, or the beginning of its id"
ROW = f"{RUN}; a study, e.g. beta or results/beta; or a row of one, e.g. beta:beta=4"


class Chosen(NamedTuple):
    """A row, its full name, and the paths of the configuration that the user named to find it."""

    name: str
    row: Row
    asked: tuple[str, ...] = ()


def run(word: str, roots: Sequence[Path]) -> Record:
    """One run's record.

    Raises:
        LookupError: if there is no such run, or if there are several.
    """
    return record.read(only(word, roots))


def only(word: str, roots: Sequence[Path]) -> Path:
    """The file of the record of a single run: of a run, or of the only run of a study or of rows of it.

    Raises:
        LookupError: if there is no such run, or if there are several.
        ValueError: if the study has no such label.
    """
    name = word.partition(":")[0]
    folder = _study(name, roots)
    if folder is None:
        return file_of(word, roots)
    ids = [made.id for chosen in find(word, roots) for made in (*chosen.row.group.done, *chosen.row.group.failed)]
    if len(ids) != 1:
        some = ", ".join(ids[:8]) + ", …" * (len(ids) > 8)
        raise LookupError(f"{word}: expected one run, got {len(ids)} of {folder}: {some}; give the id of one")
    return next(path for path in record_paths(folder) if id_of(path) == ids[0])


def find(word: str, roots: Sequence[Path]) -> list[Chosen]:
    """The rows that a word names; a run names the row of its configuration, with all seeds in the same study.

    Raises:
        LookupError: if nothing has that name.
        ValueError: if the study has no such label.
    """
    study, _, labels = word.partition(":")
    folder = _study(study, roots)
    if folder is not None:
        found = tables.table(record.read_all(folder))
        rows, asked = _labelled(found, labels, word)
        return [_chosen(folder, found, row)._replace(asked=asked) for row in rows]
    path = file_of(word, roots)
    folder, id = path.parent.parent, record.read(path).id
    found = tables.table(record.read_all(folder))
    return [_chosen(folder, found, r) for r in found.rows if id in {m.id for m in (*r.group.done, *r.group.failed)}]


def _study(name: str, roots: Sequence[Path]) -> Path | None:
    """The first folder with records that has the name: the path itself, or a folder below a root."""
    stem = Path(name).stem if name.endswith((".yaml", ".yml")) else name
    folders = [Path(name), *(root / within / stem for root in roots for within in ("", PAPER))] if stem else []
    return next((f for f in folders if record_paths(f)), None)


def file_of(word: str, roots: Sequence[Path]) -> Path:
    """The file of a run's record.

    Raises:
        LookupError: if there is no such run, or if there are several.
    """
    path = followed(Path(word))
    for file in (path, path / RECORD, *([path.with_name(RECORD)] if path.name in LEFT else [])):
        if file.is_file() and file.suffix == ".json":
            return file
    found: dict[str, Path] = {}
    for root in roots if re.fullmatch(r"\w+", word) else ():
        for path in (path for study in study_folders(root) for path in record_paths(study, word)):
            found.setdefault(id_of(path), path)
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        raise LookupError(f"{word}: {len(found)} runs begin so: {', '.join(sorted(found)[:8])}; give more of the id")
    raise LookupError(f"{word}: nothing of that name in {' or '.join(f'{r}/' for r in roots)}; expected {ROW}")


def followed(path: Path) -> Path:
    """The path behind a link to a run's folder or to a file in it, since that folder has the run's id as its name."""
    return Path(os.path.realpath(path)) if path.is_symlink() or path.parent.is_symlink() else path


def _labelled(table: Table, labels: str, word: str) -> tuple[list[Row], tuple[str, ...]]:
    """The rows that have every given label, and the paths in the configuration that the labels name.

    A label is `key=value`. The key is a column of the table, or any path in the configuration or the last part of one.
    All labels of a row, as they are shown, name that row, in every block that has it.
    """
    names = [_closed(table.slug(row)) for row in table.rows]
    if named := [row for row, name in zip(table.rows, names, strict=True) if name == _closed(labels)]:
        return named, table.axes  # several, where one configuration was measured on several data
    wanted = [part.strip().partition("=") for part in filter(None, labels.split(","))]
    found, asked = list(table.rows), []
    for key, _, value in wanted:
        path, values = _values(table, key, word)
        asked.append(path)
        found = [row for row in found if values[row.group.key] == value]
    if not found:
        raise LookupError(f"{word}: no such row; there are {'; '.join(dict.fromkeys(names))}")
    return found, tuple(asked)


def _values(table: Table, key: str, word: str) -> tuple[str, dict[str, str]]:
    """The path in the configuration that a key names, and its value as text for each row.

    Raises:
        ValueError: if no configuration of the study has the key, or if it may be several paths.
    """
    if (i := table.label(key)) is not None:
        return table.axes[i], {row.group.key: row.labels[i] for row in table.rows}
    leaves = {row.group.key: dict(leaves_of(row.group.config)) for row in table.rows}
    paths = {path for each in leaves.values() for path in each if key == path or path.endswith(f".{key}")}
    if len(paths) > 1:
        raise ValueError(f"{word}: {key!r} may be {' or '.join(sorted(paths))}; give the whole path")
    if not paths or not key:
        raise ValueError(f"{word}: no label {key!r}; this study has {', '.join(table.keys)}")
    path = paths.pop()
    return path, {row: plain(each.get(path, ABSENT)) for row, each in leaves.items()}


def leaves_of(config: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every path in a configuration, and the value at its end.

    >>> dict(leaves_of({"model": {"name": "AE", "latent_dim": 2}, "seed": 0}))
    {'model.name': 'AE', 'model.latent_dim': 2, 'seed': 0}
    """
    if not isinstance(config, Mapping):
        yield path, config
        return
    for key, value in config.items():
        yield from leaves_of(value, f"{path}.{key}".removeprefix("."))


def _closed(labels: str) -> str:
    """Labels without spaces, so that they can be typed as one word."""
    return "".join(labels.split())


def _chosen(folder: Path, table: Table, row: Row) -> Chosen:
    return Chosen(f"{folder}: {table.slug(row)}", row)
