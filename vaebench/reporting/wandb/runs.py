"""The W&B runs: one of each attempt at a run, and one of the result of a sweep with its tables, figures and page."""

import csv
import hashlib
import io
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from vaebench.config import Run, Study
from vaebench.config.presentation import PLAIN
from vaebench.records.description import Description, Direction
from vaebench.records.files import WANDB, WriteError, check_writable, write_atomically
from vaebench.records.record import Record
from vaebench.reporting.tables.rendering import comma_separated, run_rows
from vaebench.reporting.wandb.logged import (
    AGGREGATE,
    EPOCH,
    TRAIN,
    artifacts,
    cautions,
    epoch_pictures,
    figures,
    headline,
    is_sentence,
    pictures,
    project,
    remarks,
    tabulated,
)

if TYPE_CHECKING:
    from vaebench.reporting.figures.base import Drawn
    from vaebench.reporting.tables.table import Table


Mode = Literal["offline", "online", "disabled"]

BEST = {Direction.HIGHER: "max", Direction.LOWER: "min"}
"""W&B keeps the best number of all epochs beside the last one, where one of two numbers is better."""

LONGEST_TITLE = 63  # characters of the title of an alert

log = logging.getLogger(__name__)


class Tracker:
    """An open W&B run, or nothing if W&B is disabled.

    Attributes:
        experiment: the W&B run; None if W&B is disabled.
        folder: of the run.
        notes: what the notes of the W&B run begin with.
        exit_code: with which the W&B run ends; not 0 until the run is done.
    """

    def __init__(self, experiment: Any | None, folder: Path, notes: str = "") -> None:
        self.experiment, self.folder, self.notes = experiment, folder, notes
        self.exit_code = 1

    @property
    def writers(self) -> list[Callable[[Mapping[str, Any]], None]]:
        """Functions that are called with the numbers of an epoch."""
        return [] if self.experiment is None else [self.experiment.log]

    def show(self, sheets: Mapping[str, Any], epoch: int) -> None:
        """Logs pictures of the model in training. If W&B cannot take them, that is a warning.

        Args:
            sheets: grids of pixels by name, `[H, W, C + 1]`.
            epoch: counted from one.
        """
        if self.experiment is None:
            return
        import wandb

        try:
            self.experiment.log(epoch_pictures(sheets) | {EPOCH: epoch})
        except (OSError, wandb.Error) as error:
            log.warning("W&B could not take the pictures of epoch %d: %s", epoch, error)

    def conclude(self, record: Record) -> None:
        """Logs a record: numbers in the summary, facts in the configuration, remarks in the notes, images, artifacts.

        A run that failed, for example because it diverged, sends an alert. Offline, the alert waits in the log. If W&B
        cannot take all of it, that is a warning, because the record is on disk.
        """
        if self.experiment is None:
            return
        import wandb

        self.exit_code = 0 if record.status == "done" else 1
        try:
            self._log(record)
        except (OSError, wandb.Error) as error:
            log.warning("W&B could not take all of run %s, its record has it: %s", record.id, error)

    def _log(self, record: Record) -> None:
        assert self.experiment is not None
        facts = {name: fact for name, fact in record.facts.items() if not is_sentence(fact)}
        settings = {"facts": facts, "comparability": record.comparability, "provenance": record.provenance}
        self.experiment.config.update(settings, allow_val_change=True)
        numbers = {**headline(record), **cautions(record)}
        self.experiment.summary.update({**numbers, "status": record.status, "reason": record.reason})
        self.experiment.notes = "\n\n".join([*([self.notes] if self.notes else []), *remarks(record)])
        if record.status == "failed":
            title = f"{record.study}: run {record.id} failed"[:LONGEST_TITLE]
            self.experiment.alert(title, record.reason or "no reason", level="ERROR")
        if media := pictures(record, self.folder):
            self.experiment.log(media)
        for artifact in artifacts(record, self.folder, Path(self.experiment.dir)):
            self.experiment.log_artifact(artifact)


@contextmanager
def tracked(
    run: Run,
    study: str,
    folder: Path,
    mode: Mode,
    curves: Mapping[str, Description] = MappingProxyType({}),
    question: str = "",
) -> Iterator[Tracker]:
    """A W&B run that is finished whatever happens inside, so that the next run in this process gets one of its own.

    A resumed run gets a new W&B run, because W&B cannot continue an offline one. The id of the run is in the
    configuration.

    Args:
        curves: how the numbers of epochs are described.
        question: of the study, for the notes, unless WANDB_NOTES says something else.
    """
    if mode == "disabled":
        yield Tracker(None, folder)
        return
    import wandb

    tags = [run.config["model"]["name"], run.config["data"]["name"]]
    config = {"id": run.id, "study": study, **run.config}
    notes = os.environ.get("WANDB_NOTES") or question
    about: dict[str, Any] = {"group": study, "job_type": TRAIN, "name": run.slug, "config": config, "notes": notes}
    experiment = opened(mode, folder.parent, tags=tags, **about)
    _define_axes(experiment, curves)
    tracker, exit_code = Tracker(experiment, folder, notes), 1
    try:
        yield tracker
        exit_code = tracker.exit_code
    finally:
        try:
            experiment.finish(exit_code=exit_code)
        except (OSError, wandb.Error) as error:
            log.warning("the W&B run of %s could not be finished: %s", run.id, error)


