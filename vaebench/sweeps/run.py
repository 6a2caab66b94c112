"""Runs, from their configurations to their records: fit together, evaluate, write."""

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Any

from vaebench.config import Run
from vaebench.data.datamodule import DataModule
from vaebench.evaluation import image_samples
from vaebench.evaluation.collapse import diagnose
from vaebench.evaluation.measure import Measurement, diagnostics, estimate, estimators, measure
from vaebench.models.base import Autoencoder, Diverged
from vaebench.records import provenance, record
from vaebench.records.archive import checksum
from vaebench.records.files import WriteError
from vaebench.records.record import Record
from vaebench.records.run_folder import CHECKPOINT, RECORD
from vaebench.reporting.wandb import Mode, tracked
from vaebench.sweeps.packs import MOST
from vaebench.training import memory, resume
from vaebench.training.curve import EpochLogger
from vaebench.training.fit import fit
from vaebench.training.packed.capture import Unpackable
from vaebench.training.packed.snapshot import NewerSnapshotError
from vaebench.training.single import Fitted
from vaebench.training.trainer import Watch, settle


@dataclass(frozen=True)
class Execution:
    """How runs are executed. Nothing here is part of a run's identity: it may move a number by rounding alone."""

    wandb: Mode = "offline"
    threads: int = 1
    most: int = MOST
    """The largest number of runs that train together."""
    save_every: float = resume.EVERY
    """Seconds from one snapshot of a run in training to the next."""

    def apply(self) -> None:
        """Set what belongs to the process."""
        settle(self.threads)


def execute(run: Run, study: str, axes: list[str], folder: Path, how: Execution, watch: Watch) -> Record:
    """Train and measure one run and write its record, whatever comes of it: a pack of one.

    A run that fails (an impossible hyper-parameter, a NaN, no memory) leaves a record with the reason.

    Args:
        run: what defines the numbers.
        study: stem of the study's file.
        axes: paths of its grid, for the table.
        folder: of this run.
        how: what does not define the numbers.
        watch: told of every epoch.
    """
    (outcome,) = execute_pack([run], study, axes, [folder], how, watch)
    return outcome


def execute_pack(
    runs: Sequence[Run], study: str, axes: list[str], folders: Sequence[Path], how: Execution, watch: Watch
) -> Iterator[Record]:
    """Train runs together, measure one after the other, and write the record of each, whatever comes of it.

    What stops a pack as a whole (its members cannot be mapped, there is no memory) stops none of its runs: it is parted
    until the runs at fault are by themselves. None of this moves a number.

    Raises:
        WriteError: if what was trained or measured cannot be written; the runs not yet yielded have no record.
        NewerSnapshotError: if one was stopped by a newer version, which alone can go on.

    Yields:
        The records, in the order of the runs, each when it is written.
    """
    how.apply()
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        pairs = zip(runs, folders, strict=True)
        trackers = [stack.enter_context(tracked(run, study, folder, how.wandb)) for run, folder in pairs]
        started, parts = perf_counter(), 1
        try:
            fitted = fit(
                runs, folders, [[EpochLogger(write) for write in t.writers] for t in trackers], watch, how.save_every
            )
        except (WriteError, NewerSnapshotError):
            raise
        except Exception as error:
            parts = _parts(len(runs), error)
            fitted = [error] if parts == 1 else []
        seconds = (perf_counter() - started) / len(runs)
        for run, folder, tracker, trained in zip(runs, folders, trackers, fitted, strict=parts == 1):
            outcome = _outcome(run, study, axes, trained, seconds, folder)
            tracker.conclude(outcome)
            record.write(outcome, folder / RECORD)
            if outcome.status == "done" or isinstance(trained, Diverged):
                resume.forget(folder)  # what was trained, or stopped by chance, need not be trained again
            yield outcome
    if parts > 1:
        for a, b in pairwise(len(runs) * i // parts for i in range(parts + 1)):
            yield from execute_pack(runs[a:b], study, axes, folders[a:b], how, watch)


def _parts(members: int, error: Exception) -> int:
    """Into how many a pack that could not be trained is parted: as many as fit, single runs, or halves to find out."""
    if isinstance(error, memory.TooLargeError) and error.most:
        return math.ceil(members / error.most)
    return members if isinstance(error, Unpackable | memory.TooLargeError) else min(members, 2)


def _outcome(
    run: Run, study: str, axes: list[str], trained: Fitted | Exception, seconds: float, folder: Path
) -> Record:
    """The record of a run that has been trained, or of why it has not; its pictures go to the folder."""
    bare = Record(id=run.id, study=study, status="failed", axes=axes, config=run.config)
    try:
        if isinstance(trained, Exception):
            raise trained
        measured = _measured(run, bare, trained, seconds)
        files = [folder / CHECKPOINT, *image_samples.keep(trained.model, trained.data, measured, folder)]
        sums = {path.name: checksum(path.read_bytes()) for path in files if path.is_file()}
        return replace(measured, provenance=measured.provenance | {"files": sums})
    except Exception as error:
        return replace(bare, reason=_reason(error), provenance=_provenance(run, "cpu"))


def _measured(run: Run, bare: Record, trained: Fitted, seconds: float) -> Record:
    started = perf_counter()
    model, data, curve = trained
    seen, why = evaluate(run, model, data), diagnose(model, data)
    measured = seen.beside(why.measurement)
    spent = {"fit": round(seconds, 3), "evaluate": round(perf_counter() - started, 3)}
    return replace(
        bare,
        status="done",
        comparability=data.comparability | {"split": run.evaluate.split, "measure": _measure_of(model)},
        facts=model.facts() | why.facts | data.facts(run.evaluate.split) | _units(model, data),
        estimates=measured.estimates,
        not_applicable=measured.not_applicable,
        curve=curve,
        provenance=_provenance(run, str(model.device)) | {"seconds": spent, "peak_mib": memory.peak()},
    )


def evaluate(run: Run, model: Autoencoder, data: DataModule) -> Measurement:
    """The run's diagnostics and estimators on its evaluation split."""
    batches, how = data.batches(run.evaluate.split), run.evaluate
    measured = measure(model, batches, diagnostics(how.metrics), how.draws, run.seed)
    return measured.beside(estimate(model, batches, estimators(how.estimators), run.seed))


def _units(model: Autoencoder, data: DataModule) -> dict[str, float]:
    """What a density is per unit of; a probability has no unit."""
    return {} if model.likelihood.discrete else {record.SCALE: data.scale}


def _measure_of(model: Autoencoder) -> str:
    return "discrete" if model.likelihood.discrete else "density"


def _provenance(run: Run, device: str) -> dict[str, Any]:
    command = f"python -m vaebench train {run.source} --id {run.id}" if run.source else None
    return (
        {"command": command, "finished": provenance.now()}
        | provenance.code()
        | provenance.versions()
        | memory.hardware(device)
    )


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split()) or 'no message'}"
