"""From a YAML file to a `Study`: read the file, form its grid, and check every run before torch is imported."""

import os
import shlex
import shutil
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vaebench.config import grid, imports, presentation
from vaebench.config import yaml_document as lines
from vaebench.config.faults import ConfigError, Fault, Refused, said
from vaebench.config.grid import Axis, GridError, Point, RunFault, SourceMap
from vaebench.config.imports import Import
from vaebench.config.key_types import shown
from vaebench.config.registry import BINARIZATIONS, DATASETS, LIKELIHOODS, REGISTRIES, did_you_mean, nearest
from vaebench.config.study import IMPORTS, SECTIONS, Run, Study
from vaebench.config.validation import MissingKey
from vaebench.config.yaml_document import Document
from vaebench.records.files import PAPER, SUFFIXES, place

HEAD = (*presentation.FIELDS, IMPORTS, "grid")  # the keys of a study file beside the sections of a run
MOST_BYTES = 256 * 1024  # the largest study file. The shipped ones have less than one kilobyte


def load(path: str | Path, assignments: Sequence[str] = ()) -> Study:
    """The study in a YAML file.

    Args:
        path: the file, or the name of a study in `conf/` or of a shipped one.
        assignments: `key=values` from the command line, e.g. `beta=4`, `model.latent_dim=5,10`, `seed=0..4`. The end
            of a key is enough if no other key ends so. It replaces an axis of the same key, or adds an axis.

    Raises:
        ConfigError: with every fault found, one line each.
    """
    given = str(path)
    path = located(Path(path))
    document = Document(_text(path))
    if place(path) == Path(PAPER):
        there = "the folder of the protocols of conf/paper, so no study may have it"
        raise ConfigError([f"{path}: expected another name: results/{PAPER} is {there}; rename the file"])
    _refuse(path, document.faults)
    _refuse(path, _import(document, path))
    base, spelt, faults = _sections(document)
    axes, wrong = grid.axes_of(document.value.get("grid", {}), document)
    wrong += _unknown_axes(axes, base)
    axes = [axis for axis in axes if axis.path[0] in SECTIONS]
    try:
        axes = grid.overridden(axes, assignments, SECTIONS, base)
        source_map = SourceMap(path, document, base, grid.points(axes), spelt)
    except GridError as error:
        raise ConfigError(said(path, [*faults, *wrong, error.fault])) from None
    runs, run_faults = _runs(source_map, _words(given, assignments))
    if wrong:  # a key that seems to be missing may be one that a faulty axis would have set
        run_faults = [fault for fault in run_faults if not isinstance(fault.text, MissingKey)]
    _refuse(path, [*faults, *wrong, *source_map.faults(run_faults)])
    _refuse(path, _repeats(document, runs, source_map.points))
    return Study(path.stem, path, presentation.of(document), runs, tuple(axis.key for axis in axes), source_map)


def _words(given: str, assignments: Sequence[str]) -> str:
    """The words after `vaebench sweep` that name these runs."""
    options = [word for each in imports.given() for word in ("--import", each.asked)]
    return shlex.join([given, *assignments, *options])


def _import(document: Document, path: Path) -> list[Fault]:
    """Let the registries have what the study and `--import` name, and nothing else; returns what is wrong with it."""
    words = document.value.get(IMPORTS, [])
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        text = f"expected a list of files and modules, e.g. [mine.py]; got {shown(words)}"
        return [Fault(document.line((IMPORTS,)), (IMPORTS,), text)]
    found, faults = list(imports.given()), []
    for i, word in enumerate(words):
        try:
            found.append(imports.read(word, path.parent))
            imports.check_names(found)
            imports.use(found)
            _read_components(found[-1])
        except ValueError as error:
            faults.append(Fault(document.line((IMPORTS, i)), (IMPORTS, i), str(error)))
    imports.use(found)
    return faults


def _read_components(new: Import) -> None:
    """Read the keys of every component of an import, and the values of x that it gives or takes.

    Raises:
        SignatureError: if an annotation, a default or a `support` cannot be read.
        ValueError: if a name is there twice, or the import has no component.
    """
    entries = [(registry, name) for registry in REGISTRIES for name in registry if registry.origin(name) == new]
    if not entries:
        raise ValueError(f"{new.asked}: no component; write @MODELS.register (or METRICS, DATASETS, …) above a class")
    for registry, name in entries:
        registry.keywords(name)
        if registry in (DATASETS, LIKELIHOODS, BINARIZATIONS):
            registry.source(name).constant("support")


def _runs(source_map: SourceMap, source: str) -> tuple[tuple[Run, ...], list[RunFault]]:
    """The valid runs, and the faults of the others."""
    runs: list[Run] = []
    run_faults: list[RunFault] = []
    known: dict[object, Run] = {}
    seed = _seed_axis(source_map)
    for i, point in enumerate(source_map.points):
        try:
            run = _run(point, source_map.base, seed, known)
            runs.append(run.named(point.label() or run.config["model"]["name"], source))
        except Refused as error:
            run_faults += [RunFault(i, keys, text) for keys, text in error.places]
    return tuple(runs), run_faults


def _seed_axis(source_map: SourceMap) -> int | None:
    """Which axis gives the seeds; None if none does, or if other values may depend on the seed by `${seed}`."""
    if lines.references(dict(source_map.base)):
        return None
    axes = source_map.points[0].axes
    if any(lines.references(list(axis.values)) for axis in axes if not isinstance(axis.values, range)):
        return None
    return next((n for n, axis in enumerate(axes) if axis.key == "seed"), None)


