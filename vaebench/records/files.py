"""The files of a run: names and places, which nothing else spells; and how a file is written, whole or not at all.

A run works in `runs/<study>/<id>/`. A published run has its record in `results/<study>/records/<id>.json` and its
arrays in `results/<study>/arrays/<id>.npz`.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from itertools import count
from pathlib import Path
from uuid import uuid4

RECORD = "record.json"  # configuration, numbers, provenance: the run is done when this file says so
CHECKPOINT = "model.ckpt"  # the trained model; `Model.load_from_checkpoint` reads it

WEIGHTS = "model.safetensors"
"""The parameters and buffers of the trained model, in a format that no program needs torch or trust to read."""

ARRAYS = "arrays.npz"  # images that the trained model made

LEFT = (CHECKPOINT, WEIGHTS, ARRAYS)
"""The files that a finished run leaves beside its record. Any of them names the run."""

RESUME = "resume.ckpt"  # the snapshot from which a run continues after a stop; deleted once the record exists

PROGRESS = "progress.json"  # how far the pack is; only in the folder of its first run, and only while it trains
LOCK = "lock"  # the process that executes the run holds this lock; the system releases it when the process dies
WANDB = "wandb"  # folder of W&B, in a run's folder and in its study's
SLURM = "slurm"  # folder in the study's folder for the scripts and logs of SLURM jobs

CEILINGS = "ceilings"
"""Folder in the study's folder with the ceilings that were computed for its runs, so that each is computed once."""

PUBLISHED_RECORDS, PUBLISHED_ARRAYS = "records", "arrays"  # folders in `results/<study>`
DAMAGED = ".damaged"  # suffix of a file that was damaged and is kept aside: `record.damaged`, then `record.damaged1`
PAPER = "paper"  # folder below `conf`, `runs` and `results` of the protocols in print, which the ledger judges
SUFFIXES = (".yaml", ".yml")  # what the name of a study's file ends with


def place(study: Path) -> Path:
    """Where a study lies below `runs` and `results`, by its file: protocols in `conf/paper` in a folder of their own.

    >>> place(Path("conf/beta.yaml")).as_posix(), place(Path("conf/paper/altosaar.yaml")).as_posix()
    ('beta', 'paper/altosaar')
    """
    in_paper = study.resolve().parent.parts[-2:] == ("conf", PAPER)
    return Path(PAPER, study.stem) if in_paper else Path(study.stem)


def study_folders(root: Path) -> list[Path]:
    """The folders of all studies in `runs` or `results`, sorted by path; none if there is no such folder."""
    return sorted(path for path in (*root.glob("*"), *root.glob(f"{PAPER}/*")) if path.is_dir() and path.name != PAPER)


def published_studies(results: Path) -> list[Path]:
    """The folders in `results` that hold published records, sorted by path."""
    return [path for path in study_folders(results) if (path / PUBLISHED_RECORDS).is_dir()]


def record_paths(study: Path, start: str = "") -> list[Path]:
    """The files of all records in `runs/<study>` or `results/<study>`, sorted; none if there is no such folder.

    Args:
        study: the folder.
        start: only records whose id begins with this.
    """
    paths = sorted([*study.glob(f"*/{RECORD}"), *study.glob(f"{PUBLISHED_RECORDS}/[!.]*.json")])
    return [path for path in paths if id_of(path).startswith(start)]


def id_of(path: Path) -> str:
    """The id of the run that a record at this path belongs to.

    >>> id_of(Path("runs/beta/3f2a61c09b/record.json")), id_of(Path("results/beta/records/3f2a61c09b.json"))
    ('3f2a61c09b', '3f2a61c09b')
    """
    return path.parent.name if path.name == RECORD else path.stem


def published_record(study: Path, id: str) -> Path:
    """Where `results/<study>` has the record of a run."""
    return study / PUBLISHED_RECORDS / f"{id}.json"


def published_arrays(study: Path, id: str) -> Path:
    """Where `results/<study>` has the arrays of a run."""
    return study / PUBLISHED_ARRAYS / f"{id}.npz"


class WriteError(OSError):
    """A file could not be written. The message names it; its previous content is intact."""


def write_atomically(path: Path, content: bytes) -> None:
    """Replace the content of a file. A reader never sees half of it, and a failure leaves no temporary file.

    Raises:
        WriteError: if the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise WriteError(
            f"{path}: cannot be written ({error.strerror or error}); its previous content is intact; "
            "free some space or choose another folder, then run the same command again"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def put_aside(path: Path) -> Path:
    """Rename a file that cannot be used to `.damaged`; nothing is deleted.

    Returns:
        The new name. The file may be missing there if another process moved it first.
    """
    names = (path.with_suffix(f"{DAMAGED}{i or ''}") for i in count())
    aside = next(name for name in names if not name.exists())
    with suppress(FileNotFoundError):
        os.replace(path, aside)
    return aside


def check_writable(folder: Path) -> None:
    """Create a folder if necessary, and check that files can be created in it.

    Raises:
        WriteError: if not; the message says what to do.
    """
    probe = folder / f".{uuid4().hex}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        there = next(place for place in (folder, *folder.absolute().parents) if os.path.lexists(place))
        reason = error.strerror or error if there.is_dir() else f"{there} is no folder"
        remedy = "make the folder writable, or run the command in another one"
        raise WriteError(f"{folder}: no file can be made here ({reason}); {remedy}") from error


def write_all(files: Mapping[Path, bytes]) -> list[Path]:
    """Replace the content of each file.

    Raises:
        WriteError: at the first file that cannot be written.
    """
    for path, content in files.items():
        write_atomically(path, content)
    return list(files)


def stale(files: Mapping[Path, bytes]) -> list[Path]:
    """The files that are missing or have other content."""
    return [path for path, content in files.items() if not path.is_file() or path.read_bytes() != content]
