"""What a YAML file may name, read without importing it."""

from collections.abc import Iterator
from pathlib import Path

from vaebench.cli.terminal import counted
from vaebench.config import ConfigError, load
from vaebench.config.registry import REGISTRIES

Rows = list[tuple[str, str]]


def catalogue(folder: Path) -> Iterator[tuple[str, Rows]]:
    """Each kind of component and the studies of a folder: a heading, then names with one line each."""
    for registry in REGISTRIES:
        yield f"{registry.kind}s", [(name, registry.source(name).summary) for name in registry]
    yield "studies", [(str(path), _question(path)) for path in sorted(folder.glob("*.yaml"))]


def _question(path: Path) -> str:
    try:
        study = load(path)
    except ConfigError as error:
        return f"does not load: {error.faults[0]}"
    return f"{study.question} ({counted(study.runs, 'run')})"