def _define_axes(experiment: Any, curves: Mapping[str, Description]) -> None:
    """Draw curves over epochs, and keep the best number of each curve."""
    experiment.define_metric(EPOCH, hidden=True)
    for pattern in ("train/*", "val/*"):
        experiment.define_metric(pattern, step_metric=EPOCH)
    for name, description in curves.items():
        if (best := BEST.get(description.better)) is not None:
            experiment.define_metric(name, step_metric=EPOCH, summary=f"{best},last")


def opened(mode: Mode, study: Path, tags: Sequence[str] = (), **keywords: Any) -> Any:
    """A new W&B run, with its files in `wandb/` of the study's folder, where all runs of a sweep lie together.

    The variables of W&B hold: WANDB_PROJECT, WANDB_ENTITY, WANDB_TAGS (added to the tags of the run), WANDB_NOTES.
    Figures of the machine are logged unless WANDB_X_DISABLE_STATS is true.

    Args:
        keywords: further arguments of wandb.init.

    Raises:
        ValueError: if the mode is online and nobody is logged in.
        WriteError: if W&B cannot write into the folder.
    """
    os.environ.setdefault("WANDB_SILENT", "true")
    logging.raiseExceptions = False  # on a full disk, W&B's own log would print a traceback for every line
    import wandb

    wandb.util.pd_available = False  # W&B would import pandas, only to see that nothing here is one of its tables
    redirect_folders(study)
    # W&B would read every installed package, which takes longer than everything else here. The record has the versions.
    settings = wandb.Settings(silent=True, console="off", x_save_requirements=False)
    own = [tag.strip() for tag in os.environ.get("WANDB_TAGS", "").split(",") if tag.strip()]
    # W&B reads its variables once in a process, and not again when they change, so they are given here.
    noted = {"notes": os.environ.get("WANDB_NOTES") or None, "entity": os.environ.get("WANDB_ENTITY") or None}
    try:
        return wandb.init(
            project=project(),
            tags=list(dict.fromkeys([*tags, *own])),
            dir=str(study),
            mode=mode,
            reinit="create_new",
            settings=settings,
            **(noted | keywords),
        )
    except wandb.errors.UsageError as error:
        raise ValueError(
            f"W&B cannot be reached: {error} Or go on with --wandb offline, and `wandb sync` later"
        ) from None
    except OSError as error:
        remedy = "make room, or go on with --wandb disabled"
        raise WriteError(f"{study}: W&B cannot write here ({error}); {remedy}") from None


HOME = f"{WANDB}/home"  # below a study's folder: what W&B would otherwise keep in the user's home


def redirect_folders(folder: Path) -> None:
    """Gives W&B folders that can be written, for its artifacts and its own log.

    In a container, a user often has no home, or the home of another user. W&B would then log a run only in part.
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


MARK = "wandb/aggregated"  # below a study's folder: a checksum of what the last run of this kind was made from


def conclude_sweep(
    study: Study,
    records: Sequence[Record],
    folder: Path,
    mode: Mode,
    drawn: Callable[[], Sequence["Drawn"]],
    table: "Table",
) -> None:
    """Writes the W&B run of a sweep, unless W&B is disabled or already has one of the same records.

    Args:
        drawn: gives the figures of the page of these records, as soon as they are drawn and the page is in the folder.
        table: of these records; the W&B run has no remarks, and the order of the columns is always the same.
    """
    if mode == "disabled":
        return
    text = comma_separated(replace(table, remarks=(), presentation=PLAIN))
    mark = f"{mode} {hashlib.sha256((text + ''.join(sorted(r.id for r in records))).encode()).hexdigest()}\n".encode()
    if (folder / MARK).is_file() and (folder / MARK).read_bytes() == mark:
        return
    config = {"study": study.name, "question": study.question, "axes": list(study.axes)}
    done = sum(r.status == "done" for r in records)
    about: dict[str, Any] = {"group": study.name, "job_type": AGGREGATE, "name": study.name, "config": config}
    notes = os.environ.get("WANDB_NOTES") or study.question
    try:
        with opened(mode, folder, notes=notes, **about) as experiment:
            experiment.summary.update({"runs": len(study.runs), "done": done, "failed": len(records) - done})
            experiment.log({**_tables(text, records), **figures(drawn()), **_page(folder / "report.html")})
    except OSError as error:
        log.warning("W&B could not take the result of the sweep, its tables have it: %s", error)
        return
    write_atomically(folder / MARK, mark)


def _tables(text: str, records: Sequence[Record]) -> dict[str, Any]:
    headings, *rows = csv.reader(io.StringIO(text))
    results = tabulated(headings, ([_value(t) for t in row] for row in rows))
    return {"results": results, "runs_table": _runs(records)}


def _page(path: Path) -> dict[str, Any]:
    import wandb

    return {"report": wandb.Html(path.read_text(encoding="utf-8"), inject=False)} if path.is_file() else {}


def _runs(records: Sequence[Record]) -> Any:
    found = run_rows(records)
    return tabulated(found.headings, ([_value(f) if isinstance(f, str) else f for f in row] for row in found.rows))


def _value(text: str) -> float | str | None:
    try:
        return float(text)
    except ValueError:
        return text or None
