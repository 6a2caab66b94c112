"""What a YAML file may name, read without importing it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from vaebench.cli.terminal import counted
from vaebench.config import ConfigError, load
from vaebench.config.fields import EMPTY, component_fields, described, shown
from vaebench.config.loading import CONF
from vaebench.config.registry import REGISTRIES, Registry, did_you_mean
from vaebench.records.run_folder import PAPER

Rows = list[tuple[str, str]]


def catalogue(folder: Path) -> Iterator[tuple[str, Rows]]:
    """Each kind of component and the studies of a folder: a heading, then names with one line each."""
    for registry in REGISTRIES:
        yield f"{registry.kind}s", [(name, _about(registry, name)) for name in registry]
    is_here = folder == CONF  # a shipped study is given by its name
    paths = [path for pattern in ("*.yaml", f"{PAPER}/*.yaml") for path in sorted(folder.glob(pattern))]
    names = [str(path) if is_here else path.relative_to(folder).with_suffix("").as_posix() for path in paths]
    yield "studies", [(name, _question(path)) for name, path in zip(names, paths, strict=True)]


def _about(registry: Registry, name: str) -> str:
    """The first sentence of an entry, and the import that it comes from."""
    origin = registry.origin(name)
    return registry.source(name).summary + (f" [{origin.asked}]" if origin else "")


def _question(path: Path) -> str:
    try:
        study = load(path)
    except ConfigError as error:
        return f"does not load: {error.faults[0]}"
    return f"{study.question} ({counted(study.runs, 'run')})"


class Key(NamedTuple):
    """A key of a component, in words."""

    name: str  # as YAML has it
    expected: str  # its type, range and choices
    default: str | None  # in YAML's spelling; None if it must be given
    help: str  # what it means

    @property
    def default_text(self) -> str:
        """The default, as it stands behind what is expected."""
        return "; must be given" if self.default is None else f"; default {self.default}"


def keys_of(name: str) -> list[tuple[str, list[Key]]]:
    """The keys of each component of that name: a heading with the kind and what it is, then its keys.

    Raises:
        ValueError: if no component has that name, with the nearest ones.
    """
    found = [registry for registry in REGISTRIES if name in registry]
    if not found:
        known = sorted({entry for registry in REGISTRIES for entry in registry})
        near = did_you_mean(name, known) or "; `vaebench list` shows every name"
        raise ValueError(f"{name[:60]!r}: no component has that name{near}")
    return [(f"{name} ({registry.kind}): {registry.source(name).summary}", _keys(registry, name)) for registry in found]


def _keys(registry: Any, name: str) -> list[Key]:
    fields = component_fields(registry, name).items()
    return [Key(key, described(field.kind), _default(field.default), field.help or "") for key, field in fields]


def _default(value: Any) -> str | None:
    """A default as YAML spells it; None if the key must be given."""
    if value is EMPTY:
        return None
    return "null" if value is None else shown(value)
