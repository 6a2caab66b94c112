"""From runs to their records: train the runs of a pack together, measure each, write its record."""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Any

from vaebench.config import Run, imports
from vaebench.config.registry import DATASETS
from vaebench.data.datamodule import DataModule
from vaebench.data.datasets.base import data_root
from vaebench.evaluation import image_samples
from vaebench.evaluation.bfloat16 import bfloat16_decoder, bfloat16_error
from vaebench.evaluation.ceiling import Cache, decoder_gap
from vaebench.evaluation.collapse import diagnose
from vaebench.evaluation.known_truth import compare_with_truth
from vaebench.evaluation.measure import (
    Measurement,
    build_estimators,
    build_metrics,
    columns,
    estimate,
    evaluating,
    measure,
)
from vaebench.models.base import Autoencoder
from vaebench.models.epoch import Diverged
from vaebench.records import provenance, record
from vaebench.records.checksums import checksum
from vaebench.records.collection import importing
from vaebench.records.description import Description
from vaebench.records.files import CEILINGS, CHECKPOINT, RECORD, RESUME, WEIGHTS, WriteError
from vaebench.records.record import Record, RecordError
from vaebench.reporting.wandb.runs import Mode, Tracker, headline, tracked
from vaebench.reporting.wandb.service import start_service
from vaebench.sweeps.packs import MAX_PACK_SIZE, split
from vaebench.training import memory, resume
from vaebench.training.callbacks import CURVES
from vaebench.training.checkpoints import NewerSnapshotError, write_weights
from vaebench.training.fit import fit
from vaebench.training.loggers import FileLog, FunctionLogger, LoggerName, logged
from vaebench.training.packed.capture import Unpackable
from vaebench.training.packed.stacked import check_compatible
from vaebench.training.trainer import Fitted, ProgressCallback, configure_process, device, tf32


@dataclass(frozen=True)
class Execution:
    """How runs are executed. None of this is part of a run's id: it changes numbers by rounding at most.

    A record says which device it was made on, and whether it was made with less precision than float32.
    """

    wandb: Mode = "offline"
    threads: int = 1
    max_pack_size: int = MAX_PACK_SIZE  # how many runs may train together
    save_every: float = resume.SAVE_EVERY  # seconds between two snapshots of a run in training
    tf32: bool = False  # whether training may use TF32 on a GPU. Evaluation never does
    bf16: bool = False
    """Whether draws are decoded in bfloat16. The record has the error, and is compared only with its like."""
    compile: bool = False
    """Whether long trainings of packs on a CPU may be compiled. The record says how many steps were."""

    wandb_variables: Mapping[str, str] = field(default_factory=dict)
    """Variables of W&B that options set, by their names."""
    question: str = ""  # the question of the study, for the notes of W&B runs
    loggers: tuple[LoggerName, ...] = ()  # logs beside W&B

    def apply(self) -> None:
        """Configure this process."""
        os.environ.update(self.wandb_variables)
        configure_process(self.threads)


def execute_pack(
    runs: Sequence[Run], study: str, axes: list[str], folders: Sequence[Path], how: Execution, watch: ProgressCallback
) -> Iterator[Record]:
    """Train runs together, measure them one after another, and write the record of each.

    If a run fails (an impossible hyper-parameter, a NaN, no memory), its record has the reason.
    If a pack cannot train as a whole (its members cannot be mapped, there is not enough memory), it is split into
    smaller packs, until the runs at fault are alone. This changes no number.

    Raises:
        WriteError: if a file cannot be written; the runs that were not yielded yet have no record.
        NewerSnapshotError: if a newer version stopped one of the runs; only that version can continue it.

    Yields:
        The records in the order of the runs, each as soon as it is written.
    """
    how.apply()
    imports.use(each for run in runs for each in run.imports)
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    alone = len(runs) > 1 and _is_unpackable(runs[0])  # asked before W&B runs are opened, or each part had its own
    for part in split(range(len(runs)), len(runs) if alone else 1):
        here = slice(part.start, part.stop)
        yield from _together(runs[here], study, axes, folders[here], how, watch)