def _run(point: Point, base: Mapping[str, Any], seed: int | None, known: dict[object, Run]) -> Run:
    """The run at a point. Of runs that differ in the seed alone, the rest is checked once, since seeds are many.

    Args:
        point: of the grid.
        base: what every run starts from.
        seed: the axis of the seeds, if nothing else depends on it.
        known: a run for all values but the seed; it is extended.

    Raises:
        Refused: if the values are not valid, or a `${…}` refers to nothing.
    """
    # What the runs share that differ in the seed alone: the other indices; with `${seed}` about, the resolved values.
    rest: object = None if seed is None else (*point.indices[:seed], *point.indices[seed + 1 :])
    if seed is not None and rest in known:
        return known[rest].with_seed(point.axes[seed].values[point.indices[seed]])
    values = lines.resolved(point.applied_to(base))
    if seed is None:
        rest = repr({key: value for key, value in values.items() if key != "seed"})
        if "seed" in values and rest in known:
            return known[rest].with_seed(values["seed"])
    return known.setdefault(rest, Run.of(values))


def _sections(document: Document) -> tuple[dict[str, Any], dict[str, str], list[Fault]]:
    """The sections of a file, its misspellings of them, and what is wrong at the top level.

    A misspelt section is checked as the section that is meant, so that faults inside it are reported at once.
    """
    known, value = (*HEAD, *SECTIONS), document.value
    base, spelt, faults = {key: part for key, part in value.items() if key in SECTIONS}, dict[str, str](), []
    for key in (k for k in value if k not in known):
        meant = nearest(key, known)
        text = f" (did you mean {meant}?)" if meant else f"; a study has {', '.join(known)}"
        faults.append(Fault(document.line((key,)), (key,), f"unknown key{text}"))
        if meant is not None and meant in SECTIONS and meant not in base:
            base[meant], spelt[meant] = value[key], key
    return base, spelt, [*faults, *presentation.faults(document)]


def _unknown_axes(axes: Sequence[Axis], base: Mapping[str, Any]) -> list[Fault]:
    """The faults of axes that do not start with a section of a run."""
    unknown = [axis for axis in axes if axis.path[0] not in SECTIONS]
    known = grid.known_keys([a for a in axes if a not in unknown], SECTIONS, base) if unknown else set()
    return [Fault(axis.line, ("grid", axis.key), grid.unknown(axis.key, known)) for axis in unknown]


def _repeats(document: Document, runs: Sequence[Run], points: Sequence[Point]) -> list[Fault]:
    first: dict[str, Point] = {}
    faults = []
    for run, point in zip(runs, points, strict=True):
        if (other := first.setdefault(run.id, point)) is not point:
            text = f"{point.label()} is the same run as {other.label()}; take one of the two out"
            line = document.line(("grid",)) if any(axis.line for axis in point.axes) else 0
            faults.append(Fault(line, ("grid",), text))
    return faults


def _text(path: Path) -> str:
    try:
        return _read(path).decode("utf-8-sig")  # without the byte order mark that some editors write
    except FileNotFoundError:
        there = sorted(str(p) for folder in {path.parent, CONF} for p in folder.glob("*.yaml")) or names()
        listed = f"; there is {', '.join(there)}" if there else "; give the path of a YAML file"
        reason = f"no such file{did_you_mean(str(path), there) or listed}"
    except IsADirectoryError:
        there = sorted(str(p) for p in path.glob("*.yaml"))
        reason = f"a directory; name one study in it{': ' if there else ''}{', '.join(there)}"
    except UnicodeDecodeError as error:
        reason = f"not text in UTF-8 (byte {error.start}); save it as UTF-8"
    except OSError as error:
        reason = f"cannot be read: {error.strerror or error}; check the path and its permissions"
    raise ConfigError([f"{path}: {reason}"])


def _read(path: Path) -> bytes:
    """The bytes of a regular file of reasonable size. (Reading a pipe or a device may never end.)"""
    if "\0" in str(path):
        raise OSError("no path has a character 0")
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError
    if not stat.S_ISREG(mode):
        raise OSError("a pipe, a socket or a device, where an ordinary file is expected")
    with path.open("rb") as opened:
        content = opened.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise OSError(f"more than {MOST_BYTES} bytes, which no study needs")
    return content


def _refuse(path: Path, faults: Sequence[Fault]) -> None:
    if faults:
        raise ConfigError(said(path, faults))


CONF = Path("conf")  # the studies of the folder in which a command is given

_PACKAGE = Path(__file__).parents[1]


def shipped() -> Path:
    """The studies that come with the package: `vaebench/conf` of a wheel, `conf` of a checkout."""
    return next((folder for folder in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if folder.is_dir()), CONF)


def studies() -> Path:
    """The folder whose studies `vaebench list` shows: `conf/` if there is one here, else the shipped one."""
    return CONF if CONF.is_dir() else shipped()


def located(given: Path) -> Path:
    """The file of a study that is given by its path or by its name.

    A file at the given path is taken first, then `conf/<name>.yaml` (or `.yml`), then the shipped study of that
    name. If there is none, the given path comes back.
    """
    if given.suffix in SUFFIXES or os.path.lexists(given):  # a path that the system refuses is reported when it is read
        return given
    places = (folder / f"{given}{suffix}" for folder in (CONF, shipped()) for suffix in SUFFIXES)
    return next((place for place in places if os.path.isfile(place)), given)


def names() -> list[str]:
    """The studies that may be given by name."""
    return sorted({path.stem for folder in (CONF, shipped()) for path in folder.glob("*") if path.suffix in SUFFIXES})


def copy_to(folder: Path) -> list[Path]:
    """Copy the shipped studies and the schema for editors into a folder; files that exist stay as they are.

    Returns:
        the files that were written.
    """
    made = []
    for source in sorted(path for path in shipped().rglob("*") if path.suffix in (*SUFFIXES, ".json")):
        target = folder / source.relative_to(shipped())
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            made.append(target)
    return made
