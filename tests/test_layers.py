"""The house's shape, read with `ast`: an import points down only, the light rooms stay light, files stay short."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from vaebench.records.files import place, published_studies

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "vaebench"

ROOMS = (
    "records",
    "config",
    "oracle",
    "data",
    "models",
    "evaluation",
    "training",
    "reporting",
    "sweeps",
    "calibration",
    "cli",
)
"""The folders of the package from the ground up; the README's table of rooms lists the same, from the top down."""

LIGHT = ("config", "records", "reporting", "cli", "__main__", "sweeps/packs", "sweeps/progress")
"""What answers before torch could be imported, with every file that it imports."""

HEAVY = frozenset({"torch", "torchvision", "lightning", "torchmetrics", "sklearn", "wandb", "jaxtyping", "zuko"})

TORCHLESS = ("records", "reporting")
"""Rooms without torch."""

LONGEST = 400
"""Lines of a file: one idea or one family."""

LONGEST_FUNCTION = 45


class Import(NamedTuple):
    """One imported module, and where the statement stands."""

    module: str
    line: int
    at_import: bool
    """Whether it is carried out when the file is imported, or only inside a function."""


def files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def room(module: str) -> str:
    """The room of `vaebench.room` or `vaebench.room.part`; `__init__` for the package itself."""
    return [*module.split("."), "__init__"][1]


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


@cache
def imports(path: Path) -> tuple[Import, ...]:
    return tuple(_imports(ast.parse(path.read_text()), at_import=True))


