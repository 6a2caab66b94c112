"""The commands list, init, new and schema: what a study may name, and files to start from."""

import keyword
import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

import vaebench
from vaebench.cli.arguments import Json
from vaebench.cli.terminal import console, counted, print_json
from vaebench.records.run_folder import PAPER
from vaebench.reporting.printing import line

if TYPE_CHECKING:
    from vaebench.config.registry import Registry


def show_version(asked: bool) -> bool:
    """Print the version and end, if asked."""
    if asked:
        console.print(f"vaebench {vaebench.__version__}")
        raise typer.Exit
    return asked


def list_(
    name: Annotated[str | None, typer.Argument(help="A component, e.g. BetaVAE: show its keys.")] = None,
    json: Json = False,
) -> None:
    """List everything that a YAML file may name, and the studies; with a name, every key of that component."""
    from vaebench.config import loading

    folder = loading.studies()
    if json and name:
        print_json({heading: [key._asdict() for key in keys] for heading, keys in keys_of(name)})
    elif json:
        print_json({heading: dict(rows) for heading, rows in catalogue(folder)})
    elif name:
        for heading, keys in keys_of(name):
            console.entry("", heading, "bold")
            for key in keys:
                console.entry(
                    f"  {key.name}: ",
                    f"{key.expected}; {'must be given' if key.default is None else f'default {key.default}'}",
                )
                console.entry(6 * " ", key.help)
    else:
        for heading, rows in catalogue(folder):
            console.print(line((heading, "bold")))
            width = max((len(entry) for entry, _ in rows), default=0)
            for entry, about in rows:
                console.entry(f"  {entry:{width}}  ", about)


def init(folder: Annotated[Path, typer.Argument(help="Where the folder conf/ is made.")] = Path()) -> None:
    """Copy the shipped studies to conf/ in this folder, to start your own from. No file is overwritten."""
    from vaebench.config import loading

    made = loading.copy_to(folder / "conf")
    console.print(f"{folder / 'conf'}: {counted(made, 'file')} written", soft_wrap=True)


def new(
    kind: Annotated[Literal["model", "metric", "dataset"], typer.Argument(help="What it is.")],
    name: Annotated[str, typer.Argument(help="The name of its class, e.g. CapacityVAE.")],
) -> None:
    """Write the file of a new model, metric or data set, and its test, into this folder. Both work as they are."""
    for path in starters(kind, name, Path()):
        console.print(str(path))


def schema(path: Annotated[Path, typer.Argument(help="Where to write it.")] = Path("conf/schema.json")) -> None:
    """Write the JSON schema of a study file. An editor uses it to complete and check the file."""
    from vaebench.config import schema as schemas

    schemas.write(path)
    console.print(f"wrote {path}", soft_wrap=True)


def starters(kind: str, name: str, folder: Path) -> list[Path]:
    """Write the file of a new component and its test.

    Args:
        kind: `model`, `metric` or `dataset`.

    Raises:
        ValueError: if the name is no name of a class, or is in a registry.
        FileExistsError: if one of the files exists.
    """
    from vaebench.config.registry import REGISTRIES
    from vaebench.records.files import write_atomically

    if not re.fullmatch("[A-Z][A-Za-z0-9]*", name) or keyword.iskeyword(name):
        raise ValueError(f"expected the name of a class in CamelCase, e.g. CapacityVAE, got {name[:60]!r}")
    if taken := next((registry for registry in REGISTRIES if name in registry), None):
        raise ValueError(f"{name}: the name of a {taken.kind} already; choose another name")
    stem = snake_case(name)
    paths = {folder / f"{stem}.py": f"{kind}.txt", folder / f"test_{stem}.py": f"test_{kind}.txt"}
    if there := [str(path) for path in paths if path.exists()]:
        raise FileExistsError(f"{', '.join(there)}: exists already; choose another name, or move the file away")
    here = resources.files("vaebench.cli").joinpath("starters")
    for path, template in paths.items():
        text = here.joinpath(template).read_text(encoding="utf-8")
        write_atomically(path, text.replace("NAME", name).replace("STEM", stem).encode())
    return list(paths)


def snake_case(name: str) -> str:
    """The name of a file for a class.

    >>> snake_case("CapacityVAE"), snake_case("VAE2Plus"), snake_case("Wine")
    ('capacity_vae', 'vae2_plus', 'wine')
    """
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


# -- what a YAML file may name, read without importing it --------------------------------------------------------------

Rows = list[tuple[str, str]]


def catalogue(folder: Path) -> Iterator[tuple[str, Rows]]:
    """Each kind of component and the studies of a folder: a heading, then names with one line each."""
    from vaebench.config.loading import CONF
    from vaebench.config.registry import REGISTRIES

    for registry in REGISTRIES:
        yield f"{registry.kind}s", [(name, _about(registry, name)) for name in registry]
    is_here = folder == CONF  # a shipped study is given by its name
    paths = [path for pattern in ("*.yaml", f"{PAPER}/*.yaml") for path in sorted(folder.glob(pattern))]
    names = [str(path) if is_here else path.relative_to(folder).with_suffix("").as_posix() for path in paths]
    yield "studies", [(name, _question(path)) for name, path in zip(names, paths, strict=True)]


def _about(registry: "Registry", name: str) -> str:
    """The first sentence of an entry, and the import that it comes from."""
    origin = registry.origin(name)
    return registry.source(name).summary + (f" [{origin.asked}]" if origin else "")


def _question(path: Path) -> str:
    from vaebench.config import ConfigError, load

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


def keys_of(name: str) -> list[tuple[str, list[Key]]]:
    """The keys of each component of that name: a heading with the kind and what it is, then its keys.

    Raises:
        ValueError: if no component has that name, with the nearest ones.
    """
    from vaebench.config.registry import REGISTRIES, did_you_mean

    found = [registry for registry in REGISTRIES if name in registry]
    if not found:
        known = sorted({entry for registry in REGISTRIES for entry in registry})
        near = did_you_mean(name, known) or "; `vaebench list` shows every name"
        raise ValueError(f"{name[:60]!r}: no component has that name{near}")
    return [(f"{name} ({registry.kind}): {registry.source(name).summary}", _keys(registry, name)) for registry in found]


def _keys(registry: Any, name: str) -> list[Key]:
    from vaebench.config.fields import EMPTY, component_fields, described, shown

    def default(value: Any) -> str | None:
        """As YAML spells it."""
        return None if value is EMPTY else "null" if value is None else shown(value)

    fields = component_fields(registry, name).items()
    return [Key(key, described(field.kind), default(field.default), field.help or "") for key, field in fields]
