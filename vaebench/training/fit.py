"""Models of runs trained: as one program where that can be, else each by itself."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lightning.pytorch.loggers.logger import Logger

from vaebench.config import Run
from vaebench.config.registry import DATASETS, MODELS
from vaebench.models.base import Autoencoder, Diverged
from vaebench.records.files import WriteError
from vaebench.records.run_folder import CHECKPOINT
from vaebench.training.curve import Curve
from vaebench.training.memory import check_fits, outline
from vaebench.training.packed.capture import Unpackable
from vaebench.training.packed.checkpoint import save_checkpoint, unpack
from vaebench.training.packed.loaders import PackedData
from vaebench.training.packed.module import Pack
from vaebench.training.packed.snapshot import NewerSnapshotError, Snapshot
from vaebench.training.resume import EVERY, PeriodicCheckpoint, found, save
from vaebench.training.single import Fitted, advised, fit_single
from vaebench.training.trainer import DeferSignals, ProgressCallback, interruptible, trainer


def fit(
    runs: Sequence[Run],
    folders: Sequence[Path],
    loggers: Sequence[Sequence[Logger]],
    watch: ProgressCallback,
    every: float = EVERY,
) -> list[Fitted | Exception]:
    """Train runs as a pack, and leave the checkpoint of each in its folder.

    Each goes on from the snapshot in its folder. Runs with snapshots at different steps train one after another.

    Args:
        runs: agree in what `vaebench.sweeps.packs.pack_key` returns.
        folders: one for each run.
        loggers: of each run.
        watch: called after every epoch.
        every: seconds between snapshots.

    Returns:
        For each run its model, or the reason why it has none.

    Raises:
        WriteError: if a checkpoint cannot be written.
        NewerSnapshotError: if a snapshot is of a newer version.
        Exception: if they cannot be trained together: `Unpackable`, `TooLargeError` and others.
    """
    each = list(zip(runs, folders, loggers, strict=True))
    if runs[0].train.devices > 1:
        return [_or_why(*one, watch, every) for one in each]
    data = PackedData(DATASETS.build(runs[0].data), [r.seed for r in runs], batch_size=runs[0].train.batch_size)
    data.setup("fit")
    if (shapes := outline(runs[0].model, data.shape)) is not None:
        check_fits([shapes] * len(runs), runs[0].train.batch_size)
    fitted: list[Fitted | Exception | None] = [None] * len(runs)
    by_steps: dict[int, list[tuple[int, Member]]] = {}
    for i, one in enumerate(each):
        member = _member(*one, data)
        if isinstance(member, Exception):
            fitted[i] = member
        else:
            by_steps.setdefault(member.steps, []).append((i, member))
    for places, members in (zip(*alike, strict=True) for alike in by_steps.values()):
        for i, outcome in zip(places, _together(members, data, watch, every), strict=True):
            fitted[i] = outcome
    return [f for f in fitted if f is not None]


class Member(NamedTuple):
    """A run that is to be trained with others."""

    run: Run
    folder: Path
    loggers: Sequence[Logger]
    model: Autoencoder
    start: Snapshot | None = None

    @property
    def steps(self) -> int:
        """How many it has behind it."""
        return 0 if self.start is None else self.start.steps


def _member(run: Run, folder: Path, loggers: Sequence[Logger], data: PackedData) -> Member | Exception:
    """A run's model and its snapshot, or why the model cannot be built."""
    try:
        model = MODELS.build(run.model, data.shape, run.seed)
        return Member(run, folder, loggers, model, found(run, folder, model, data))
    except NewerSnapshotError:
        raise
    except Exception as error:
        return error


def _together(
    members: Sequence[Member], data: PackedData, watch: ProgressCallback, every: float
) -> list[Fitted | Exception]:
    first, curves, patient = members[0], [Curve() for _ in members], DeferSignals()
    told = [[curve, *m.loggers] for curve, m in zip(curves, members, strict=True)]
    try:
        clips, start = [m.run.train.gradient_clip for m in members], [m.start for m in members if m.start is not None]
        saving = PeriodicCheckpoint(
            every, lambda: save(pack, [m.run for m in members], [m.folder for m in members]), patient.waiting
        )
        models = [m.model for m in members]
        pack = Pack(models, clips=clips, loggers=told, start=start or None, between=saving.between)
        training = trainer(first.run, watch, patient, saving, logger=False)
        try:
            with interruptible():
                training.fit(pack, datamodule=data)
            patient.waiting.hold()
            saving.now()
        finally:
            patient.waiting.let_go()
        patient.waiting.deliver()
    except Unpackable:
        if len(members) > 1:
            raise
        return [fit_single(first.run, first.folder, first.loggers, watch, every)]
    device = training.strategy.root_device  # where the data is; Lightning has taken the pack back to the CPU
    fitted: list[Fitted | Exception] = []
    for m, divergence, curve in zip(members, pack.divergences, curves, strict=True):
        if divergence is None:
            save_checkpoint(m.model, m.folder / CHECKPOINT, pack.current_epoch, pack.steps_done)
            fitted.append(Fitted(unpack(m.model, device), data, curve.columns))
        else:
            fitted.append(advised(Diverged(divergence.reason), data))
    return fitted


def _or_why(
    run: Run, folder: Path, loggers: Sequence[Logger], watch: ProgressCallback, every: float
) -> Fitted | Exception:
    """A run trained on several devices, or why it was not."""
    try:
        return fit_single(run, folder, loggers, watch, every)
    except (WriteError, NewerSnapshotError):
        raise
    except Exception as error:
        return error
