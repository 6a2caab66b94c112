"""Pictures of a model at a few epochs of its training, for the loggers that show pictures."""

from collections.abc import Iterator

import lightning
from lightning.pytorch.loggers.logger import Logger

from vaebench.data.datamodule import DataModule
from vaebench.evaluation.image_samples import sheets
from vaebench.models.base import Autoencoder
from vaebench.training.curve import EpochLogger
from vaebench.training.packed.module import Pack

MOST = 64
"""Members of a pack that makes pictures. The time that they take grows with the members."""


class EpochPictures(lightning.Callback):
    """Shows reconstructions and samples after epochs 1, 2, 4, 8 and so on, and after the last.

    The observations and the noise are the same every time. No generator of the training is used, so no number changes.
    """

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        epoch = trainer.current_epoch + 1
        if epoch & (epoch - 1) and epoch != trainer.max_epochs:  # no power of two
            return
        data: DataModule = trainer.datamodule  # type: ignore[attr-defined]
        for model, logger in _shown(trainer, pl_module):
            if (made := sheets(model, data, "validation" if data.sizes["validation"] else "train")) is not None:
                assert logger.show is not None
                logger.show(made, epoch)


def _shown(trainer: lightning.Trainer, module: lightning.LightningModule) -> Iterator[tuple[Autoencoder, EpochLogger]]:
    """Every model that is in training, with each of its loggers that shows pictures."""
    each: list[tuple[Autoencoder, list[Logger]]] = []
    if isinstance(module, Pack):
        if len(module.models) <= MOST:
            each = [(module.models[i], module.history.loggers[i]) for i in module.active]
    else:
        assert isinstance(module, Autoencoder)
        each = [(module, trainer.loggers)]
    for model, loggers in each:
        yield from ((model, one) for one in loggers if isinstance(one, EpochLogger) and one.show is not None)
