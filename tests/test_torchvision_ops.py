"""torchvision imports in every process that imports vaebench first, whatever became of its compiled operators."""

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import pytest

from vaebench.data import import_hook, torchvision_ops
from vaebench.data.import_hook import Finder
from vaebench.data.torchvision_ops import SCHEMAS, TorchvisionLoader


def python(program: str) -> subprocess.CompletedProcess[str]:
    """A program run in a fresh interpreter."""
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


def loader(tmp_path: Path, source: str) -> TorchvisionLoader:
    (file := tmp_path / "torchvision.py").write_text(source)
    return TorchvisionLoader("torchvision", str(file))


def execute(loader: TorchvisionLoader) -> dict[str, object]:
    spec = importlib.util.spec_from_loader("torchvision", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return vars(module)


def test_torchvision_is_importable_and_its_case_known() -> None:
    """Without vaebench the import succeeds exactly where the operators are compiled."""
    plain = python("import torchvision").returncode == 0
    import torchvision  # noqa: F401 (its state is what is asked for)

    assert torchvision_ops.state() == ("compiled" if plain else "declared")


def test_package_imports_nothing_heavy() -> None:
    heavy = "torch", "torchvision", "lightning", "numpy", "pydantic", "wandb"
    done = python(
        f"import vaebench, sys; print(vaebench.data.torchvision_ops.state(), [m for m in {heavy} if m in sys.modules])"
    )
    assert done.stdout.strip() == "not imported []", done.stderr


def test_module_that_loads_is_executed_once(tmp_path: Path) -> None:
    assert execute(loader(tmp_path, "count = globals().get('count', 0) + 1"))["count"] == 1


def test_missing_operator_is_declared_and_the_module_executed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torchvision_ops, "declare_missing", lambda: ["nms"])
    source = (
        "count = globals().get('count', 0) + 1\n"
        "if count == 1:\n"
        "    raise RuntimeError('operator torchvision::nms does not exist')\n"
    )
    assert execute(loader(tmp_path, source))["count"] == 2


@pytest.mark.parametrize(
    ("message", "declared"),
    [("PyTorch and torchvision have different CUDA versions", ["nms"]), ("operator torchvision::nms broke", [])],
)
def test_any_other_failure_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, message: str, declared: list[str]
) -> None:
    """Another error is not swallowed, and one that declaring cannot cure is not tried for ever."""
    monkeypatch.setattr(torchvision_ops, "declare_missing", lambda: declared)
    with pytest.raises(RuntimeError, match=message):
        execute(loader(tmp_path, f"raise RuntimeError({message!r})"))


def test_installed_once_and_first() -> None:
    before = list(sys.meta_path)
    import_hook.install()
    assert sys.meta_path == before
    assert sum(isinstance(finder, Finder) for finder in before) == 1


def test_finder_leaves_other_modules_alone() -> None:
    assert Finder().find_spec("torch") is None
    assert Finder().find_spec("torchvision.ops") is None


def test_declared_operators_are_those_torchvision_attaches_shape_rules_to() -> None:
    """A release that attaches a rule to one more operator at import needs a line in SCHEMAS."""
    files = importlib.metadata.files("torchvision") or []
    source = next(f for f in files if f.name == "_meta_registrations.py").read_text()
    attached = {
        line.split("torchvision::")[1].split('"')[0] for line in source.splitlines() if "register_fake(" in line
    }
    assert attached == set(SCHEMAS)
