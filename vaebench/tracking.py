"""Weights & Biases: one W&B run for every attempt at a run. The record is the truth; W&B is a view of it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch.loggers import WandbLogger

from vaebench import pictures
from vaebench.config import Run
from vaebench.record import Record

Mode = Literal["offline", "online", "disabled"]

PROJECT = "vaebench"


class Tracker:
    """An open W&B run, or nothing where W&B is disabled."""

    def __init__(self, experiment: Any | None, folder: Path) -> None:
        self.experiment, self.folder = experiment, folder

    @property
    def loggers(self) -> list[WandbLogger]:
        """What a Trainer logs to."""
        return [] if self.experiment is None else [WandbLogger(experiment=self.experiment)]

    def conclude(self, record: Record) -> None:
        """The record's headline numbers into the summary, under `test/…`, flat; its facts into the configuration.

        The pictures beside the record become media.
        """
        if self.experiment is None:
            return
        split = record.config["evaluate"]["split"]
        self.experiment.config.update(
            {"facts": record.facts, "comparability": record.comparability}, allow_val_change=True
        )
        self.experiment.summary.update({f"{split}/{e.name}": e.value for e in record.scalars})
        self.experiment.summary.update({"status": record.status, "reason": record.reason})
        if record.status == "done" and (self.folder / pictures.NAME).is_file():
            self.experiment.log({f"{split}/{name}": image for name, image in _media(self.folder).items()})


def _media(folder: Path) -> dict[str, Any]:
    """A run's pictures as W&B shows them."""
    import wandb

    seen = pictures.read(folder / pictures.NAME)
    sheets = {
        "reconstructions": (seen.pairs, "observations above, reconstructions below"),
        "samples": (seen.drawn, "drawn from the prior"),
        "traversals": (seen.moved, f"units {seen.moved_units}, a row each, moved across the prior"),
        "plane": (seen.spanned, "the latent space of two units"),
    }
    return {
        name: wandb.Image(pictures.coloured(pixels), caption=caption)
        for name, (pixels, caption) in sheets.items()
        if pixels is not None
    }


@contextmanager
def tracked(run: Run, study: str, folder: Path, mode: Mode) -> Iterator[Tracker]:
    """A W&B run that is finished whatever happens inside; two loggers would share it otherwise.

    A resumed run gets a new W&B run, since an offline one cannot be taken up again: its id is the attempt's, and ours
    is in its configuration.
    """
    if mode == "disabled":
        yield Tracker(None, folder)
        return
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    experiment = wandb.init(
        project=PROJECT,
        group=study,
        job_type="train",
        name=run.slug,
        tags=[run.config["model"]["name"], run.config["data"]["name"]],
        config={"id": run.id, "study": study, **run.config},
        dir=str(folder),
        mode=mode,
        reinit="create_new",
        settings=wandb.Settings(silent=True, console="off", x_disable_stats=True),
    )
    experiment.define_metric("epoch", hidden=True)
    for prefix in ("train", "val"):
        experiment.define_metric(f"{prefix}/*", step_metric="epoch", summary="max")
    try:
        yield Tracker(experiment, folder)
    except BaseException:
        experiment.finish(exit_code=1)
        raise
    experiment.finish()
