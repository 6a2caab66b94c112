"""The one LightningDataModule that every model shares."""

from pathlib import Path
from typing import Any

import torch
from lightning import LightningDataModule

from vaebench.config.registry import PositiveInt
from vaebench.data.batch import Batch
from vaebench.data.binarization import evaluated
from vaebench.data.datasets.base import Dataset, Splits, data_root
from vaebench.data.datasets.duplicates import repeated
from vaebench.data.loaders import EvaluationBatches, Resident, Share, TrainingBatches
from vaebench.records.record import DUPLICATES

FAR = 100.0
"""A magnitude of observations from which a training that diverges is blamed on it: networks start for about 1."""


class DataModule(LightningDataModule):
    """A data set in batches: one tensor a split on the trainer's device, uint8 where its source is.

    Args:
        dataset: where the observations come from.
        seed: the run's; it decides the order of training and its dynamic binarisation, never the splits.
        batch_size: examples a step, of all processes together.
        root: the folder that downloaded data sets share; None is `data_root()`.
    """

    def __init__(
        self, dataset: Dataset, seed: int = 0, *, batch_size: PositiveInt = 64, root: Path | None = None
    ) -> None:
        super().__init__()
        self.dataset, self.seed, self.batch_size, self.root = dataset, seed, batch_size, root
        self._splits: Splits | None = None
        self._placed = torch.device("cpu")
        self._evaluated: dict[str, Resident] = {}
        self._checksum = ""
        self._repeated: dict[str, int | None] = {}
        self._training: TrainingBatches | None = None
        self._resumed: dict[str, Any] | None = None

    def __str__(self) -> str:
        # Lightning's own would ask every loader for batches.
        if self._splits is None:
            return f"{self.dataset.name}, not yet loaded"
        sizes = ", ".join(f"{name} {size}" for name, size in self.sizes.items())
        return f"{self.dataset.name}: {sizes}, shape {[*self.shape]}"

    def setup(self, stage: str | None = None) -> None:
        """Load the splits and check them; Lightning calls this before every stage, the work is done once.

        Raises:
            ValueError: if the data cannot be trained on (see `Splits.check`), is smaller than a batch, or is to be
                binarised and is not grey.
        """
        if self._splits is not None:
            return
        splits = self.dataset.load(data_root() if self.root is None else self.root)
        splits.check(self.dataset.name)
        n = len(splits.train.x)
        if not 0 < self.batch_size <= n:
            raise ValueError(
                f"expected a batch_size from 1 to {n}, the training examples of {self.dataset.name}, "
                f"got {self.batch_size}; lower it"
            )
        if self.dataset.binarization is not None:
            _check_grey(splits, self.dataset.name)
        self._checksum = splits.checksum()
        self._splits = splits

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one observation."""
        return tuple(self._loaded.train.x.shape[1:])

    @property
    def sizes(self) -> dict[str, int]:
        """The number of examples in each split, by its name."""
        return {name: len(examples.x) for name, examples in self._loaded.named().items()}

    @property
    def checksum(self) -> str:
        """SHA-256 of the raw tensors and labels of all splits, in hexadecimal."""
        assert self._loaded
        return self._checksum

    @property
    def comparability(self) -> dict[str, str | None]:
        """What has to be equal, beside split and measure, for two bounds to be compared."""
        binarization = self.dataset.binarization
        return {
            "checksum": self.checksum,
            "dataset": self.dataset.name,
            "binarize": None if binarization is None else binarization.name,
        }

    @property
    def too_large(self) -> str | None:
        """What to do about observations that no network starts well on; None where they are about as large as 1."""
        x = self._loaded.train.x
        largest = max(abs(float(x.min())), abs(float(x.max()))) / self._loaded.scale
        if largest <= FAR:
            return None
        return f"scale the data to a standard deviation of about 1: its numbers reach {largest:.3g} in magnitude"

    def facts(self, split: str) -> dict[str, int]:
        """What a record says of the data beside its comparability: how many of a split's observations are in training.

        Nothing where there are none, where the split is the training set, or where both are too large to compare.
        """
        if split == "train":
            return {}
        if split not in self._repeated:
            self._repeated[split] = repeated(self._loaded.train.x, self._loaded.named()[split].x)
        count = self._repeated[split]
        return {DUPLICATES: count} if count else {}

    @property
    def scale(self) -> float:
        """By what the data is divided before a model sees it; 1 for pixels that were made binary."""
        return self._loaded.scale if self.dataset.binarization is None else 1.0

    @property
    def train(self) -> Batch:
        """The whole training set in its own order, as evaluation sees it, in float32."""
        return self.resident("train")[:]

    @property
    def validation(self) -> Batch:
        """The whole validation set, as `train`."""
        return self.resident("validation")[:]

    @property
    def test(self) -> Batch:
        """The whole test set, as `train`."""
        return self.resident("test")[:]

    def train_dataloader(self) -> TrainingBatches:
        """Batches in a new order every epoch; each loader starts at the first epoch, or at a loaded checkpoint."""
        self._training = self.training(self.seed)
        if self._resumed is not None:
            self._training.load_state_dict(self._resumed)
            self._resumed = None
        return self._training

    def training(self, seed: int) -> TrainingBatches:
        """Batches of the training set in the order, and with the pixels, of a seed."""
        binarization = self.dataset.binarization
        if binarization is None or not binarization.every_time:
            return TrainingBatches(self.resident("train"), self._share, seed)
        return TrainingBatches(self._raw("train").to(self._device), self._share, seed, binarization)

    def state_dict(self) -> dict[str, Any]:
        """Where training stands in its data; Lightning writes it to the checkpoint.

        Lightning asks the loader as well, but gives its state back only in the middle of an epoch.
        """
        if self._training is None or self.trainer is None:
            return {}
        epoch = self.trainer.fit_loop.epoch_progress.current
        ended = epoch.processed == epoch.ready  # type: ignore[attr-defined] # declared less exactly than it is
        return self._training.next_epoch() if ended else self._training.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Let the next training loader go on from a checkpoint, where it is training that is resumed."""
        if state_dict and self.trainer is not None and self.trainer.training:
            self._resumed = state_dict

    def val_dataloader(self) -> EvaluationBatches:
        """Batches of the validation set in its own order, all of it in every process: no number depends on how many."""
        return self.batches("validation")

    def test_dataloader(self) -> EvaluationBatches:
        """Batches of the test set in its own order; every process has a share."""
        return EvaluationBatches(self.resident("test"), self._share)

    def to(self, device: torch.device) -> "DataModule":
        """Give batches on a device, where there is no trainer whose device it would be."""
        self._placed = device
        return self

    def batches(self, split: str) -> EvaluationBatches:
        """Batches of any split in its own order, as evaluation sees it; all of it in every process."""
        return EvaluationBatches(self.resident(split), Share(self.batch_size))

    def resident(self, split: str) -> Resident:
        """A split on the device, as evaluation sees it; indexing it gives a `Batch`."""
        kept = self._evaluated.get(split)
        if kept is None or kept.x.device != self._device:
            kept = self._evaluated[split] = self._seen(split).to(self._device)
        return kept

    def _seen(self, split: str) -> Resident:
        raw, binarization = self._raw(split), self.dataset.binarization
        if binarization is None:
            return raw
        return Resident(evaluated(binarization, raw.x, raw.scale, split), raw.label, scale=1.0)

    def _raw(self, split: str) -> Resident:
        return Resident(*self._loaded.named()[split], self._loaded.scale)

    @property
    def _loaded(self) -> Splits:
        if self._splits is None:
            raise RuntimeError("expected setup() before the data is asked for; call it, or let a Trainer do so")
        return self._splits

    @property
    def _device(self) -> torch.device:
        return self._placed if self.trainer is None else self.trainer.strategy.root_device

    @property
    def _share(self) -> Share:
        if self.trainer is None:
            return Share(self.batch_size)
        return Share(self.batch_size, self.trainer.global_rank, self.trainer.world_size)


def _check_grey(splits: Splits, source: str) -> None:
    """Refuse to binarise what is not a grey level, that is, not a probability."""
    for split, examples in splits.named().items():
        low, high = float(examples.x.min()) / splits.scale, float(examples.x.max()) / splits.scale
        if low < 0 or high > 1:
            raise ValueError(
                f"{source}, {split}: expected grey levels in [0, 1] to binarise, got {low:g} to {high:g}; "
                "leave `binarize` out, or scale the data"
            )
