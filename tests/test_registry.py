"""Laws over every registry: what is read from source is what Python would say, and every name keeps its promise."""

import inspect
import sys
from pathlib import Path
from types import ModuleType

import pytest

from vaebench.config import registry as names
from vaebench.config.faults import Refused
from vaebench.config.key_types import Component
from vaebench.config.registry import MODELS, REGISTRIES, Registry, UnknownName, did_you_mean
from vaebench.config.signature import ClassSource, SignatureError, arguments_described, classes_in
from vaebench.config.validation import validated

ENTRIES = [pytest.param(r, name, id=f"{r.kind}: {name}") for r in REGISTRIES for name in r]


def keywords_of(cls: type) -> dict[str, inspect.Parameter]:
    """What the constructor takes by keyword only, by Python's own account: through `**kwargs`, up the classes."""
    found: dict[str, inspect.Parameter] = {}
    for owner in (c for c in cls.__mro__ if "__init__" in vars(c) and c.__module__.startswith("vaebench.")):
        parameters = list(inspect.signature(vars(owner)["__init__"]).parameters.values())
        for p in parameters:
            if p.kind is p.KEYWORD_ONLY:
                found.setdefault(p.name, p)
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return found


@pytest.mark.parametrize(("registry", "name"), ENTRIES)
def test_keywords_read_from_source_are_those_of_the_imported_class(registry: Registry, name: str) -> None:
    read, real = registry.keywords(name), keywords_of(registry[name])
    sources = [inspect.getsource(cls) for cls in registry[name].__mro__ if cls.__module__.startswith("vaebench.")]
    settled = {key for key in real.keys() - read.keys() if any(f"{key}=" in source for source in sources)}
    assert read.keys() == real.keys() - settled
    for key, parameter in read.items():
        assert parameter.default == real[key].default
        assert parameter.annotation == real[key].annotation


@pytest.mark.parametrize(("registry", "name"), ENTRIES)
def test_every_entry_is_what_it_is_called_and_says_what_it_is(registry: Registry, name: str) -> None:
    assert registry[name].__name__ == name
    assert name in registry
    assert registry.source(name).summary.strip()
    assert "name" not in registry.keywords(name), "`name` is what a YAML file calls the class itself by"
    undescribed = set(registry.keywords(name)) - set(registry.source(name).descriptions)
    assert not undescribed, f"say in `Args:` of {name} what these are"


@pytest.mark.parametrize(("registry", "name"), ENTRIES)
def test_every_default_passes_the_check_that_a_study_must_pass(registry: Registry, name: str) -> None:
    required = {key for key, p in registry.keywords(name).items() if p.default is p.empty}
    try:
        full = validated(Component(registry), name)
    except Refused as error:
        assert {keys[0] for keys, _ in error.places} == required  # noqa: PT017 (a class may have required keywords)
    else:
        assert full.keys() == {"name", *registry.keywords(name)}
        assert validated(Component(registry), full) == full


def test_one_name_stands_in_two_registries() -> None:
    """IWAE, as in the literature: the bound, and the model that is trained on it. A key reads one registry only."""
    everything = [name for registry in REGISTRIES for name in registry]
    assert {name for name in everything if everything.count(name) > 1} == {"IWAE"}
    assert all(len(registry) > 0 for registry in REGISTRIES)


# -- a registry of a test's own ---------------------------------------------------------------------------------------

PLANTS = '''
"""Parts for a test."""

import heavy_thing_that_is_not_there_until_asked_for
from vaebench.config.registry import *


class Plant:
    """What grows.

    Args:
        height: in metres,
            above the ground.
        pot: what it stands in.
    """

    def __init__(self, where: str, *, height: Positive = 1.0, pot: bool = False) -> None:
        self.where, self.height, self.pot = where, height, pot


@PLANTS.register
class Tree(Plant):
    """A tall one."""

    deciduous = True

    def __init__(self, where: str, *, rings: PositiveInt, **kwargs: Any) -> None:
        super().__init__(where, **kwargs)
        self.rings = rings


@PLANTS.register
class Bonsai(Tree):
    """A small one.

    Args:
        rings: very narrow.
    """

    def __init__(self, where: str, *, age: tuple[int, ...] = (1,), **kwargs: Any) -> None:
        super().__init__(where, height=0.2, **kwargs)


@PLANTS.register
class Cactus(Plant):
    """Needs no keyword of its own."""

    deciduous: bool = False


@PLANTS.register
class Moss:
    """Takes nothing."""
'''


