"""The W&B runs: one of each attempt at a run, and one of the result of a sweep with its tables, figures and page.

Numbers, remarks, images and artifacts of a record come first, then the two kinds of W&B runs.
"""

import csv
import hashlib
import io
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from threading import Event
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from vaebench.config import Run, Study
from vaebench.config.presentation import PLAIN
from vaebench.records import arrays
from vaebench.records.description import Description, Direction
from vaebench.records.files import ARRAYS, CHECKPOINT, RECORD, WriteError, write_atomically
from vaebench.records.record import Record, encode
from vaebench.reporting.tables.quantities import Fact, quantities
from vaebench.reporting.tables.rendering import comma_separated, run_rows
from vaebench.reporting.wandb import (
    AGGREGATE,
    EPOCH,
    FIGURE,
    PAIRS,
    PLANE,
    SAMPLES,
    TRAIN,
    TRAVERSALS,
    VAL,
    key,
    project,
)
from vaebench.reporting.wandb.service import prepare

if TYPE_CHECKING:
    from vaebench.reporting.figures.base import Drawn
    from vaebench.reporting.tables.table import Table


Mode = Literal["offline", "online", "disabled"]

BEST = {Direction.HIGHER: "max", Direction.LOWER: "min"}
"""W&B keeps the best number of all epochs beside the last one, where one of two numbers is better."""

LONGEST_TITLE = 63  # characters of the title of an alert

LOST = Event()
"""Set once W&B cannot be reached from this process. It is left alone then: each try may take a minute and a half."""

log = logging.getLogger(__name__)


def _key(record: Record, name: str) -> str:
    return key(str(record.config["evaluate"]["split"]), name)


def is_sentence(value: object) -> bool:
    """Whether a value is a text of several words. W&B shows the configuration as columns, where it would disturb."""
    return isinstance(value, str) and " " in value.strip()


def remarks(record: Record) -> list[str]:
    """What a record says in words, as paragraphs: its facts, and the remarks and reasons under the same names."""
    said = {name: fact for name, fact in record.facts.items() if is_sentence(fact)}
    said |= {e.name: e.note for e in record.estimates if e.note is not None}
    return [*(f"{name}: {text}" for name, text in said.items()), *(f"No {blanks}" for blanks in record.blanks)]


def cautions(record: Record) -> dict[str, str]:
    """Beside every number that rests on collapsed importance weights, under its key and `_mark`, what its mark says."""
    said = {f"{_key(record, q.name)}_mark": q.read(record).caution(q.description) for q in quantities([record])}
    return {name: text for name, text in said.items() if text is not None}


def headline(record: Record) -> dict[str, float]:
    """Every number that a table shows of a run and that was measured, as the table reads it."""
    readings = {_key(record, q.name): q.read(record).value for q in quantities([record]) if not isinstance(q, Fact)}
    return {name: value for name, value in readings.items() if value is not None}


def pictures(record: Record, folder: Path) -> dict[str, Any]:
    """The images beside a record, if its run is done and made any."""
    if record.status != "done" or not (folder / ARRAYS).is_file():
        return {}
    import wandb

    try:
        found = arrays.read_pictures(folder / ARRAYS)
    except arrays.PicturesError as error:
        log.warning("%s; W&B shows no images of this run", error)
        return {}
    sheets = {
        PAIRS: (found.pairs, "observations above, reconstructions below"),
        SAMPLES: (found.drawn, "drawn from the prior"),
        TRAVERSALS: (found.moved, f"units {found.moved_units}, a row each, moved across the prior"),
        PLANE: (found.spanned, "the latent space of two units"),
    }
    return {
        _key(record, name): wandb.Image(arrays.coloured(pixels), caption=caption)
        for name, (pixels, caption) in sheets.items()
        if pixels is not None
    }


