"""Runs of sweeps with overrides (`key=values`): a study's file does not list them, but their records exist."""

import shlex
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from vaebench.config import ConfigError, Refused, Run, Study
from vaebench.records import record
from vaebench.records.files import id_of, record_paths
from vaebench.records.record import Record
from vaebench.reporting.tables.labels import ABSENT, at

COMMAND = "python -m vaebench train "  # the beginning of the command in a record


class Found(NamedTuple):
    """A run, and the axes of the study that it belongs to."""

    run: Run
    axes: tuple[str, ...]


def find(study: Study, name: str | None, folders: Sequence[Path]) -> Found:
    """Find a run by its name: in the study, else among the records.

    Args:
        study: from its file and the given overrides.
        name: an id, the start of an id, or a slug; None for the only run of the study.
        folders: searched for records, in this order.

    Raises:
        ConfigError: if no run or several runs have that name, or another version wrote the record.
    """
    try:
        return Found(study.only(name), study.axes)
    except ConfigError as error:
        files = {} if name is None else _files(name, folders)
        if any(run.id.startswith(name or "") for run in study.runs) or len(files) != 1:
            raise ConfigError([*error.faults, *_several(study, files)]) from None
    (path,) = files.values()
    return _rebuild(record.read(path), path)


def overrides_of(found: Record) -> tuple[str, ...]:
    """The overrides (`key=values`) of the sweep that made this record."""
    return tuple(_words(found)[1:])


def remarks(study: Study | None, records: Sequence[Record]) -> list[str]:
    """The remark above a table with runs that are not in the study's file; none if there are no such runs."""
    planned: Collection[str] = () if study is None else {run.id for run in study.runs}
    others = [r for r in records if r.id not in planned]
    if study is None or not others:
        return []
    sources = sorted({" ".join(overrides_of(r)) or "an earlier version of the file" for r in others})
    return [f"{len(others)} of {len(records)} runs are not those of {study.path}, but of {'; '.join(sources)}."]


def _rebuild(made: Record, path: Path) -> Found:
    try:
        run = Run.of(made.config)
    except Refused as error:
        raise ConfigError([f"{path}: this version cannot train it: {fault}" for fault in error.faults]) from None
    if run.id != made.id:
        raise ConfigError([f"{path}: the configuration has the id {run.id}, and the record {made.id}; it was edited"])
    values = {axis: at(made.config, axis) for axis in made.axes}
    names = {axis: v.get("name", ABSENT) if isinstance(v, dict) else v for axis, v in values.items()}
    slug = ",".join(f"{axis.rpartition('.')[2]}={name}" for axis, name in names.items())
    return Found(run.named(slug or made.id, shlex.join(_words(made))), tuple(made.axes))


def _files(name: str, folders: Sequence[Path]) -> dict[str, Path]:
    """The records whose id begins with `name`, by id; the first folder wins."""
    found: dict[str, Path] = {}
    for path in (path for folder in folders for path in record_paths(folder, name) if name):
        found.setdefault(id_of(path), path)
    return found


def _several(study: Study, files: Collection[str]) -> list[str]:
    if len(files) < 2:
        return []
    return [f"{study.path}: {len(files)} records begin with it: {', '.join(sorted(files)[:8])}"]


def _words(found: Record) -> list[str]:
    """The study's file and the overrides: the words of the command in a record."""
    command = str(found.provenance.get("command") or "")
    try:
        words = shlex.split(command.removeprefix(COMMAND))
    except ValueError:
        return []
    return words[: words.index("--id")] if "--id" in words else words
