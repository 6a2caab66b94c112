"""Components from outside: files that a study imports, files of `--import`, and modules of installed packages.

A file is read to check a study, and never executed for that. It is executed when a run needs a component of it. A study
is refused if a file is missing; the runs that use it have the SHA-256 of its text in their configuration, and thus in
their id. So another version of the file makes other runs. Its text travels with the run to other processes, so each
worker has the version that was checked.
"""

import ast
import importlib
import importlib.abc
import importlib.util
import logging
import os
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from vaebench.config.signature import ClassSource, classes_of, module_path, text_of
from vaebench.records.checksums import checksum

GROUP = "vaebench.components"
"""The group of entry points by which an installed package names its modules with components."""

OURS = __name__.split(".")[0]  # this package
PREFIX = "vaebench_import_"  # the beginning of the name under which a file is executed
MOST_BYTES = 2**22  # the largest file that is read

log = logging.getLogger(__name__)


class ImportFault(ValueError):
    """A file that cannot be read, is not Python, or fails while it is executed. The message names it."""


class Source(NamedTuple):
    """One file: the name of its module, its path, and its text."""

    module: str
    path: str
    text: str

    @property
    def sha256(self) -> str:
        return checksum(self.text.encode())

    @property
    def key(self) -> str:
        """The name in a run's configuration: that of the module, without dots, because dots separate keys there."""
        return self.module.replace(".", "/")


class Import(NamedTuple):
    """What one word of `imports:` means."""

    asked: str  # the word: a path that ends in `.py`, or the name of a module
    sources: tuple[Source, ...]  # its file, and then every file that it imports from its own folder or package
    is_file: bool  # whether it is a file by its path
    # Whether it is here only because its package is installed. A study uses it only if it names one of its components.
    installed: bool = False

    @property
    def place(self) -> str:
        """The same for every way to write the path of its file."""
        return os.path.realpath(self.sources[0].path)

    @property
    def checksums(self) -> dict[str, str]:
        return {source.key: source.sha256 for source in self.sources}

    def classes(self) -> Iterator[ClassSource]:
        """Every class at the top level of the file (of a package: of each of its files that it imports)."""
        for source in self.sources[:1] if self.is_file else self.sources:
            yield from classes_of(source.text, source.path)

    def load(self, path: str) -> ModuleType:
        """Execute one of the sources, and return its module. A version of a file is executed once in a process.

        Raises:
            ImportFault: if it raises an error.
        """
        source = next(s for s in self.sources if s.path == path)
        try:
            return _executed(source, self.sources[1:]) if self.is_file else _imported(source)
        except ImportFault:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            place = place_of(error, [self]) or source.path
            raise ImportFault(f"{place}: cannot be imported ({reason})") from error


def place_of(error: BaseException, imports: Iterable[Import]) -> str | None:
    """The file and line of these imports in which an error arose; None if it arose without them."""
    paths = {source.path for each in imports for source in each.sources}
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename in paths]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else None


# -- what is visible in this process ----------------------------------------------------------------------------------

_given: tuple[Import, ...] = ()
_used: tuple[Import, ...] = ()


def give(words: Sequence[str]) -> None:
    """Import for the whole process what `--import` names; paths are relative to the working directory."""
    global _given, _used
    _given = _used = tuple(read(word, Path()) for word in words)


def given() -> tuple[Import, ...]:
    """What `--import` named."""
    return _given


def use(imports: Iterable[Import]) -> None:
    """Let the registries have the components of these imports, and no others but those of installed packages."""
    global _used
    _used = tuple({i.place: i for i in imports}.values())


def visible() -> tuple[Import, ...]:
    """The imports whose components the registries have."""
    if not (installed := _installed()):
        return _used
    own = {i.place for i in _used}
    return (*_used, *(i for i in installed if i.place not in own))


def check_names(imports: Sequence[Import]) -> None:
    """Refuse two files of one name: a run's configuration knows a file by its name.

    Raises:
        ImportFault: naming both.
    """
    first: dict[str, Source] = {}
    for source in (source for each in imports for source in each.sources):
        other = first.setdefault(source.key, source)
        if other.sha256 != source.sha256:
            raise ImportFault(f"two files are called {source.key}: {other.path}, {source.path}; rename one of them")


def recorded(checksums: Mapping[str, str]) -> tuple[Import, ...]:
    """The imports that a run used.

    Args:
        checksums: from the run's configuration.

    Raises:
        ImportFault: if a file was not asked for, or is another version now.
    """
    # Two imports may share a file. One that has a file which the run did not use is taken only if there is no other.
    whole = [i for i in visible() if i.checksums.items() <= checksums.items()]
    there = [*(i for i in visible() if i not in whole), *whole]
    here = {key: (i, sha) for i in there for key, sha in i.checksums.items()}
    for key, sha in checksums.items():
        if key not in here:
            raise ImportFault(
                f"this run uses components of {key} (SHA-256 {sha[:10]}…), which was not imported; give it: "
                f"--import {key}.py"
            )
        if here[key][1] != sha:
            raise ImportFault(
                f"{here[key][0].asked}: {key} is not the file that this run used (SHA-256 {sha[:10]}…, now "
                f"{here[key][1][:10]}…); restore that version, or train the run again"
            )
    return tuple(dict.fromkeys(here[key][0] for key in checksums))


@cache
def _installed() -> tuple[Import, ...]:
    points = sorted(entry_points(group=GROUP), key=lambda point: point.value)
    found = dict[str, Import]()
    for point in points:
        try:
            found[point.module] = read(point.module, Path())._replace(installed=True)
        except ImportFault as error:  # a fault of a package is no reason to stop what does not use it
            package = "an installed package" if point.dist is None else f"the installed package {point.dist.name}"
            log.warning("%s names components that cannot be read: %s; repair or uninstall it", package, error)
    return tuple(found.values())


