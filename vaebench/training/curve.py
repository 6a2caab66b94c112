"""What the curve of a run has: objectives and cheap metrics of every epoch."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import lightning
from torch import nn

from vaebench.evaluation.measure import Measurement, build_metrics, columns, measure
from vaebench.models.base import Autoencoder
from vaebench.records.description import Description, Direction, Panel, Role
from vaebench.records.record import UNIT_CURVE, UNIT_RATES
from vaebench.training.packed.metrics import PackMetrics
from vaebench.training.packed.module import Pack

DRAWS = 10  # posterior draws per observation for a point of the curve
CHEAP = ("ELBO", "Rate", "Distortion", "ActiveUnits", "KLPerUnit")  # metrics worth watching while a model trains

MEASURED = {f"val/{name}": description for name, description in columns(build_metrics(CHEAP), DRAWS).items()}
"""What validation measures at each point of a curve."""

CURVES = {
    "train/objective": Description("objective in training", Panel.TRAINING, 0, "nats", Direction.HIGHER),
    "val/objective": Description("validation objective", Panel.TRAINING, 5, "nats", Direction.HIGHER),
} | {
    name: description._replace(heading=f"validation {description.heading}", panel=Panel.TRAINING, role=None)
    for name, description in MEASURED.items()
}
"""How to show the columns of a curve."""

WATCHED = (*(name for name, description in MEASURED.items() if description.role is Role.BOUND), *CURVES)
"""Progress shows one number of an epoch: the first of these that the model logs."""

UNITS = 64  # curves of single units are logged only if there are at most this many units: a chart of more is unreadable


class Validation(lightning.Callback):
    """Computes cheap metrics on the validation split whenever Lightning validates; for a pack, of all members."""

    def __init__(self) -> None:
        self._metrics: PackMetrics | None = None

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        batches = trainer.val_dataloaders
        assert batches is not None
        if isinstance(pl_module, Pack):
            if self._metrics is None or self._metrics.stacks is not pl_module.stacks:
                self._metrics = PackMetrics(pl_module.stacks, pl_module.seed_groups, build_metrics(CHEAP), DRAWS)
            found = self._metrics.measure(pl_module.active, batches)
            for i, measured in zip(pl_module.active, found, strict=True):
                for name, value in _numbers(measured):
                    pl_module.logs.log(i, name, value)
        else:
            assert isinstance(pl_module, Autoencoder)
            for name, value in _numbers(measure(pl_module, batches, build_metrics(CHEAP), DRAWS, pl_module.seed)):
                pl_module.log(name, value, rank_zero_only=True)


class ReportProgress(lightning.Callback):
    """Calls a progress callback after every epoch.

    Args:
        on_epoch: called with the number of finished epochs and the newest number of `WATCHED`, by its heading. The
            objective in training is known only after this call: it is that of the epoch before.
    """

    def __init__(self, on_epoch: Callable[[int, Mapping[str, float]], None]) -> None:
        self.on_epoch = on_epoch

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: nn.Module) -> None:
        latest: Any = trainer.callback_metrics
        if isinstance(pl_module, Pack):
            latest = pl_module.logs.newest(0) if len(pl_module.models) == 1 else {}
        known = [name for name in WATCHED if name in latest]
        self.on_epoch(trainer.current_epoch + 1, {CURVES[name].heading: float(latest[name]) for name in known[:1]})


def _numbers(measured: Measurement) -> Iterator[tuple[str, float]]:
    """The numbers of a point of the curve, with their names."""
    for estimate in measured.estimates:
        if not isinstance(estimate.value, list):
            yield f"val/{estimate.name}", estimate.value
        elif estimate.name == UNIT_RATES and len(estimate.value) <= UNITS:
            yield from ((f"{UNIT_CURVE}{unit:02}", kl) for unit, kl in enumerate(estimate.value, 1))