def figures(drawn: Sequence["Drawn"], page: Path) -> dict[str, Any]:
    """The figures of a page, as the page has them, each as HTML of its own; and the page itself."""
    import wandb

    from vaebench.reporting.page.site import render_figure

    shown = {key(FIGURE, figure.name): render_figure(figure) for figure in drawn}
    if page.is_file():
        shown["report"] = page.read_text(encoding="utf-8")
    # Without `inject`, W&B would add a style sheet from its server, which is out of reach offline.
    return {name: wandb.Html(html, inject=False) for name, html in shown.items()}


def artifacts(record: Record, folder: Path, own: Path) -> Iterator[Any]:
    """The record of a run, byte for byte, and its checkpoint if the run is done.

    Args:
        own: where the W&B run keeps its files; the record is copied there, so that W&B shows it.
    """
    import wandb

    about = {"id": record.id, "study": record.study, "status": record.status}
    (own / RECORD).write_bytes(encode(record))
    files = {"record": own / RECORD}
    if record.status == "done" and (folder / CHECKPOINT).is_file():
        files["model"] = folder / CHECKPOINT
    for kind, path in files.items():
        artifact = wandb.Artifact(f"{kind}-{record.id}", type=kind, metadata=about)
        # Refers to the file where it is. W&B would otherwise keep a copy of every model until it is synchronised.
        artifact.add_file(str(path), policy="immutable", skip_cache=True)
        yield artifact


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
        return [] if self.experiment is None else [self._write]

    def _write(self, numbers: Mapping[str, Any]) -> None:
        if self.experiment is not None and not LOST.is_set():
            with _warned("W&B could not take the numbers of an epoch"):
                self.experiment.log(dict(numbers))

    def show(self, sheets: Mapping[str, Any], epoch: int) -> None:
        """Logs pictures of the model in training. If W&B cannot take them, that is a warning.

        Args:
            sheets: grids of pixels by name, `[H, W, C + 1]`.
            epoch: counted from one.
        """
        if self.experiment is None or LOST.is_set():
            return
        import wandb

        with _warned(f"W&B could not take the pictures of epoch {epoch}"):
            shown = {key(VAL, name): wandb.Image(arrays.coloured(pixels)) for name, pixels in sheets.items()}
            self.experiment.log(shown | {EPOCH: epoch})

    def conclude(self, record: Record) -> None:
        """Logs a record: numbers in the summary, facts in the configuration, remarks in the notes, images, artifacts.

        A run that failed, for example because it diverged, sends an alert. Offline, the alert waits in the log. If W&B
        cannot take all of it, that is a warning, because the record is on disk.
        """
        if self.experiment is None or LOST.is_set():
            return
        self.exit_code = 0 if record.status == "done" else 1
        facts = {name: fact for name, fact in record.facts.items() if not is_sentence(fact)}
        settings = {"facts": facts, "comparability": record.comparability, "provenance": record.provenance}
        with _warned(f"W&B could not take all of run {record.id}, its record has it"):
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
def _warned(what: str) -> Iterator[None]:
    """Turns whatever W&B raises inside into a warning that begins with these words: no run fails because of W&B."""
    import wandb

    try:
        yield
    except Exception as error:
        if isinstance(error, OSError | wandb.Error) and not isinstance(error, ConnectionError):
            log.warning("%s: %s", what, error)  # of this run alone
        else:
            _lose(what, error)