@pytest.fixture
def plants(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """A registry whose home is a file that cannot be imported."""
    (tmp_path / "plants_of_a_test.py").write_text(PLANTS)
    monkeypatch.syspath_prepend(tmp_path)
    return Registry("plant", "PLANTS", "plants_of_a_test")


@pytest.fixture
def imported(plants: Registry, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """The same registry, its file importable."""
    monkeypatch.setattr(names, "PLANTS", plants, raising=False)
    for module in ("heavy_thing_that_is_not_there_until_asked_for", "plants_of_a_test"):
        monkeypatch.setitem(sys.modules, module, ModuleType(module))
    monkeypatch.delitem(sys.modules, "plants_of_a_test")
    return plants


def test_names_and_keywords_are_known_without_importing(plants: Registry) -> None:
    assert list(plants) == ["Bonsai", "Cactus", "Moss", "Tree"]
    assert list(plants.keywords("Tree")) == ["rings", "height", "pot"]
    assert list(plants.keywords("Cactus")) == ["height", "pot"]
    assert list(plants.keywords("Moss")) == []
    assert plants.keywords("Tree")["rings"].annotation == names.PositiveInt
    assert plants.keywords("Tree")["rings"].default is inspect.Parameter.empty
    assert "plants_of_a_test" not in sys.modules


def test_a_keyword_that_a_class_settles_itself_is_none_of_the_file_s(plants: Registry) -> None:
    assert list(plants.keywords("Bonsai")) == ["age", "rings", "pot"]


def test_docstrings_describe_arguments_down_the_classes(plants: Registry) -> None:
    source = plants.source("Bonsai")
    assert source.summary == "A small one."
    assert source.descriptions == {
        "height": "in metres, above the ground.",
        "pot": "what it stands in.",
        "rings": "very narrow.",
    }
    assert arguments_described("Nothing.") == {}


def test_constants_are_read_down_the_classes(plants: Registry) -> None:
    assert [plants.source(name).constant("deciduous") for name in plants] == [True, False, None, True]


def test_building_imports_and_passes_on(imported: Registry) -> None:
    tree = imported.build({"name": "Tree", "rings": 3, "height": 2.0}, "here")
    assert (type(tree).__name__, tree.where, tree.rings, tree.height, tree.pot) == ("Tree", "here", 3, 2.0, False)
    assert type(imported.build("Moss")) is imported["Moss"]


def test_an_unknown_name_is_answered_with_the_nearest(plants: Registry) -> None:
    with pytest.raises(
        UnknownName, match=r"unknown plant 'tre' \(did you mean Tree\?\); known: Bonsai, Cactus, Moss, Tree"
    ):
        plants["tre"]
    with pytest.raises(UnknownName, match=r"unknown plant 'xyz'; known"):
        plants.keywords("xyz")
    assert did_you_mean("CACTUS", plants) == " (did you mean Cactus?)"


def test_one_name_for_two_classes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, imported: Registry
) -> None:
    home = tmp_path / "garden_of_a_test"
    home.mkdir()
    for file in ("a.py", "b.py"):
        (home / file).write_text('@PLANTS.register\nclass Fern:\n    """A fern."""\n')
    with pytest.raises(ValueError, match=r"plant 'Fern' is defined twice: .*a\.py, .*b\.py; rename one"):
        list(Registry("plant", "PLANTS", "garden_of_a_test"))
    tree = imported["Tree"]
    assert imported.register(tree) is tree
    with pytest.raises(ValueError, match=r"plant 'Tree' is defined twice: plants_of_a_test, .*test_registry"):
        imported.register(type("Tree", (), {"__module__": __name__}))


def test_an_annotation_from_elsewhere_is_refused_with_the_line(tmp_path: Path) -> None:
    file = tmp_path / "far.py"
    file.write_text('class Far:\n    """Far."""\n    def __init__(self, *, size: torch.Size) -> None: ...\n')
    (source,) = classes_in(str(file))
    assert isinstance(source, ClassSource)
    with pytest.raises(SignatureError, match=r"far\.py:3: Far: 'torch\.Size' cannot be read without importing"):
        source.keywords(vars(names))


class Newcomer(MODELS["AE"]):  # type: ignore[misc]
    """A model that a test registers.

    Args:
        schema: a keyword of its own.
    """

    def __init__(self, shape: tuple[int, ...], seed: int = 0, *, schema: int = 3, latent_dim: int = 2) -> None:
        super().__init__(shape, seed, latent_dim=latent_dim)
        self.size = schema


def test_a_class_registered_while_running_is_as_good_as_any(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODELS, "_classes", dict(MODELS._classes))
    MODELS.register(Newcomer)
    assert "Newcomer" in MODELS
    assert "Newcomer" in list(MODELS)
    assert list(MODELS.keywords("Newcomer")) == ["schema", "latent_dim"]
    assert MODELS.taking("schema") == ["Newcomer"]
    checked = validated(Component(MODELS), {"name": "Newcomer", "schema": 5})
    assert checked == {"name": "Newcomer", "schema": 5, "latent_dim": 2}
    model = MODELS.build(checked, (1, 4, 4), 0)
    assert (model.size, model.latent_dim) == (5, 2)