# -- reading ----------------------------------------------------------------------------------------------------------


def read(word: str, folder: Path) -> Import:
    """Read what a word of `imports:` means; nothing is executed.

    Args:
        word: a path that ends in `.py`, or the name of a module.
        folder: where relative paths start.

    Raises:
        ImportFault: if there is no such file, or it is not Python.
    """
    is_file = word.endswith(".py")
    # Not `Path.expanduser`: it raises an error for a user that does not exist.
    path = folder / os.path.expanduser(word) if is_file else module_path(word)
    if path is None:
        remedy = "did you mean" if (folder / f"{word}.py").is_file() else "install its package, or give a file,"
        raise ImportFault(f"no module {word!r} is installed; {remedy} {word}.py?")
    first = _source(path.stem if is_file else word, path)
    sources, waiting = {first.module: first}, [first]
    while waiting:
        for name, beside in _beside(waiting.pop(), path, None if is_file else word):
            if name not in sources:
                sources[name] = _source(name, beside)
                waiting.append(sources[name])
    return Import(word, tuple(sources.values()), is_file)


def _source(module: str, path: Path) -> Source:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ImportFault(f"{path}: more than {MOST_BYTES} bytes; give a smaller file")
        source = Source(module, str(path), text_of(str(path)))
        ast.parse(source.text)
    except FileNotFoundError:
        raise ImportFault(f"{path}: no such file; check the path") from None
    except OSError as error:
        raise ImportFault(f"{path}: cannot be read: {error.strerror or error}; check the path") from None
    except UnicodeDecodeError:
        raise ImportFault(f"{path}: not text in UTF-8; save it as UTF-8") from None
    except SyntaxError as error:
        raise ImportFault(f"{path}:{error.lineno or 1}: not Python: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise ImportFault(f"{path}: not Python: {error}") from None
    return source


def _beside(source: Source, first: Path, package: str | None) -> Iterator[tuple[str, Path]]:
    """The modules that a file imports from its own folder, or from its own package; they belong to its version."""
    for node in ast.walk(ast.parse(source.text)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = list(_from(node, source))
        for name in names:
            if name.split(".")[0] == OURS:  # of a file beside a checkout too: the process has this package once
                continue
            if package is None:
                yield from ((each, path) for each, path in _modules(name, first.parent) if path != first)
            elif name.split(".")[0] == package.split(".")[0] and (path := module_path(name)) is not None:
                yield name, path


def _modules(name: str, folder: Path) -> Iterator[tuple[str, Path]]:
    """The files in a folder that `import NAME` executes, with the names of their modules: packages, then the module."""
    parts = name.split(".")
    for place in (folder.joinpath(*parts[:n]) for n in range(1, len(parts) + 1)):
        files = [place / "__init__.py", place.with_suffix(".py")]
        if found := next((path for path in files if path.is_file()), None):
            yield ".".join(place.relative_to(folder).parts), found


def _from(node: ast.ImportFrom, source: Source) -> Iterator[str]:
    """The modules that `from … import a, b` may mean: the module itself, and a and b in it."""
    above = source.module.split(".")
    if node.level:
        is_package = Path(source.path).stem == "__init__"
        above = above[: len(above) - node.level + is_package]
    base = ".".join([*(above if node.level else []), *([node.module] if node.module else [])])
    if base:
        yield base
    yield from (f"{base}.{alias.name}".lstrip(".") for alias in node.names)


# -- executing --------------------------------------------------------------------------------------------------------


class _Beside(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the files beside an imported file, each with the text that was read at first."""

    def __init__(self) -> None:
        self.sources: dict[str, Source] = {}

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        found = self.sources.get(name)
        if found is None:
            return None
        is_package = Path(found.path).stem == "__init__"
        spec = importlib.util.spec_from_loader(name, self, origin=found.path, is_package=is_package)
        if spec is not None and is_package:
            spec.submodule_search_locations = [str(Path(found.path).parent)]
        return spec

    def exec_module(self, module: ModuleType) -> None:
        _execute(self.sources[module.__name__], module)


_BESIDE = _Beside()


def is_of_file(module: str) -> bool:
    """Whether a module, by its name in `sys.modules`, is a file by its path, or was found beside such a file."""
    spec = getattr(sys.modules.get(module), "__spec__", None)
    return module.startswith(PREFIX) or getattr(spec, "loader", None) is _BESIDE


def name_of(source: Source) -> str:
    """The name of the module that a version of a file is executed as."""
    return f"{PREFIX}{Path(source.path).stem}_{source.sha256[:10]}"


def _executed(source: Source, beside: Sequence[Source]) -> ModuleType:
    name = "_".join([name_of(source), *(s.sha256[:6] for s in beside)])
    if name not in sys.modules:
        if _BESIDE not in sys.meta_path:
            sys.meta_path.insert(0, _BESIDE)
        for one in beside:  # a module of this name from another folder, or of another version
            sys.modules.pop(one.module, None)
        _BESIDE.sources |= {one.module: one for one in beside}  # a function may import those of another file later
        module = sys.modules[name] = ModuleType(name)
        try:
            _execute(source, module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


def _execute(source: Source, module: ModuleType) -> None:
    module.__file__ = source.path
    exec(compile(source.text, source.path, "exec"), module.__dict__)


def _imported(source: Source) -> ModuleType:
    module = importlib.import_module(source.module)
    path = Path(module.__file__ or source.path)
    if checksum(text_of(str(path)).encode()) != source.sha256:
        raise ImportFault(f"{path}: not the version that was checked; install the same version on every machine")
    return module