def _lose(what: str, error: Exception) -> None:
    """Leave W&B alone from now on in this process, and say so once."""
    import wandb

    if not LOST.is_set():
        reason = " ".join(str(error).split()) or type(error).__name__
        log.warning("%s: %s; this process goes on without W&B", what, reason)
        LOST.set()
        with suppress(Exception):  # or W&B prints tracebacks when Python exits
            wandb.teardown()


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

    If W&B cannot be reached, that is a warning, and the run goes on without it. A resumed run gets a new W&B run,
    because W&B cannot continue an offline one. The id of the run is in the configuration.

    Args:
        curves: how the numbers of epochs are described.
        question: of the study, for the notes, unless WANDB_NOTES says something else.

    Raises:
        ValueError: if the mode is online and nobody is logged in.
        WriteError: if W&B cannot write into the folder.
    """
    if mode == "disabled" or LOST.is_set():
        yield Tracker(None, folder)
        return
    tags = [run.config["model"]["name"], run.config["data"]["name"]]
    config = {"id": run.id, "study": study, **run.config}
    notes = os.environ.get("WANDB_NOTES") or question
    about: dict[str, Any] = {"group": study, "job_type": TRAIN, "name": run.slug, "config": config, "notes": notes}
    experiment = None
    try:
        experiment = opened(mode, folder.parent, tags=tags, **about)
        _define_axes(experiment, curves)
    except (ValueError, WriteError):
        raise
    except Exception as error:
        _lose("W&B cannot be reached", error)
    tracker, exit_code = Tracker(experiment, folder, notes), 1
    try:
        yield tracker
        exit_code = tracker.exit_code
    finally:
        if experiment is not None and not LOST.is_set():
            with _warned(f"the W&B run of {run.id} could not be finished"):
                experiment.finish(exit_code=exit_code)


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

    W&B's environment variables apply too: WANDB_PROJECT, WANDB_ENTITY, WANDB_TAGS (added to the tags of the run),
    WANDB_NOTES. W&B logs CPU and memory use, unless WANDB_X_DISABLE_STATS is true.

    Args:
        keywords: further arguments of wandb.init.

    Raises:
        ValueError: if the mode is online and nobody is logged in.
        WriteError: if W&B cannot write into the folder.
        Exception: if W&B cannot be reached.
    """
    prepare(study)
    import wandb

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
    except (ConnectionError, TimeoutError):  # they are OSErrors, but not of the disk
        raise
    except OSError as error:
        remedy = "make room, or go on with --wandb disabled"
        raise WriteError(f"{study}: W&B cannot write here ({error}); {remedy}") from None


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

    If W&B cannot take it, that is a warning, because the tables are on disk.

    Args:
        drawn: gives the figures of the page of these records, as soon as they are drawn and the page is in the folder.
        table: of these records; the W&B run has no remarks, and the order of the columns is always the same.
    """
    if mode == "disabled" or LOST.is_set():
        return
    text = comma_separated(replace(table, remarks=(), presentation=PLAIN))
    mark = f"{mode} {hashlib.sha256((text + ''.join(sorted(r.id for r in records))).encode()).hexdigest()}\n".encode()
    if (folder / MARK).is_file() and (folder / MARK).read_bytes() == mark:
        return
    config = {"study": study.name, "question": study.question, "axes": list(study.axes)}
    done = sum(r.status == "done" for r in records)
    about: dict[str, Any] = {"group": study.name, "job_type": AGGREGATE, "name": study.name, "config": config}
    notes = os.environ.get("WANDB_NOTES") or study.question
    with _warned("W&B could not take the result of the sweep, its tables have it"):
        with opened(mode, folder, notes=notes, **about) as experiment:
            experiment.summary.update({"runs": len(study.runs), "done": done, "failed": len(records) - done})
            experiment.log({**_tables(text, records), **figures(drawn(), folder / "report.html")})
        write_atomically(folder / MARK, mark)


def _tables(text: str, records: Sequence[Record]) -> dict[str, Any]:
    """The table of the rows and that of the runs; a column may hold text beside numbers."""
    import wandb

    headings, *rows = csv.reader(io.StringIO(text))
    runs = run_rows(records)
    names = {"id", *(key for r in records for key, value in r.comparability.items() if isinstance(value, str))}
    return {
        name: wandb.Table(
            columns=[*columns],
            data=[[_value(field, column in names) for field, column in zip(row, columns, strict=True)] for row in data],
            allow_mixed_types=True,
        )
        for name, columns, data in (("results", headings, rows), ("runs_table", runs.headings, runs.rows))
    }


def _value(field: str | float | None, is_name: bool) -> float | str | None:
    """A field as a number, if its text is one and it is no name (an id may be 9e13546390); None for an empty one."""
    if is_name or not isinstance(field, str):
        return field
    try:
        return float(field)
    except ValueError:
        return field or None
