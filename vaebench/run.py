"""One run, from its configuration to its record: seed, fit, evaluate, write."""

import logging
import os
import signal
import warnings
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import lightning
import torch

from vaebench import provenance, record
from vaebench.config import Run
from vaebench.curve import Curve, Report, Validation
from vaebench.datamodule import DataModule
from vaebench.evaluation import Measurement, diagnostics, estimate, estimators, measure
from vaebench.models.base import Autoencoder
from vaebench.record import Record
from vaebench.registry import DATASETS, MODELS
from vaebench.tracking import Mode, Tracker, tracked
from vaebench.verdict import explain

CHECKPOINT = "model.ckpt"
"""The trained model's file in a run's folder; `Model.load_from_checkpoint` reads it."""

Watch = Callable[[int, Mapping[str, float]], None]
"""Told of every finished epoch: how many, and the latest numbers."""


@dataclass(frozen=True)
class Execution:
    """How runs are executed. Nothing here is part of a run's identity: it may move a number by rounding alone."""

    wandb: Mode = "offline"
    threads: int = 1

    def apply(self) -> None:
        """Set what belongs to the process."""
        torch.set_num_threads(self.threads)
        logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
        warnings.filterwarnings("ignore", r".isinstance\(treespec, LeafSpec\). is deprecated", FutureWarning)


def execute(run: Run, study: str, axes: list[str], folder: Path, how: Execution, watch: Watch) -> Record:
    """Train and measure one run and write its record, whatever comes of it.

    A run that fails (an impossible hyper-parameter, a NaN, no memory) leaves a record with the reason.

    Args:
        run: what defines the numbers.
        study: stem of the study's file.
        axes: paths of its grid, for the table.
        folder: of this run.
        how: what does not define the numbers.
        watch: told of every epoch.
    """
    how.apply()
    folder.mkdir(parents=True, exist_ok=True)
    bare = Record(id=run.id, study=study, status="failed", axes=axes, config=run.config)
    with tracked(run, study, folder, how.wandb) as tracker:
        try:
            outcome = _train_and_measure(run, bare, folder, tracker, watch)
        except (Exception, torch.cuda.OutOfMemoryError) as error:
            outcome = replace(bare, reason=_reason(error), provenance=_provenance(run, study, "cpu"))
        tracker.conclude(outcome)
    record.write(outcome, folder / "record.json")
    return outcome


def _train_and_measure(run: Run, bare: Record, folder: Path, tracker: Tracker, watch: Watch) -> Record:
    started = perf_counter()
    data, model, curve = data_of(run), None, Curve()
    data.setup("fit")
    model = MODELS.build(run.model, data.shape, run.seed)
    trainer = _trainer(run, [curve, *tracker.loggers], watch)
    with interruptible():
        trainer.fit(model, datamodule=data)
    _save(trainer, folder / CHECKPOINT)
    fitted = perf_counter()
    model.to(trainer.strategy.root_device)
    seen, why = evaluate(run, model, data), explain(model, data)
    measured = seen.beside(why.measurement)
    seconds = {"fit": round(fitted - started, 3), "evaluate": round(perf_counter() - fitted, 3)}
    return replace(
        bare,
        status="done",
        comparability=data.comparability | {"split": run.evaluate.split, "measure": _measure_of(model)},
        facts=model.facts() | why.facts,
        estimates=measured.estimates,
        absent=measured.absent,
        curve=curve.columns,
        provenance=_provenance(run, bare.study, str(model.device)) | {"seconds": seconds},
    )


def data_of(run: Run) -> DataModule:
    """The data of a run, not yet loaded."""
    return DataModule(DATASETS.build(run.data), run.seed, batch_size=run.train.batch_size)


def evaluate(run: Run, model: Autoencoder, data: DataModule) -> Measurement:
    """The run's diagnostics and estimators on its evaluation split."""
    batches, how = data.batches(run.evaluate.split), run.evaluate
    measured = measure(model, batches, diagnostics(how.metrics), how.draws, run.seed)
    return measured.beside(estimate(model, batches, estimators(how.estimators), run.seed))


def _trainer(run: Run, loggers: list[Any], watch: Watch) -> lightning.Trainer:
    return lightning.Trainer(
        max_epochs=run.train.epochs,
        accelerator="gpu" if torch.cuda.is_available() else "cpu",
        devices=1,
        logger=loggers,
        callbacks=[Validation(), Report(watch)],
        check_val_every_n_epoch=run.train.validate_every,
        gradient_clip_val=run.train.gradient_clip,
        num_sanity_val_steps=0,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=1,  # nothing is logged at a step; a larger interval only draws a warning
    )


def _save(trainer: lightning.Trainer, path: Path) -> None:
    """Lightning's own checkpoint, under its name only once it is whole."""
    temporary = path.with_suffix(".part")
    trainer.save_checkpoint(temporary, weights_only=False)
    os.replace(temporary, path)


@contextmanager
def interruptible() -> Any:
    """Ctrl-C as KeyboardInterrupt; Lightning turns it into an exit and leaves the signal ignored."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as exit_:
        raise KeyboardInterrupt from exit_
    finally:
        signal.signal(signal.SIGINT, handler)


def _measure_of(model: Autoencoder) -> str:
    return "discrete" if model.likelihood.discrete else "density"


def _provenance(run: Run, study: str, device: str) -> dict[str, Any]:
    command = f"python -m vaebench train conf/{study}.yaml --id {run.id}"
    return {"command": command, "finished": provenance.now()} | provenance.code() | provenance.machine(device)


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split()) or 'no message'}"
