"""The files that `vaebench new` writes: a component that works, and its test. NAME and STEM stand for its names."""

import keyword
import re
from importlib import resources
from pathlib import Path

from vaebench.config.registry import REGISTRIES
from vaebench.records.files import write_atomically


def write(kind: str, name: str, folder: Path) -> list[Path]:
    """Write the file of a new component and its test.

    Args:
        kind: `model`, `metric` or `dataset`.

    Raises:
        ValueError: if the name is no name of a class, or is in a registry.
        FileExistsError: if one of the files exists.
    """
    if not re.fullmatch("[A-Z][A-Za-z0-9]*", name) or keyword.iskeyword(name):
        raise ValueError(f"expected the name of a class in CamelCase, e.g. CapacityVAE, got {name[:60]!r}")
    if taken := next((registry for registry in REGISTRIES if name in registry), None):
        raise ValueError(f"{name}: the name of a {taken.kind} already; choose another name")
    stem = snake_case(name)
    paths = {folder / f"{stem}.py": f"{kind}.txt", folder / f"test_{stem}.py": f"test_{kind}.txt"}
    if there := [str(path) for path in paths if path.exists()]:
        raise FileExistsError(f"{', '.join(there)}: exists already; choose another name, or move the file away")
    here = resources.files("vaebench.cli.starters")
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
