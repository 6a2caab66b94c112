"""Where studies lie: in the user's `conf/`, else among those that come with the package."""

import os
import shutil
from pathlib import Path

CONF = Path("conf")
"""The studies of the folder in which a command is given."""

SUFFIXES = (".yaml", ".yml")
"""What the name of a study's file ends with."""

_PACKAGE = Path(__file__).parents[1]


def shipped() -> Path:
    """The studies that come with the package: `vaebench/conf` of a wheel, `conf` of a checkout."""
    return next((folder for folder in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if folder.is_dir()), CONF)


def studies() -> Path:
    """The folder whose studies `vaebench list` shows: `conf/` if there is one here, else the shipped one."""
    return CONF if CONF.is_dir() else shipped()


def located(given: Path) -> Path:
    """The file of a study that is given by its path or by its name.

    A file at the given path is taken first, then `conf/<name>.yaml`, then the shipped study of that name. If there is
    none, the given path comes back.
    """
    if given.suffix in SUFFIXES or os.path.lexists(given):  # a path that the system refuses is reported when it is read
        return given
    places = (folder / f"{given}.yaml" for folder in (CONF, shipped()))
    return next((place for place in places if os.path.isfile(place)), given)


def names() -> list[str]:
    """The studies that may be given by name."""
    return sorted({path.stem for folder in (CONF, shipped()) for path in folder.glob("*.yaml")})


def copy_to(folder: Path) -> list[Path]:
    """Copy the shipped studies and the schema for editors into a folder; files that exist stay as they are.

    Returns:
        the files that were written.
    """
    made = []
    for source in sorted(path for path in shipped().rglob("*") if path.suffix in (*SUFFIXES, ".json")):
        target = folder / source.relative_to(shipped())
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            made.append(target)
    return made
