"""What a Trainer does to a run besides its steps.

It measures cheap metrics on the validation split, which make the curve of the run, reports progress, changes the
learning rate in stages, stops early, and shows pictures of a few epochs.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import lightning
from lightning.pytorch.loggers.logger import Logger
from torch import nn

from vaebench.config import EarlyStopping, Train
from vaebench.data.datamodule import DataModule
from vaebench.evaluation.image_samples import sheets
from vaebench.evaluation.measure import Measurement, build_metrics, columns, measure
from vaebench.models.base import Autoencoder
from vaebench.records.description import Description, Direction, Panel, Role
from vaebench.records.record import UNIT_CURVE, UNIT_RATES
from vaebench.training.loggers import FunctionLogger
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
            found = self._metrics.measure(pl_module.training_indices, batches)
            for i, measured in zip(pl_module.training_indices, found, strict=True):
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
            latest = pl_module.logs.newest(0) if len(pl_module.members) == 1 else {}
        known = [name for name in WATCHED if name in latest]
        self.on_epoch(trainer.current_epoch + 1, {CURVES[name].heading: float(latest[name]) for name in known[:1]})


def _numbers(measured: Measurement) -> Iterator[tuple[str, float]]:
    """The numbers of a point of the curve, with their names."""
    for estimate in measured.estimates:
        if not isinstance(estimate.value, list):
            yield f"val/{estimate.name}", estimate.value
        elif estimate.name == UNIT_RATES and len(estimate.value) <= UNITS:
            yield from ((f"{UNIT_CURVE}{unit:02}", kl) for unit, kl in enumerate(estimate.value, 1))


class LearningRateStages(lightning.Callback):
    """Sets the learning rate of every epoch to the model's times the factor of its stage."""

    def __init__(self, train: Train) -> None:
        self.train = train

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if not self.train.stages:
            return
        for group in (group for optimizer in trainer.optimizers for group in optimizer.param_groups):
            # Not a product with the last rate: so a run that continues has the same rates.
            base = group.setdefault("rate_before_stages", group["lr"])
            group["lr"] = base * self.train.rate_factor(trainer.current_epoch)


class StopEarly(lightning.Callback):
    """Stops after `patience` validations without an improvement, and restores the weights of the best validation.

    Only validations count after which the objective stays the same. In the phases before the last, and while β rises,
    a model has another objective.

    Its state is part of Lightning's checkpoint, so a run that continues stops where it would have stopped.

    Raises:
        ValueError: if no curve has the number, or if neither more nor less of it is better.
    """

    def __init__(self, how: EarlyStopping) -> None:
        known = [name for name, d in CURVES.items() if name.startswith("val/") and d.better is not Direction.NEITHER]
        if how.monitor not in known:
            raise ValueError(
                f"train.early_stopping.monitor: expected one of {', '.join(known)}, got {how.monitor!r}; change it"
            )
        self.how, self.is_higher_better = how, CURVES[how.monitor].better is Direction.HIGHER
        self.best: float | None = None
        self.waited = 0  # validations since the best
        self.weights: dict[str, Any] = {}  # of the best validation, if they are to be restored

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        trainer.should_stop = self.waited >= self.how.patience  # stopped early, then killed before its record

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        assert isinstance(pl_module, Autoencoder)
        if not pl_module.has_final_objective():
            return
        # Only the first process logs, so it decides for all.
        found = trainer.callback_metrics.get(self.how.monitor)
        value = trainer.strategy.broadcast(None if found is None else float(found))
        if value is None:
            name = type(pl_module).__name__
            raise ValueError(f"train.early_stopping.monitor: {name} has no {self.how.monitor}; monitor val/objective")
        gain = 0.0 if self.best is None else (value - self.best) * (1 if self.is_higher_better else -1)
        if self.best is None or gain > self.how.min_delta:
            self.best, self.waited = value, 0
            if self.how.restore_best:
                self.weights = {name: t.detach().clone() for name, t in pl_module.state_dict().items()}
        else:
            self.waited += 1
            trainer.should_stop = self.waited >= self.how.patience

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if self.weights:
            pl_module.load_state_dict(self.weights)

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "waited": self.waited, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best, self.waited, self.weights = (state_dict[name] for name in ("best", "waited", "weights"))


MOST_MEMBERS = 64  # members of a pack that makes pictures. The time that they take grows with the members


class EpochPictures(lightning.Callback):
    """Shows reconstructions and samples after epochs 1, 2, 4, 8 and so on, and after the last.

    The observations and the noise are the same every time. No generator of the training is used, so no number changes.
    """

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        if epoch & (epoch - 1) and epoch != trainer.max_epochs:  # not a power of two
            return
        data: DataModule = trainer.datamodule  # type: ignore[attr-defined]
        for model, logger in _shown(trainer, pl_module):
            if (made := sheets(model, data, "validation" if data.sizes["validation"] else "train")) is not None:
                assert logger.show is not None
                logger.show(made, epoch)


def _shown(
    trainer: lightning.Trainer, module: lightning.LightningModule
) -> Iterator[tuple[Autoencoder, FunctionLogger]]:
    """Every model that is in training, with each of its loggers that shows pictures."""
    each: list[tuple[Autoencoder, list[Logger]]] = []
    if isinstance(module, Pack):
        if len(module.members) <= MOST_MEMBERS:
            each = [(module.members[i], module.logs.loggers[i]) for i in module.training_indices]
    else:
        assert isinstance(module, Autoencoder)
        each = [(module, trainer.loggers)]
    for model, loggers in each:
        yield from ((model, one) for one in loggers if isinstance(one, FunctionLogger) and one.show is not None)
