"""The curve of a run: cheap diagnostics on the validation split while it trains, kept for its record."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import lightning
from lightning.pytorch.loggers.logger import Logger
from torch import nn

from vaebench.evaluation.measure import Measurement, columns, diagnostics, measure
from vaebench.models.base import Autoencoder
from vaebench.records.description import Description, Direction, Panel
from vaebench.training.packed.metrics import PackDiagnostics
from vaebench.training.packed.module import Pack

DRAWS = 10
"""Posterior draws of an observation for a point of the curve."""

CHEAP = ("ELBO", "Rate", "Distortion", "ActiveUnits", "KLPerUnit")
"""Diagnostics worth watching while a model trains."""

CURVES = {
    "train/objective": Description("objective in training", Panel.TRAINING, 0, "nats", Direction.HIGHER),
    "val/objective": Description("validation objective", Panel.TRAINING, 5, "nats", Direction.HIGHER),
} | {
    f"val/{name}": description._replace(heading=f"validation {description.heading}", panel=Panel.TRAINING, role=None)
    for name, description in columns(diagnostics(CHEAP), DRAWS).items()
}
"""How to show the columns of a curve."""

UNITS = 64
"""Units that a chart can tell apart; of a model with more, no unit has a curve."""

PER_UNIT = "val/kl_per_unit/"
"""How the curves of single units begin. Loggers are told of them; a record would be many times as long."""


class Curve(Logger):
    """Keeps what Lightning logs, one row an epoch.

    A run's curve is therefore what every other logger was given, and not a second account of it.

    Attributes:
        rows: what was logged, by epoch, counted from zero.
    """

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[int, dict[str, float]] = {}

    @property
    def name(self) -> str:
        return "curve"

    @property
    def version(self) -> str:
        return ""

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the record holds the configuration."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        values = {name: float(value) for name, value in metrics.items() if name != "epoch"}
        self.rows.setdefault(int(metrics["epoch"]), {}).update(values)

    @property
    def columns(self) -> dict[str, list[float | None]]:
        """`epoch`, counted from one, and a column for every name but single units'; None where it was not logged."""
        names = sorted({name for row in self.rows.values() for name in row if not name.startswith(PER_UNIT)})
        columns: dict[str, list[float | None]] = {"epoch": [float(epoch + 1) for epoch in self.rows]}
        return columns | {name: [row.get(name) for row in self.rows.values()] for name in names}


class EpochLogger(Logger):
    """Passes the numbers of every epoch to a function, for example that of a W&B run.

    Epochs count from one, as in records. Lightning's own loggers count from zero.

    Args:
        write: takes the numbers of an epoch by name.
    """

    def __init__(self, write: Callable[[Mapping[str, Any]], None]) -> None:
        super().__init__()
        self.write = write

    @property
    def name(self) -> str:
        return "epochs"

    @property
    def version(self) -> str:
        return ""

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the record holds the configuration."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.write({**metrics, "epoch": metrics["epoch"] + 1, "trainer/global_step": step})


class Validation(lightning.Callback):
    """Measures cheap diagnostics on the validation split whenever Lightning validates; a pack's members all at once."""

    def __init__(self) -> None:
        self._measuring: PackDiagnostics | None = None

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        batches = trainer.val_dataloaders
        assert batches is not None
        if isinstance(pl_module, Pack):
            if self._measuring is None or self._measuring.stacks is not pl_module.stacks:
                self._measuring = PackDiagnostics(pl_module.stacks, pl_module.shared, diagnostics(CHEAP), DRAWS)
            for i, measured in zip(pl_module.active, self._measuring.of(pl_module.active, batches), strict=True):
                for name, value in _numbers(measured):
                    pl_module.history.log(i, name, value)
        else:
            assert isinstance(pl_module, Autoencoder)
            for name, value in _numbers(measure(pl_module, batches, diagnostics(CHEAP), DRAWS, pl_module.seed)):
                pl_module.log(name, value, rank_zero_only=True)


class Report(lightning.Callback):
    """Tells a progress display of every finished epoch.

    Args:
        watch: called with the number of finished epochs and the latest numbers.
    """

    def __init__(self, watch: Any) -> None:
        self.watch = watch

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: nn.Module) -> None:
        latest: Any = trainer.callback_metrics
        if isinstance(pl_module, Pack):
            latest = pl_module.history.latest[0] if len(pl_module.models) == 1 else {}
        self.watch(trainer.current_epoch + 1, {k: float(v) for k, v in latest.items()})


def _numbers(measured: Measurement) -> Iterator[tuple[str, float]]:
    """A point of the curve, by name."""
    for estimate in measured.estimates:
        if not isinstance(estimate.value, list):
            yield f"val/{estimate.name}", estimate.value
        elif estimate.name == "kl_per_unit" and len(estimate.value) <= UNITS:
            yield from ((f"{PER_UNIT}{unit:02}", kl) for unit, kl in enumerate(estimate.value, 1))
