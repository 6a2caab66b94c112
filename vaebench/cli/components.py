"""The commands list, init, new, schema and doctor: what a study may name, files to start from, what is installed."""

import keyword
import os
import platform
import re
import sys
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer

import vaebench
from vaebench.cli.arguments import Json
from vaebench.cli.terminal import console, counted, print_json
from vaebench.data import torchvision_ops
from vaebench.records.collection import importing
from vaebench.records.files import PAPER, SUFFIXES
from vaebench.reporting.printing import line

if TYPE_CHECKING:
    from vaebench.config.key_types import Field
    from vaebench.config.registry import Registry


Kind = Literal["model", "metric", "dataset", "prior", "likelihood"]
"""What `new` writes."""


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
    kind: Annotated[Kind, typer.Argument(help="What it is.")],
    name: Annotated[str, typer.Argument(help="The name of its class, e.g. CapacityVAE.")],
) -> None:
    """Write the file of a new component, and its test, into this folder. Both work as they are."""
    from vaebench.config.loading import CONF

    made, test = starters(kind, name, Path())
    console.print(f"wrote {made} and {test}; test it: python -m pytest {test}", soft_wrap=True)
    places = f"in a study in {CONF}/: imports: [../{made}]; in a study in this folder: imports: [{made}]"
    console.print(f"{places}; in a command here: --import {made}", soft_wrap=True)


def schema(path: Annotated[Path, typer.Argument(help="Where to write it.")] = Path("conf/schema.json")) -> None:
    """Write the JSON schema of a study file. An editor uses it to complete and check the file."""
    from vaebench.config import schema as schemas

    schemas.write(path)
    console.print(f"wrote {path}", soft_wrap=True)


def starters(kind: Kind, name: str, folder: Path) -> list[Path]:
    """Write the file of a new component and its test.

    Args:
        kind: what it is.

    Returns:
        The two files.

    Raises:
        ValueError: if the name is no name of a class, or is in a registry, or its file would hide a module of Python's
            or of an installed package.
        FileExistsError: if one of the files exists.
    """
    from vaebench.config.registry import REGISTRIES
    from vaebench.config.signature import module_path
    from vaebench.records.files import write_atomically

    if not re.fullmatch("[A-Z][A-Za-z0-9]*", name) or keyword.iskeyword(name):
        raise ValueError(f"expected the name of a class in CamelCase, e.g. CapacityVAE, got {name[:60]!r}")
    if taken := next((registry for registry in REGISTRIES if name in registry), None):
        raise ValueError(f"{name}: the name of a {taken.kind} already; choose another name")
    stem = snake_case(name)
    if stem in sys.stdlib_module_names or module_path(stem) is not None or stem in sys.modules:
        raise ValueError(f"{name}: {stem}.py would hide the module {stem} from Python here; choose another name")
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
    paths = [path for part in ("*", f"{PAPER}/*") for path in sorted(folder.glob(part)) if path.suffix in SUFFIXES]
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
    from vaebench.config.key_types import component_fields
    from vaebench.config.registry import REGISTRIES, did_you_mean

    found = [registry for registry in REGISTRIES if name in registry]
    if not found:
        known = sorted({entry for registry in REGISTRIES for entry in registry})
        near = did_you_mean(name, known) or "; `vaebench list` shows every name"
        raise ValueError(f"{name[:60]!r}: no component has that name{near}")
    return [
        (
            f"{name} ({registry.kind}): {registry.source(name).summary}",
            [_key(*item) for item in component_fields(registry, name).items()],
        )
        for registry in found
    ]


def _key(name: str, field: "Field") -> Key:
    from vaebench.config.key_types import EMPTY, described, shown

    default = None if field.default is EMPTY else "null" if field.default is None else shown(field.default)
    return Key(name, described(field.kind), default, field.help or "")


# -- doctor: versions, devices, torchvision's operators, data. Each check imports what it looks at ----------------

CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"


class Finding(NamedTuple):
    """The result of one check."""

    topic: str  # the group of the check, e.g. `device`
    item: str  # what was checked
    found: str  # the result
    remedy: str | None = None  # what to do about it; None if nothing is wrong


def doctor(json: Json = False) -> None:
    """Show versions, devices, the state of torchvision, and the data that is found."""
    with importing():
        findings = examine()
    if json:
        print_json([finding._asdict() for finding in findings])
        return
    for topic, item, found, remedy in findings:
        console.entry(f"{topic:12} {item:18} ", found)
        if remedy is not None:
            console.entry(32 * " ", f"→ {remedy}", "yellow")


