"""The command doctor: versions, devices, torchvision's operators, data. Each check imports what it looks at."""

import os
import platform
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from vaebench.cli.arguments import Json
from vaebench.cli.terminal import console, print_json
from vaebench.data import torchvision_ops
from vaebench.records.collection import importing

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


def _fetched(name: str, source: Callable[[str], object], root: Path) -> Finding:
    """Whether a data set of torchvision is complete, by torchvision's own check."""
    try:
        source(str(root))
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
