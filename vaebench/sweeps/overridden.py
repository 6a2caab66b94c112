"""Runs that a study's file does not ask for: those of a sweep with `key=values`, found again by their records."""

import shlex
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from vaebench.config import ConfigError, Refused, Run, Study
from vaebench.records import record
from vaebench.records.record import Record
from vaebench.records.run_folder import id_of, record_paths
from vaebench.reporting.tables.labels import ABSENT

COMMAND = "python -m vaebench train "
"""How the command in a record starts."""


class Found(NamedTuple):
    """A run, and the axes of the study that it was swept in."""

    run: Run
    axes: tuple[str, ...]


def find(study: Study, name: str | None, folders: Sequence[Path]) -> Found:
    """The run of a study that is meant, be it one that only a record knows.

    Args:
        study: as its file and the overrides that are given say it.
        name: an id, the start of one, or a slug; None for the one run of the study.
        folders: where records are looked for, in this order.

    Raises:
        ConfigError: if none or several are meant, or the record is of another version.
    """
    try:
        return Found(study.only(name), study.axes)
    except ConfigError as error:
        files = {} if name is None else _files(name, folders)
        if any(run.id.startswith(name or "") for run in study.runs) or len(files) != 1:
            raise ConfigError([*error.faults, *_several(study, files)]) from None
    (path,) = files.values()
    return _again(record.read(path), path)


def overrides_of(found: Record) -> tuple[str, ...]:
    """The `key=values` of the sweep that a run was first part of."""
    return tuple(_words(found)[1:])


def remarks(study: Study | None, records: Sequence[Record]) -> list[str]:
    """What is said at the head of a table that holds other runs than its study's file asks for."""
    planned: Collection[str] = () if study is None else {run.id for run in study.runs}
    others = [r for r in records if r.id not in planned]
    if study is None or not others:
        return []
    said = sorted({" ".join(overrides_of(r)) or "an earlier version of the file" for r in others})
    return [f"{len(others)} of {len(records)} runs are not those of {study.path}, but of {'; '.join(said)}."]


def _again(made: Record, path: Path) -> Found:
    try:
        run = Run.of(made.config)
    except Refused as error:
        raise ConfigError([f"{path}: this version cannot train it: {fault}" for fault in error.faults]) from None
    if run.id != made.id:
        raise ConfigError([f"{path}: the configuration has the id {run.id}, and the record {made.id}; it was edited"])
    slug = ",".join(f"{axis.rpartition('.')[2]}={_at(made.config, axis)}" for axis in made.axes)
    return Found(run.named(slug or made.id, shlex.join(_words(made))), tuple(made.axes))


def _files(name: str, folders: Sequence[Path]) -> dict[str, Path]:
    """The records whose ids begin so."""
    found: dict[str, Path] = {}
    for path in (path for folder in folders for path in record_paths(folder, name) if name):
        found.setdefault(id_of(path), path)
    return found


def _several(study: Study, files: Collection[str]) -> list[str]:
    return [f"{study.path}: {len(files)} records begin so: {', '.join(sorted(files)[:8])}"] if len(files) > 1 else []


def _words(found: Record) -> list[str]:
    """The study's file and the overrides, from the command in a record."""
    command = str(found.provenance.get("command") or "")
    try:
        words = shlex.split(command.removeprefix(COMMAND))
    except ValueError:
        return []
    return words[: words.index("--id")] if "--id" in words else words


def _at(config: object, path: str) -> object:
    for key in path.split("."):
        config = config.get(key, ABSENT) if isinstance(config, dict) else ABSENT
    return config.get("name", ABSENT) if isinstance(config, dict) else config
