"""Folders that W&B uses outside a run: in the user's home, or beside the runs if the home cannot be written."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path

from vaebench.records.files import WriteError, check_writable
from vaebench.records.run_folder import WANDB

HOME = f"{WANDB}/home"
"""Below a study's folder: what W&B would otherwise keep in the user's home."""

log = logging.getLogger(__name__)


def redirect_folders(folder: Path) -> None:
    """Gives W&B folders that can be written, for its artifacts and its own log.

    In a container, a user often has no home, or the home of another user. W&B would then log a run only in part.

    Args:
        folder: of the study; new folders are made below it.
    """
    for variable, place in _places().items():
        if not _is_usable(place):
            if os.environ.get(variable):
                log.warning("%s: %s cannot be written, W&B keeps its files below %s", variable, place, folder / HOME)
            made = (folder / HOME / variable.lower()).absolute()
            made.mkdir(parents=True, exist_ok=True)
            os.environ[variable] = str(made)


def _places() -> Mapping[str, Path]:
    """The folders that W&B uses, by the environment variables that change them."""
    from wandb import env

    return {
        "WANDB_DATA_DIR": Path(str(env.get_data_dir())),
        "WANDB_CACHE_DIR": env.get_cache_dir(),
        "WANDB_CONFIG_DIR": Path(os.path.expanduser(os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb")),
    }


def _is_usable(place: Path) -> bool:
    """Whether files can be written there. If a path still begins with ~, the user has no home."""
    if not place.is_absolute():
        return False
    try:
        check_writable(place)
    except WriteError:
        return False
    return True
