"""W&B's service, which a sweep starts once for all its processes, and the folders that W&B can write."""

import logging
import os
from contextlib import suppress
from pathlib import Path
from threading import Thread

from vaebench.records.files import WANDB, WriteError, check_writable

log = logging.getLogger(__name__)


def start_service(study: Path) -> Thread:
    """Begin to start W&B's service. Processes that are forked after this thread has ended share it.

    Each would else start one of its own, and wait for it. If it fails, `opened` tries again and shows the error.
    """
    prepare(study)
    import wandb

    def start() -> None:
        with suppress(Exception):
            wandb.setup()

    thread = Thread(target=start)
    thread.start()
    return thread


def prepare(study: Path) -> None:
    """Import W&B with what it needs to know of this process and of a study's folder."""
    os.environ.setdefault("WANDB_SILENT", "true")
    logging.raiseExceptions = False  # on a full disk, W&B's own log would print a traceback for every line
    import wandb

    wandb.util.pd_available = False  # W&B would import pandas, only to see that nothing here is one of its tables
    redirect_folders(study)


HOME = f"{WANDB}/home"  # below a study's folder: what W&B would otherwise keep in the user's home


def redirect_folders(folder: Path) -> None:
    """Gives W&B folders that can be written, for its artifacts and its own log.

    In a container, a user often has no home, or the home of another user. W&B would then log a run only in part.
    """
    from wandb import env

    places = {
        "WANDB_DATA_DIR": Path(str(env.get_data_dir())),
        "WANDB_CACHE_DIR": env.get_cache_dir(),
        "WANDB_CONFIG_DIR": Path(os.path.expanduser(os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb")),
    }
    for variable, place in places.items():
        if not _is_usable(place):
            if os.environ.get(variable):
                log.warning("%s: %s cannot be written, W&B keeps its files below %s", variable, place, folder / HOME)
            made = (folder / HOME / variable.lower()).absolute()
            made.mkdir(parents=True, exist_ok=True)
            os.environ[variable] = str(made)


def _is_usable(place: Path) -> bool:
    """Whether files can be written there. If a path still begins with ~, the user has no home."""
    if not place.is_absolute():
        return False
    try:
        check_writable(place)
    except WriteError:
        return False
    return True
