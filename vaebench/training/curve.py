"""The curve of a run: objectives and cheap metrics of every epoch, kept for its record."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import lightning
from lightning.pytorch.loggers.logger import Logger
from torch import nn

from vaebench.evaluation.measure import Measurement, build_metrics, columns, measure
from vaebench.models.base import Autoencoder
from vaebench.records.description import Description, Direction, Panel, Role
from vaebench.records.images import Pixels
from vaebench.records.record import UNIT_RATES
from vaebench.training.packed.metrics import PackMetrics
from vaebench.training.packed.module import Pack
from vaebench.training.snapshot import Row

DRAWS = 10
"""Posterior draws per observation for a point of the curve."""

CHEAP = ("ELBO", "Rate", "Distortion", "ActiveUnits", "KLPerUnit")
"""Metrics worth watching while a model trains."""

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

UNITS = 64
"""Curves of single units are logged only if there are at most this many units: a chart of more is unreadable."""

PER_UNIT = f"val/{UNIT_RATES}/"
"""How the names of single units' curves begin. They go to loggers only: in a record they would be too long."""


class Curve(Logger):
    """Keeps what Lightning logs, one row per epoch.

    It is a logger like the others, so the curve in a record holds the same numbers that W&B received.

    Attributes:
        rows: the logged numbers, by epoch, counted from zero.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[int, dict[str, float]] = {}
        self._steps: dict[int, int] = {}

    @property
    def name(self) -> str:
        return "curve"

    @property
    def version(self) -> str:
        return ""

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the record holds the configuration."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        values = {name: float(value) for name, value in metrics.items() if name != "epoch"}
        epoch = int(metrics["epoch"])
        self.rows.setdefault(epoch, {}).update(values)
        self._steps[epoch] = 1 + (step or 0)

    def finished(self) -> list[Row]:
        """The finished epochs, for a snapshot."""
        return [(epoch, self._steps[epoch], dict(row)) for epoch, row in self.rows.items()]

    @property
    def columns(self) -> dict[str, list[float | None]]:
        """A column for every name but single units'; `epoch` counts from one. None where nothing was logged."""
        names = sorted({name for row in self.rows.values() for name in row if not name.startswith(PER_UNIT)})
        columns: dict[str, list[float | None]] = {"epoch": [float(epoch + 1) for epoch in self.rows]}
        return columns | {name: [row.get(name) for row in self.rows.values()] for name in names}


class EpochLogger(Logger):
    """Passes the numbers of every epoch to a function, for example to a W&B run.

    Epochs count from one, as in records. Lightning's own loggers count from zero.

    Args:
        write: receives the numbers of an epoch, by name.
        show: receives grids of pixels, by name, and the epoch; None if it takes no pictures.
    """

    def __init__(
        self,
        write: Callable[[Mapping[str, Any]], None],
        show: Callable[[Mapping[str, Pixels], int], None] | None = None,
    ) -> None:
        super().__init__()
        self.write, self.show = write, show

    @property
    def name(self) -> str:
        return "epochs"

    @property
    def version(self) -> str:
        return ""

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the record holds the configuration."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.write({**metrics, "epoch": metrics["epoch"] + 1, "trainer/global_step": step})


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
                    pl_module.history.log(i, name, value)
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
            latest = pl_module.history.newest(0) if len(pl_module.models) == 1 else {}
        known = [name for name in WATCHED if name in latest]
        self.on_epoch(trainer.current_epoch + 1, {CURVES[name].heading: float(latest[name]) for name in known[:1]})


def _numbers(measured: Measurement) -> Iterator[tuple[str, float]]:
    """The numbers of a point of the curve, with their names."""
    for estimate in measured.estimates:
        if not isinstance(estimate.value, list):
            yield f"val/{estimate.name}", estimate.value
        elif estimate.name == UNIT_RATES and len(estimate.value) <= UNITS:
            yield from ((f"{PER_UNIT}{unit:02}", kl) for unit, kl in enumerate(estimate.value, 1))