def _together(
    runs: Sequence[Run], study: str, axes: list[str], folders: Sequence[Path], how: Execution, watch: ProgressCallback
) -> Iterator[Record]:
    """`execute_pack`, in a process that is prepared."""
    with ExitStack() as stack:
        pairs = zip(runs, folders, strict=True)
        watchers = [_Watchers(run, study, folder, how, stack) for run, folder in pairs]
        started, parts = perf_counter(), 1
        try:
            with tf32(how.tf32):
                fitted = fit(runs, folders, [w.loggers for w in watchers], watch, how.save_every, how.compile)
        except (WriteError, NewerSnapshotError):
            raise
        except Exception as error:
            parts = _parts(len(runs), error)
            fitted = [error] if parts == 1 else []  # the parts of a pack that is split write the records, below
        seconds = (perf_counter() - started) / len(runs)
        for run, folder, watcher, trained in zip(runs, folders, watchers, fitted, strict=parts == 1):
            bare = Record(id=run.id, study=study, status="failed", axes=axes, config=run.config)
            outcome = _outcome(run, bare, trained, seconds, folder, how)
            outcome = _written(outcome, bare, folder / RECORD)
            if outcome.status == "done" or isinstance(trained, Diverged):
                (folder / RESUME).unlink(missing_ok=True)  # after another error the same command continues from it
            watcher.conclude(outcome)
            yield outcome
    if parts > 1:
        for some in split(range(len(runs)), parts):
            here = slice(some.start, some.stop)
            yield from _together(runs[here], study, axes, folders[here], how, watch)


def _is_unpackable(run: Run) -> bool:
    """Whether a model is of a kind that trains outside packs, as far as that is known without its data."""
    try:
        preview = DATASETS.build(run.data).preview(data_root())
        model = None if preview is None else memory.meta_model(run.model, preview.shape)
        if model is not None:
            check_compatible([model])
    except Unpackable:
        return True
    except Exception:  # what is wrong is said in training
        return False
    return False


class _Watchers:
    """W&B and the other logs of a run, open as long as the stack."""

    def __init__(self, run: Run, study: str, folder: Path, how: Execution, stack: ExitStack) -> None:
        opened = tracked(run, study, folder, how.wandb, CURVES, how.question)
        self.tracker: Tracker = stack.enter_context(opened)
        self.logs: list[FileLog] = stack.enter_context(logged(run, folder.parent, how.loggers))

    @property
    def loggers(self) -> list[FunctionLogger]:
        """What takes the numbers of every epoch, and W&B the pictures too."""
        tracked_by = [FunctionLogger(write, self.tracker.show) for write in self.tracker.writers]
        return [*tracked_by, *(FunctionLogger(log.write) for log in self.logs)]

    def conclude(self, outcome: Record) -> None:
        """Log a record."""
        self.tracker.conclude(outcome)
        for log in self.logs:
            log.conclude(headline(outcome))


def _parts(members: int, error: Exception) -> int:
    """How many packs a failed pack is split into: as few as fit into memory, single runs, or halves."""
    if isinstance(error, memory.TooLargeError) and error.most:
        return math.ceil(members / error.most)
    return members if isinstance(error, Unpackable | memory.TooLargeError) else min(members, 2)


def _outcome(
    run: Run, bare: Record, trained: Fitted | Exception, seconds: float, folder: Path, how: Execution
) -> Record:
    """The record of a run: its numbers, or why it has none. Its images are written into the folder."""
    try:
        if isinstance(trained, Exception):
            raise trained
        cache = Cache(folder.parent / CEILINGS, run.evaluate.ceiling)
        measured = _measured(run, bare, trained, seconds, how, cache)
        images = image_samples.write_images(trained.model, trained.data, measured, folder)
        files = [folder / CHECKPOINT, write_weights(trained.model, folder / WEIGHTS, run.id), *images]
        sums = {path.name: checksum(path.read_bytes()) for path in files if path.is_file()}
        return replace(measured, provenance=measured.provenance | {"files": sums})
    except WriteError:  # on a full disk the next runs would fail too, and this one needs no new training
        raise
    except Exception as error:
        place = device() if isinstance(trained, Exception) else trained.model.device
        return replace(bare, reason=reason_of(error, run), provenance=_provenance(run, str(place), how))


def _written(outcome: Record, bare: Record, path: Path) -> Record:
    """Write a record. If it has what a record cannot hold (a tensor that a metric of a user returned), write why."""
    try:
        record.write(outcome, path)
    except RecordError as error:
        outcome = replace(bare, reason=str(error), provenance=outcome.provenance)
        record.write(outcome, path)
    return outcome


