"""Where W&B keeps what belongs to no run: in a user's home, or beside the runs where there is none to write to."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path

from vaebench.records.files import WriteError, check_writable
from vaebench.records.run_folder import WANDB

HOME = f"{WANDB}/home"
"""Below a study's folder, what W&B would have kept in a user's home."""

log = logging.getLogger(__name__)


def give_homes(folder: Path) -> None:
    """Lead W&B to folders that can be written, as it stages artifacts there and writes its own log.

    A container often has a user without a home, or a home that is not this user's. W&B would leave a run half told.

    Args:
        folder: of the study, where such folders are made.
    """
    for variable, place in _places().items():
        if not _is_usable(place):
            if os.environ.get(variable):
                log.warning("%s: %s cannot be written, W&B keeps its files below %s", variable, place, folder / HOME)
            made = (folder / HOME / variable.lower()).absolute()
            made.mkdir(parents=True, exist_ok=True)
            os.environ[variable] = str(made)


def _places() -> Mapping[str, Path]:
    """The folders that W&B takes, by the variables that lead it elsewhere."""
    from wandb import env

    return {
        "WANDB_DATA_DIR": Path(str(env.get_data_dir())),
        "WANDB_CACHE_DIR": env.get_cache_dir(),
        "WANDB_CONFIG_DIR": Path(os.path.expanduser(os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb")),
    }


def _is_usable(place: Path) -> bool:
    """Whether a file can be made there; a path that still begins with ~ belongs to a user without a home."""
    if not place.is_absolute():
        return False
    try:
        check_writable(place)
    except WriteError:
        return False
    return True