def examine() -> list[Finding]:
    """Every finding, in the order of the topics. A check that fails is a finding too, and the others still run."""
    return [finding for topic, look in TOPICS.items() for finding in _guarded(topic, look)]


def versions() -> Iterator[Finding]:
    """Python and the required libraries, compared with the versions that made the published numbers."""
    from importlib.metadata import PackageNotFoundError, version

    yield Finding("version", "python", platform.python_version())
    published = pinned(CONSTRAINTS.read_text(encoding="utf-8")) if CONSTRAINTS.exists() else {}
    for name in ("vaebench", *required()):
        try:
            found = version(name)
        except PackageNotFoundError:
            yield Finding("version", name, "not installed", f"pip install -c constraints.txt {name}")
            continue
        tested = published.get(name, found)
        # A local part (`+cpu`, `+cu128`) names a build of the same version.
        same = found.partition("+")[0] == tested
        yield Finding("version", name, found if same else f"{found} (published numbers: {tested})")


def devices() -> Iterator[Finding]:
    """The devices that torch can use."""
    import torch

    from vaebench.records import provenance

    yield Finding("device", "cpu", f"{provenance.cores()} cores, {torch.get_num_threads()} threads a process")
    for index in range(torch.cuda.device_count()):
        found = torch.cuda.get_device_properties(index)
        yield Finding("device", f"cuda:{index}", f"{found.name}, {found.total_memory / 2**30:.0f} GiB")
    if torch.version.cuda is None:
        yield Finding("device", "cuda", "this torch is built without CUDA")
    elif not torch.cuda.is_available():
        yield Finding("device", "cuda", f"no GPU found (torch is built for CUDA {torch.version.cuda})")


def operators() -> Iterator[Finding]:
    """Whether torchvision's compiled operators load (see `vaebench.data.torchvision_ops`)."""
    import torchvision  # noqa: F401 (its state after the import is checked)

    words = {
        "compiled": "loaded",
        "declared": "do not load with this torch; they are declared instead, and vaebench needs no more",
    }
    yield Finding("torchvision", "operators", words[torchvision_ops.state()])


def data() -> Iterator[Finding]:
    """The data root, and which of torchvision's data sets are complete in it."""
    from torchvision import datasets

    from vaebench.config.registry import DATASETS
    from vaebench.data.datasets.base import data_root

    root = data_root()
    origin = "VAEBENCH_DATA" if os.environ.get("VAEBENCH_DATA") else "default; VAEBENCH_DATA sets another"
    yield Finding("data", "root", f"{root.resolve()} ({origin}{'' if root.is_dir() else '; not there yet'})")
    for name in DATASETS:
        asked = [k for k, p in DATASETS.keywords(name).items() if p.default is p.empty]
        if asked:
            yield Finding("data", name, f"your own; give {', '.join(asked)}")
        elif hasattr(datasets, source := DATASETS.named(name).source or name):
            yield _fetched(name, getattr(datasets, source), root)
        else:
            yield Finding("data", name, "needs no download")


def required() -> list[str]:
    """Names of the libraries that the installed package requires."""
    from importlib.metadata import requires

    return [re.split(r"[^\w.-]", one, maxsplit=1)[0] for one in requires("vaebench") or () if "extra ==" not in one]


def pinned(constraints: str) -> dict[str, str]:
    """The versions in the text of a constraints file, one `name==version` per line.

    >>> pinned("torch==2.6\\nnumpy==1.26")
    {'torch': '2.6', 'numpy': '1.26'}
    """
    return dict(re.findall(r"^([\w.-]+)==(\S+)", constraints, flags=re.MULTILINE))


def _fetched(name: str, source: Callable[..., object], root: Path) -> Finding:
    """Whether a data set of torchvision is complete, by torchvision's own check."""
    try:
        for half in ({"background": True}, {"background": False}) if name == "Omniglot" else ({},):  # two downloads
            source(str(root), **half)
    except RuntimeError:
        # torchvision raises it for "not there, or not complete"
        return Finding("data", name, "not there; downloaded on first use")
    except Exception as error:
        return Finding("data", name, f"cannot be read: {error}", f"remove its files under {root.resolve()}")
    return Finding("data", name, "found")


def _guarded(topic: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from look()
    except Exception as error:
        yield Finding(topic, "examination", f"{type(error).__name__}: {error}", "pip install -c constraints.txt -e .")


TOPICS: dict[str, Callable[[], Iterator[Finding]]] = {
    "version": versions,
    "device": devices,
    "torchvision": operators,
    "data": data,
}