def _measured(run: Run, bare: Record, trained: Fitted, seconds: float, how: Execution, cache: Cache) -> Record:
    started = perf_counter()
    model, data, curve, compiled = trained
    evaluated, why = evaluate(run, model, data, how.bf16), diagnose(model, data, cache)
    truth = compare_with_truth(model, data, run.evaluate.split, run.seed)
    measured = evaluated.joined_with(why.measurement).joined_with(truth)
    measured = measured.joined_with(decoder_gap(measured, run.evaluate.split))
    spent = {"fit": round(seconds, 3), "evaluate": round(perf_counter() - started, 3)}
    facts = model.facts() | why.facts | data.facts(run.evaluate.split)
    is_density = not model.likelihood.discrete  # it depends on the scale of the data, and a probability does not
    facts |= {record.SCALE: data.scale} if is_density else {}
    described = {**CURVES, **model.fact_descriptions, **measured.descriptions}
    shown = {*facts, *curve, *(e.name for e in measured.estimates)}
    return replace(
        bare,
        status="done",
        comparability=data.comparability
        | {"split": run.evaluate.split, "measure": "density" if is_density else "discrete"}
        | ({"decoder": "bfloat16"} if how.bf16 else {}),
        facts=facts,
        estimates=measured.estimates,
        not_applicable=measured.not_applicable | model.facts_not_applicable(),
        descriptions={name: each.recorded(name) for name, each in described.items() if name in shown},
        curve=curve,
        provenance=_provenance(run, str(model.device), how)
        | ({"bfloat16_error": _bfloat16_error(run, model, data)} if how.bf16 else {})
        | ({"compiled_steps": compiled} if how.compile else {})
        | {"seconds": spent, "peak_mib": memory.peak()},
    )


def import_for(run: Run, how: Execution, folder: Path) -> None:
    """Import what a run will import when it is logged and measured, before this process is forked.

    Args:
        folder: of the study.
    """
    with importing():
        starting = None if how.wandb == "disabled" else start_service(folder)
        for name in (name for metric in build_metrics(run.evaluate.metrics) for name in metric.packages):
            import_module(name)
    if starting is not None:
        starting.join()


def expected_of(run: Run) -> dict[str, Description]:
    """What a run will measure and log, by name, if everything applies to its model."""
    how = run.evaluate
    asked = [estimator.columns for estimator in build_estimators(how.estimators)]
    measured = columns(build_metrics(how.metrics), how.draws)
    return {**CURVES, **measured, **{name: d for each in asked for name, d in each.items()}}


def evaluate(run: Run, model: Autoencoder, data: DataModule, bf16: bool = False) -> Measurement:
    """The run's metrics and estimators on its evaluation split.

    Args:
        bf16: whether the metrics, but not the estimators, decode in bfloat16.
    """
    imports.use(run.imports)
    batches, how = data.batches(run.evaluate.split), run.evaluate
    with bfloat16_decoder(model) if bf16 else nullcontext():
        measured = measure(model, batches, build_metrics(how.metrics), how.draws, run.seed)
    return measured.joined_with(estimate(model, batches, build_estimators(how.estimators), run.seed))


def _bfloat16_error(run: Run, model: Autoencoder, data: DataModule) -> dict[str, float]:
    with evaluating(model):
        return bfloat16_error(model, data.batches(run.evaluate.split), run.evaluate.draws, run.seed)._asdict()


def _provenance(run: Run, device: str, how: Execution) -> dict[str, Any]:
    command = f"python -m vaebench train {_in_utf8(run.source)} --id {run.id}" if run.source else None
    return (
        {"command": command}
        | provenance.here()
        | memory.hardware(device)
        | ({"tf32": how.tf32} if device.startswith("cuda") else {})
    )


def _in_utf8(text: str) -> str:
    """A text that may hold a path whose bytes are not UTF-8; such a byte is written as `\\udce9`."""
    return text.encode(errors="backslashreplace").decode()


def reason_of(error: BaseException, run: Run) -> str:
    """What happened, and the line of the user's own file in which it did."""
    place = imports.place_of(error, run.imports)
    what = _in_utf8(f"{type(error).__name__}: {' '.join(str(error).split()) or 'no message'}")
    return what if place is None or place in what else f"{what} ({place})"
