"""Train runs: as one pack if that is possible, else one after another."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lightning.pytorch.loggers.logger import Logger

from vaebench.config import Run
from vaebench.config.registry import DATASETS, MODELS, OPTIMIZERS
from vaebench.models.base import Autoencoder
from vaebench.models.epoch import REMEDY, Diverged
from vaebench.records.files import CHECKPOINT, WriteError
from vaebench.training.checkpoints import NewerSnapshotError, Snapshot, save_checkpoint, unpack
from vaebench.training.memory import check_fits, meta_model
from vaebench.training.outside_pack import fit_outside_pack
from vaebench.training.packed.capture import Unpackable
from vaebench.training.packed.loaders import PackedData, seeds_of
from vaebench.training.packed.module import Pack
from vaebench.training.resume import SAVE_EVERY, PeriodicSnapshot, find_snapshot, save
from vaebench.training.signals import DeferredSignals
from vaebench.training.trainer import DeferSignals, Fitted, ProgressCallback, interruptible, trainer, validation


class Member(NamedTuple):
    """A run, its model, and the snapshot from which it continues, if there is one."""

    run: Run
    folder: Path
    loggers: Sequence[Logger]
    model: Autoencoder
    start: Snapshot | None


def fit(
    runs: Sequence[Run],
    folders: Sequence[Path],
    loggers: Sequence[Sequence[Logger]],
    on_epoch: ProgressCallback,
    save_every: float = SAVE_EVERY,
    compiles: bool = False,
) -> list[Fitted | Exception]:
    """Train runs as a pack, and write the checkpoint of each into its folder.

    A run continues from the snapshot in its folder. Runs whose snapshots have equal steps train together.

    Args:
        runs: with equal values of `vaebench.sweeps.packs.pack_key`.
        save_every, compiles: seconds between snapshots; whether the steps of a pack may be compiled.

    Returns:
        For each run its trained model, or the error that stopped it.

    Raises:
        WriteError: if a checkpoint cannot be written.
        NewerSnapshotError: if a newer version of vaebench wrote a snapshot.
        Exception: if they cannot be trained together: `Unpackable`, `TooLargeError` and others.
    """
    each = list(zip(runs, folders, loggers, strict=True))
    if runs[0].train.why_not_packed is not None:
        return [_fit_or_error(*one, on_epoch, save_every) for one in each]
    data = PackedData(DATASETS.build(runs[0].data), [r.seed for r in runs], batch_size=runs[0].train.batch_size)
    data.setup("fit")
    if (shapes := meta_model(runs[0].model, data.shape)) is not None:
        check_fits([shapes] * len(runs), runs[0].train.batch_size)
    # Runs by the step from which they start: a pack has one. The keys below are places in `runs`.
    fitted, packs = dict[int, Fitted | Exception](), defaultdict[int, dict[int, Member]](dict)
    for i, one in enumerate(each):
        found = _member_or_error(*one, data)
        if isinstance(found, Exception):
            fitted[i] = found
        elif found.start is not None and found.start.optimizer_state is None:  # from outside a pack: it stays there
            fitted[i] = _fit_or_error(*one, on_epoch, save_every)
        else:
            packs[0 if found.start is None else found.start.steps][i] = found
    for members in packs.values():
        data.seeds = seeds_of([m.run.seed for m in members.values()])
        fitted |= zip(members, _fit_pack([*members.values()], data, on_epoch, save_every, compiles), strict=True)
    return [fitted[i] for i in range(len(runs))]


def _member_or_error(run: Run, folder: Path, loggers: Sequence[Logger], data: PackedData) -> Member | Exception:
    """A run with its model and its snapshot, or the error if the model cannot be built."""
    try:
        model = MODELS.build(run.model, data.shape, run.seed)
        return Member(run, folder, loggers, model, find_snapshot(run, folder, model, data))
    except NewerSnapshotError:
        raise
    except Exception as error:
        return error


def _fit_pack(
    members: Sequence[Member], data: PackedData, on_epoch: ProgressCallback, save_every: float, compiles: bool
) -> list[Fitted | Exception]:
    first, signals = members[0], DeferredSignals()
    try:
        runs, folders = [m.run for m in members], [m.folder for m in members]
        saving = PeriodicSnapshot(save_every, lambda: save(pack, runs, folders), signals)
        pack = Pack(
            [m.model for m in members],
            clips=[run.train.gradient_clip for run in runs],
            optimizers=[OPTIMIZERS.build(run.train.optimizer) for run in runs],
            learning_rate_factors=[run.train.rate_factor for run in runs],
            loggers=[m.loggers for m in members],
            start=[m.start for m in members if m.start is not None] or None,
            between_steps=saving.between_steps,
            compiles=compiles,
        )
        training = trainer(first.run, on_epoch, DeferSignals(signals), saving, logger=False, **validation(data))
        with signals.until_saved():
            with interruptible():
                training.fit(pack, datamodule=data)
            signals.defer()  # Lightning has put the handlers back, and the last snapshots are not yet written
            saving.write_now()
    except Unpackable:
        if len(members) > 1:
            raise
        return [fit_outside_pack(first.run, first.folder, first.loggers, on_epoch, save_every)]
    device = training.strategy.root_device  # Lightning has moved the pack back to the CPU, but not the data
    fitted: list[Fitted | Exception] = []
    for m, divergence, curve in zip(members, pack.divergences, pack.logs.curves, strict=True):
        if divergence is None:
            save_checkpoint(m.model, m.folder / CHECKPOINT, pack.current_epoch, pack.steps_done)
            compiled_steps = 0 if pack.compiled is None else pack.compiled.taken
            fitted.append(Fitted(unpack(m.model, device), data, curve.columns, compiled_steps))
        else:
            fitted.append(Diverged(divergence.reason, data.values_too_large or REMEDY))
    return fitted


def _fit_or_error(
    run: Run, folder: Path, loggers: Sequence[Logger], on_epoch: ProgressCallback, save_every: float
) -> Fitted | Exception:
    """Train a run by itself; an error that belongs to this run alone is returned."""
    try:
        return fit_outside_pack(run, folder, loggers, on_epoch, save_every)
    except (WriteError, NewerSnapshotError):
        raise
    except Exception as error:
        return error
