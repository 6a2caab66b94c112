"""A curve as it grows, told to W&B."""

from typing import Any

from lightning.pytorch.loggers.logger import Logger

from vaebench.reporting.wandb.names import EPOCH


class Epochs(Logger):
    """Tells a W&B run every row of a curve.

    Lightning's own logger counts epochs from zero, and so would show another axis than the record.

    Args:
        experiment: an open W&B run.
    """

    def __init__(self, experiment: Any) -> None:
        super().__init__()
        self.experiment = experiment

    @property
    def name(self) -> str:
        return "wandb"

    @property
    def version(self) -> str:
        return str(self.experiment.id)

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: the W&B run was opened with the whole configuration."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.experiment.log({**metrics, EPOCH: metrics["epoch"] + 1, "trainer/global_step": step})