def _imports(node: ast.AST, at_import: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.Import(names=names):
                yield from (Import(alias.name, child.lineno, at_import) for alias in names)
            case ast.ImportFrom(module=module, level=level, names=names):
                assert level == 0, f"line {child.lineno}: a relative import hides which room it enters"
                # `from vaebench.config import grid` enters the file `grid`.
                for alias in names:
                    inner = f"{module}.{alias.name}"
                    yield Import(inner if modules(inner) else str(module), child.lineno, at_import)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield from _imports(child, at_import=False)
            case ast.If(test=ast.Name(id="TYPE_CHECKING"), orelse=otherwise):
                for statement in otherwise:
                    yield from _imports(statement, at_import)
            case _:
                yield from _imports(child, at_import)


def ours(path: Path) -> Iterator[Import]:
    return (i for i in imports(path) if i.module.split(".")[0] == "vaebench")


def floor(room: str) -> int:
    return len(ROOMS) if room == "__main__" else ROOMS.index(room)


@pytest.mark.parametrize("room", [*ROOMS, "training/packed"])
def test_the_first_lines_of_a_room_name_each_of_its_files(room: str) -> None:
    folder = PACKAGE / room
    explained = ast.get_docstring(ast.parse((folder / "__init__.py").read_text())) or ""
    inside = {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/__init__.py")}
    assert inside - {"__init__"} - set(re.findall(r"`(\w+)`", explained)) == set()


def test_the_package_is_its_rooms() -> None:
    """`ls vaebench`, the order of imports and the README's table are one list."""
    there = {path.relative_to(PACKAGE).parts[0] for path in files("vaebench")}
    assert there == {*ROOMS, "__init__.py", "__main__.py"}
    table = re.findall(r"^\| `(\w+)/` \|", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert table == [*reversed(ROOMS)], "the README's table of rooms"


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_files_that_a_page_names_are_there(page: str) -> None:
    rooms = "|".join(ROOMS)
    named = re.findall(rf"`(?:vaebench/)?((?:{rooms})/[\w/.]*)`", (ROOT / page).read_text(encoding="utf-8"))
    assert named
    assert [path for path in named if not (PACKAGE / path).exists()] == []


@pytest.mark.parametrize("path", files("vaebench"), ids=name)
def test_an_import_points_down_only(path: Path) -> None:
    """Inside a function too: an import that is late is still a dependency."""
    if (here := room_of(path)) == "__init__":
        assert {i.module for i in ours(path)} == {"vaebench.data.import_hook"}
        return
    for found in ours(path):
        there = room(found.module)
        if there not in ("__init__", here):
            assert floor(there) < floor(here), f"{name(path)}:{found.line}: {here} must not import {there}"


def test_no_import_runs_in_a_circle() -> None:
    """Between files too, so that each can be read before those that use it."""
    uses = {
        path: {p for i in ours(path) if i.at_import for p in modules(i.module)} - {path} for path in files("vaebench")
    }
    while free := [path for path, used in uses.items() if not used & set(uses)]:
        for path in free:
            del uses[path]
    assert {name(path) for path in uses} == set(), "these import one another"


@pytest.mark.parametrize("light", LIGHT)
def test_light_rooms_reach_nothing_heavy_at_import(light: str) -> None:
    """Followed from file to file, so that a table, `--help` or a fault in a study never waits for torch."""
    waiting = [
        path for path in files("vaebench") if name(path).startswith((f"vaebench/{light}/", f"vaebench/{light}.py"))
    ]
    waiting = [path for path in waiting if name(path) != "vaebench/config/seeding.py"]  # generators of torch
    assert waiting, f"{light} is not there"
    seen = set[Path]()
    while waiting:
        seen.add(path := waiting.pop())
        for found in (i for i in imports(path) if i.at_import):
            top = found.module.split(".")[0]
            assert top not in HEAVY, f"{light} reaches {found.module} by {name(path)}:{found.line}"
            if top == "vaebench":
                waiting += [p for p in sources(found.module) if p not in seen]


@pytest.mark.parametrize("path", [p for p in files("vaebench") if room_of(p) in TORCHLESS], ids=name)
def test_records_and_what_is_made_of_them_never_import_torch(path: Path) -> None:
    """Not even inside a function: a table is made where torch is not installed."""
    for found in imports(path):
        assert found.module.split(".")[0] not in HEAVY - {"wandb"}, f"{name(path)}:{found.line}: {found.module}"


def modules(module: str) -> list[Path]:
    """The file of a module of ours, or of a package; none for other modules."""
    if not module.startswith("vaebench."):
        return []
    path = PACKAGE.joinpath(*module.split(".")[1:])
    return [p for p in (path.with_suffix(".py"), path / "__init__.py") if p.exists()]


def sources(module: str) -> list[Path]:
    """The files that importing a module of ours executes, below the package's own `__init__`."""
    parts = module.split(".")[1:]
    steps = [PACKAGE.joinpath(*parts[: i + 1]) for i in range(len(parts))]
    return [p for step in steps for p in (step.with_suffix(".py"), step / "__init__.py") if p.exists()]


@pytest.mark.parametrize("path", files("vaebench", "benchmarks"), ids=name)
def test_a_file_is_one_idea(path: Path) -> None:
    """A longer one says `Long because` and why in its docstring. (A file of tests is as long as its module's laws.)"""
    source = path.read_text()
    length = len(source.splitlines())
    reason = "Long because" in (ast.get_docstring(ast.parse(source)) or "")
    assert length <= LONGEST or reason, f"{name(path)} has {length} lines; part it, or say `Long because` at its head"


@pytest.mark.parametrize("path", files("vaebench", "benchmarks"), ids=name)
def test_a_function_fits_on_a_screen(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= LONGEST_FUNCTION, f"{name(path)}:{node.lineno}: {node.name} has {length} lines"


def test_stem_rule() -> None:
    """A word names one study: what stands in results/beta/ came from conf/beta.yaml."""
    conf, results = ROOT / "conf", ROOT / "results"
    studies = [place(path) for path in conf.rglob("*.yaml")]
    there = {path.relative_to(results) for path in published_studies(results)}
    assert there <= {*studies}, "results of a study that conf/ does not have"
    names = [path.name for path in studies]
    assert len(names) == len({*names}), "two studies of one name"


def test_benchmarks_are_not_imported() -> None:
    for path in files("vaebench"):
        assert not any(i.module.split(".")[0] in ("benchmarks", "tests") for i in imports(path)), name(path)
