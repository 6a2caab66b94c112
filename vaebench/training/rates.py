"""The learning rate in stages, for a model that trains by itself."""

import lightning

from vaebench.config import Train


class LearningRateStages(lightning.Callback):
    """Sets the learning rate of every epoch to the model's times the factor of its stage.

    Args:
        train: how the model is trained.
    """

    def __init__(self, train: Train) -> None:
        self.train = train

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if not self.train.stages:
            return
        for group in (group for optimizer in trainer.optimizers for group in optimizer.param_groups):
            # Not a product with the last rate: so a run that continues has the same rates.
            base = group.setdefault("rate_before_stages", group["lr"])
            group["lr"] = base * self.train.rate_factor(trainer.current_epoch)
