"""A record names the commit of the source that made it, and says if that source was changed since."""

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from vaebench.records import provenance


def git(folder: Path, *arguments: str) -> str:
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", *who, *arguments], cwd=folder, env=own, capture_output=True, check=True, text=True)
    return done.stdout.strip()


def repository(folder: Path) -> str:
    """All files of a folder in a new repository; returns the commit."""
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "all")
    return git(folder, "rev-parse", "HEAD")


def source(folder: Path) -> Path:
    """A small package with the file under test, in a folder with studies."""
    (folder / "vaebench/records").mkdir(parents=True)
    (folder / "conf").mkdir()
    shutil.copy(provenance.__file__, folder / "vaebench/records")
    for name in ("vaebench/models.py", "conf/beta.yaml", "pyproject.toml", "README.md"):
        (folder / name).write_text("before\n")
    (folder / ".gitignore").write_text("__pycache__/\n")  # which an import writes
    return folder


def code(folder: Path) -> dict[str, Any]:
    """What the file under test says, as a module of that package."""
    found = importlib.util.spec_from_file_location("of_a_clone", folder / "vaebench/records/provenance.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module.code()


@pytest.mark.parametrize(
    ("name", "dirty"),
    [("vaebench/models.py", True), ("conf/beta.yaml", True), ("pyproject.toml", True), ("README.md", False)],
)
def test_a_change_of_the_source_is_seen(tmp_path: Path, name: str, dirty: bool) -> None:
    commit = repository(source(tmp_path))
    assert code(tmp_path) == {"commit": commit, "dirty": False}
    (tmp_path / name).write_text("after\n")
    assert code(tmp_path) == {"commit": commit, "dirty": dirty}


def test_a_new_file_of_the_source_is_a_change(tmp_path: Path) -> None:
    commit = repository(source(tmp_path))
    (tmp_path / "vaebench/mine.py").write_text("new\n")
    assert code(tmp_path) == {"commit": commit, "dirty": True}


def test_the_repository_of_the_user_is_not_that_of_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = source(tmp_path / ".venv/lib/site-packages")
    repository(tmp_path)
    assert code(installed) == {"commit": None, "dirty": None}
    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))  # as in a hook
    assert code(installed) == {"commit": None, "dirty": None}
