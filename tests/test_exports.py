"""What `from vaebench import …` gives: every name resolves, and none is imported before it is used."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import vaebench
from vaebench.config.signature import classes_in

HEAVY = ("torch", "torchvision", "lightning", "torchmetrics", "sklearn", "wandb", "pydantic", "yaml", "numpy")


@pytest.mark.parametrize(("name", "module"), vaebench.MODULES.items(), ids=vaebench.MODULES)
def test_every_exported_name_resolves(name: str, module: str) -> None:
    assert getattr(vaebench, name) is getattr(import_module(module), name)
    assert name in dir(vaebench)


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = f"import sys, vaebench; dir(vaebench); print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_name_that_is_not_exported_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'vaebench' has no attribute 'VEA'"):
        vaebench.VEA  # noqa: B018


def test_type_checkers_read_the_same_list() -> None:
    tree = ast.parse(Path(vaebench.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    assert {a.name: node.module for node in imports for a in node.names} == vaebench.MODULES


def test_keywords_of_a_parent_that_is_imported_from_the_package(tmp_path: Path) -> None:
    """Read from source, as those of a parent that is imported from its own file."""
    file = tmp_path / "mine.py"
    file.write_text('from vaebench import MODELS, VAE\n\n\n@MODELS.register\nclass Mine(VAE):\n    """Mine."""\n')
    (source,) = classes_in(str(file))
    assert source.keywords(vars(import_module("vaebench.config.registry"))) == vaebench.MODELS.keywords("VAE")
