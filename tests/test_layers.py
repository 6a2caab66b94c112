"""The house's shape, read with `ast`: an import points down only, the light rooms stay light, files stay short."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "vaebench"

LAYERS = (
    # 0, files of arrays.
    "npz",
    # 0, what is kept, and how it proves itself.
    "sealed plain proof",
    # 0: what everything may stand on.
    "torchvision_ops signature registry seeding blocks bounds atomic weights record provenance pictures signals",
    # 0, draws and the tails of their weights.
    "tails draws",
    # 0, what people read.
    "printing",
    # 1: parts that know nothing of one another's use.
    "continuous_bernoulli scores likelihoods priors networks corruptions schedules binarization batches",
    # 1, linear algebra of large matrices.
    "lanczos",
    # 1, the oracle: from a spectrum to what a linear model must come to.
    "oracle",
    # 1, samplers: pure functions of a log-density.
    "hmc curvature annealing",
    # 2: three siblings that meet only through `draws`, and the one data module.
    "models metrics datasets datamodule",
    # 2, what asks a model itself for its densities.
    "estimators",
    # 3: a study's file, and a model measured.
    "config evaluation",
    # 3, why units collapsed.
    "stationarity verdict",
    # 3, what a model makes of images.
    "picturing",
    # 3, many members trained as one program.
    "packing",
    # 4: what records say together.
    "tables",
    # 4: one run.
    "run training tracking plan beacon",
    # 5: many runs.
    "sweep work engines ahead overridden progress reevaluate catalogue doctor",
    # 5: what comes out of them.
    "published pairing selection cards report dashboard",
    # 5: every instrument against an exact answer.
    "calibration",
    # 6: the command line, its verbs below what assembles them.
    "commands",
    # 7.
    "__main__",
)
"""The rooms, a file or a folder each, from the ground up. A new file takes its place here."""

SIBLINGS = frozenset({"models", "metrics", "datasets"})

LIGHT = (
    *("registry", "record", "config", "plan", "catalogue", "progress"),
    *("tables", "published", "pairing", "selection", "cards", "report", "dashboard", "commands", "__main__"),
)
"""Rooms that answer before torch could be imported; with them, every room they stand on."""

HEAVY = frozenset({"torch", "torchvision", "lightning", "torchmetrics", "sklearn", "wandb", "jaxtyping"})

LONGEST = 260
"""Lines of a file; about 200 hold one idea."""


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
                # `from vaebench import bounds` enters the room `bounds`.
                yield from (
                    Import(f"vaebench.{alias.name}" if module == "vaebench" else str(module), child.lineno, at_import)
                    for alias in names
                )
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield from _imports(child, at_import=False)
            case ast.If(test=ast.Name(id="TYPE_CHECKING"), orelse=otherwise):
                for statement in otherwise:
                    yield from _imports(statement, at_import)
            case _:
                yield from _imports(child, at_import)


def ours(path: Path) -> Iterator[Import]:
    return (i for i in imports(path) if i.module.split(".")[0] == "vaebench")


def layer(room: str) -> int:
    places = [i for i, rooms in enumerate(LAYERS) if room in rooms.split()]
    assert len(places) == 1, f"{room}: expected one place in LAYERS, got {len(places)}"
    return places[0]


def test_every_room_has_a_layer() -> None:
    placed = {room for rooms in LAYERS for room in rooms.split()}
    there = {room_of(path) for path in files("vaebench")} - {"__init__"}
    assert there - placed == set(), "give each new file a place in LAYERS"


@pytest.mark.parametrize("path", files("vaebench"), ids=name)
def test_an_import_points_down_only(path: Path) -> None:
    """Inside a function too: an import that is late is still a dependency."""
    if (here := room_of(path)) == "__init__":
        assert {room(i.module) for i in ours(path)} == {"torchvision_ops"}
        return
    for found in ours(path):
        there = room(found.module)
        if there in ("__init__", here):
            continue
        assert layer(there) <= layer(here), f"{name(path)}:{found.line}: {here} must not import {there}, which is above"
        assert not {here, there} <= SIBLINGS, f"{name(path)}:{found.line}: {here} and {there} meet through draws only"


def test_no_import_runs_in_a_circle() -> None:
    """Rooms of one layer may use one another, one way round."""
    uses = {room_of(path): set[str]() for path in files("vaebench")}
    for path in files("vaebench"):
        uses[room_of(path)] |= {room(i.module) for i in ours(path)} - {room_of(path), "__init__"}
    while free := [room for room, used in uses.items() if not used & set(uses)]:
        for room_ in free:
            del uses[room_]
    assert uses == {}, "these import one another"


@pytest.mark.parametrize("light", LIGHT)
def test_light_rooms_reach_nothing_heavy_at_import(light: str) -> None:
    """Followed from room to room, so that a table, `--help` or a fault in a study never waits for torch."""
    seen, waiting = set[Path](), [path for path in files("vaebench") if room_of(path) == light]
    assert waiting, f"{light} is not there"
    while waiting:
        seen.add(path := waiting.pop())
        for found in (i for i in imports(path) if i.at_import):
            top = found.module.split(".")[0]
            assert top not in HEAVY, f"{light} reaches {found.module} by {name(path)}:{found.line}"
            if top == "vaebench":
                waiting += [p for p in sources(found.module) if p not in seen]


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


def test_stem_rule() -> None:
    """A word names one study: what stands in results/beta/ came from conf/beta.yaml."""
    studies = {path.stem for path in (ROOT / "conf").glob("*.yaml")}
    results = {path.parent.name for path in (ROOT / "results").glob("*/records")}
    assert results <= studies, "results of a study that conf/ does not have"


def test_benchmarks_are_not_imported() -> None:
    for path in files("vaebench"):
        assert not any(i.module.split(".")[0] in ("benchmarks", "tests") for i in imports(path)), name(path)
