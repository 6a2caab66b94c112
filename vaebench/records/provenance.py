"""Where a number comes from: the code, the libraries, the machine."""

import os
import platform
import subprocess
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("vaebench", "torch", "torchvision", "lightning", "torchmetrics", "numpy", "scikit-learn", "wandb")
"""Libraries whose version can change a number."""

SOURCE = Path(__file__).resolve().parents[2]
"""The folder with `vaebench` and `conf`, if this source is a git checkout."""


@cache
def code() -> dict[str, Any]:
    """The commit of this source, and whether files have changed since; None outside a git checkout."""
    head = _git("rev-parse", "HEAD")
    changed = _git("status", "--porcelain", "--", "vaebench", "conf", "pyproject.toml", "constraints.txt")
    return {"commit": head, "dirty": None if head is None else bool(changed)}


def commit(provenance: Mapping[str, Any], digits: int | None = None) -> str:
    """The commit that a record names, in short if asked, and whether its files were changed; empty if it names none."""
    name = str(provenance.get("commit") or "")[:digits]
    return f"{name} with changes" if name and provenance.get("dirty") else name


def not_in_history(commits: Collection[str]) -> set[str]:
    """Those commits that are not in the history of this source; none where git does not know the whole history."""
    known = _history()
    return set(commits) - known if known else set()


@cache
def _history() -> frozenset[str]:
    """Every commit up to this source; none outside a git checkout, or if git has only the last commits."""
    if _git("rev-parse", "--is-shallow-repository") != "false":
        return frozenset()
    return frozenset((_git("rev-list", "HEAD") or "").split())


_version = cache(version)  # which reads the package's description every time


def cores() -> int:
    """The cores that this process may use: what the affinity and the limits of a container leave of the machine."""
    from joblib import cpu_count

    return int(cpu_count())


def here() -> dict[str, Any]:
    """What made a number that is finished now: the time (UTC, to the second), the code, the versions."""
    versions = {"python": platform.python_version()} | {package: _version(package) for package in PACKAGES}
    return {"finished": datetime.now(UTC).isoformat(timespec="seconds"), **code(), "versions": versions}


def _git(*arguments: str) -> str | None:
    """What git says of this source; None if it is no checkout.

    A package that is installed inside a repository of the user (`project/.venv`) is no checkout: git may not search the
    folders above it, and no variable may name another repository, as in a hook of git.
    """
    others = {name: value for name, value in os.environ.items() if name not in ("GIT_DIR", "GIT_WORK_TREE")}
    here = others | {"GIT_CEILING_DIRECTORIES": str(SOURCE.parent)}
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=SOURCE, env=here, capture_output=True, encoding="utf-8", timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
