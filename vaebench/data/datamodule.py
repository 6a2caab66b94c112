"""The LightningDataModule that all models share."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lightning import LightningDataModule

from vaebench.config import Run
from vaebench.config.registry import DATASETS, PositiveInt
from vaebench.data.binarization import binarized
from vaebench.data.datasets.base import Dataset, Splits, data_root, repeated
from vaebench.data.loaders import Batch, DeviceSplit, EvaluationBatches, Shard, TrainingBatches
from vaebench.records.record import DUPLICATES

FAR = 100.0
"""Observations above this magnitude are named as the likely reason for a divergence. Networks are initialised for 1."""


class DataModule(LightningDataModule):
    """A data set in batches. Each split is one tensor on the trainer's device, as uint8 if its source is.

    Args:
        dataset: the source of the observations.
        seed: of the run. It determines the order of training and its dynamic binarisation, but not the splits.
        batch_size: the number of examples in a step, over all processes.
        root: the common folder of downloaded data sets; None is `data_root()`.
    """

    def __init__(
        self, dataset: Dataset, seed: int = 0, *, batch_size: PositiveInt = 64, root: Path | None = None
    ) -> None:
        super().__init__()
        self.dataset, self.seed, self.batch_size, self.root = dataset, seed, batch_size, root
        self._splits: Splits | None = None
        self._placed = torch.device("cpu")
        self._evaluated: dict[str, DeviceSplit] = {}
        self._checksum = ""
        self._repeated: dict[str, int | None] = {}
        self._training: TrainingBatches | None = None
        self._resumed: dict[str, Any] | None = None

    def __str__(self) -> str:
        # The method of Lightning would iterate every loader.
        if self._splits is None:
            return f"{self.dataset.name}, not yet loaded"
        sizes = ", ".join(f"{name} {size}" for name, size in self.sizes.items())
        return f"{self.dataset.name}: {sizes}, shape {[*self.shape]}"

    def setup(self, stage: str | None = None) -> None:
        """Load the splits and check them. Lightning calls this before every stage, but the work is done once.

        Raises:
            ValueError: if the data set gives no `Splits`, if they are not fit for training (see `Splits.check`), if
                they have fewer examples than a batch, or if they must be binarised and are not in [0, 1].
        """
        if self._splits is not None:
            return
        splits: object = self.dataset.load(data_root() if self.root is None else self.root)
        if not isinstance(splits, Splits):  # of a user's own data set
            got = type(splits).__name__
            raise ValueError(f"{self.dataset.name}: expected Splits from load, e.g. by Splits.of, got {got}")
        splits = splits.converted(self.dataset.name)
        no_validation = self.dataset.validation == 0
        splits.check(self.dataset.name, has_validation=not no_validation or bool(splits.validation.x.numel()))
        if no_validation:
            splits = splits.without_validation(self.dataset.name)
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
        """What must be equal, besides split and measure, before two bounds may be compared."""
        binarization = self.dataset.binarization
        return {
            "checksum": self.checksum,
            "dataset": self.dataset.name,
            "binarize": None if binarization is None else binarization.name,
        }

    @property
    def values_too_large(self) -> str | None:
        """What to do about observations that are too large for the initialisation of networks; None if they are not."""
        x = self._loaded.train.x
        largest = max(abs(float(x.min())), abs(float(x.max()))) / self._loaded.scale
        if largest <= FAR:
            return None
        return f"scale the data to a standard deviation of about 1: its numbers reach {largest:.3g} in magnitude"

    def facts(self, split: str) -> dict[str, int]:
        """A fact for the record: how many observations of a split are also in the training set.

        Empty if there are none, for the training set itself, and if the splits are too large to compare.
        """
        if split == "train":
            return {}
        if split not in self._repeated:
            self._repeated[split] = repeated(self._loaded.train.x, self._loaded.named()[split].x)
        count = self._repeated[split]
        return {DUPLICATES: count} if count else {}

    @property
    def has_expected_pixels(self) -> bool:
        """Whether x are the expectations of binary pixels (`binarize: Expected`)."""
        return self.dataset.binarization is not None and self.dataset.binarization.is_expected

    @property
    def scale(self) -> float:
        """The raw value that becomes 1 in the model's input; 1 for binarised pixels."""
        return self._loaded.scale if self.dataset.binarization is None else 1.0

    @property
    def white(self) -> float | None:
        """The raw whole number that becomes 1; None if the raw data are floats."""
        return None if self._loaded.train.x.is_floating_point() else self._loaded.scale

    @property
    def train(self) -> Batch:
        """The whole training set in its own order, binarised as for evaluation, in float32."""
        return self.on_device("train")[:]

    @property
    def validation(self) -> Batch:
        """The whole validation set, as `train`."""
        return self.on_device("validation")[:]

    @property
    def test(self) -> Batch:
        """The whole test set, as `train`."""
        return self.on_device("test")[:]

    def train_dataloader(self) -> TrainingBatches:
        """Batches in a new order every epoch. Each loader starts at the first epoch, or continues from a checkpoint."""
        self._training = self.training(self.seed)
        if self._resumed is not None:
            self._training.load_state_dict(self._resumed)
            self._resumed = None
        return self._training

    def training(self, seed: int) -> TrainingBatches:
        """Batches of the training set; the seed determines their order and pixels."""
        binarization = self.dataset.binarization
        if binarization is None or not binarization.every_time:
            return TrainingBatches(self.on_device("train"), self._shard, seed)
        return TrainingBatches(self._raw("train").to(self._device), self._shard, seed, binarization)

    def state_dict(self) -> dict[str, Any]:
        """The position of training in its data, which Lightning writes into the checkpoint.

        Lightning saves the state of the loader too, but restores it only in the middle of an epoch.
        """
        if self._training is None or self.trainer is None:
            return {}
        epoch = self.trainer.fit_loop.epoch_progress.current
        ended = epoch.processed == epoch.ready  # type: ignore[attr-defined] # Lightning declares a base class of its type
        return self._training.next_epoch() if ended else self._training.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Let the next training loader continue from a checkpoint, if training is what is resumed."""
        if state_dict and self.trainer is not None and self.trainer.training:
            self._resumed = state_dict

    def val_dataloader(self) -> EvaluationBatches:
        """All batches of the validation set, in every process, so that no number depends on the number of processes."""
        return self.batches("validation")

    def test_dataloader(self) -> EvaluationBatches:
        """Batches of the test set in its own order. Each process has its shard of them."""
        return EvaluationBatches(self.on_device("test"), self._shard)

    def to(self, device: torch.device) -> "DataModule":
        """Put batches on this device as long as there is no trainer."""
        self._placed = device
        return self

    def batches(self, split: str, size: int | None = None) -> EvaluationBatches:
        """All batches of a split in its own order, binarised as for evaluation, in every process.

        Args:
            size: the number of examples in a batch; None for that of a training step.
        """
        return EvaluationBatches(self.on_device(split), Shard(size or self.batch_size))

    def on_device(self, split: str) -> DeviceSplit:
        """A split on the device, binarised as for evaluation. An index into it gives a `Batch`."""
        cached = self._evaluated.get(split)
        if cached is None or cached.x.device != self._device:
            found, binarization = self._raw(split), self.dataset.binarization
            if binarization is not None and not binarization.is_expected:
                found = replace(found, x=binarized(binarization, found.x, found.scale, split), scale=1.0)
            cached = self._evaluated[split] = found.to(self._device)
        return cached

    def _raw(self, split: str) -> DeviceSplit:
        examples = self._loaded.named()[split]
        return DeviceSplit(examples.x, examples.label, self._loaded.scale, examples.factors)

    @property
    def _loaded(self) -> Splits:
        if self._splits is None:
            raise RuntimeError("expected setup() before the data is used; call it, or let a Trainer do so")
        return self._splits

    @property
    def _device(self) -> torch.device:
        return self._placed if self.trainer is None else self.trainer.strategy.root_device

    @property
    def _shard(self) -> Shard:
        if self.trainer is None:
            return Shard(self.batch_size)
        return Shard(self.batch_size, self.trainer.global_rank, self.trainer.world_size)


def data_of(run: Run) -> DataModule:
    """The data module of a run, not yet loaded."""
    return DataModule(DATASETS.build(run.data), run.seed, batch_size=run.train.batch_size)


def _check_grey(splits: Splits, source: str) -> None:
    """Refuse to binarise values outside [0, 1], because they are no probabilities."""
    for split, examples in splits.named().items():
        if not len(examples.x):
            continue
        low, high = float(examples.x.min()) / splits.scale, float(examples.x.max()) / splits.scale
        if low < 0 or high > 1:
            raise ValueError(
                f"{source}, {split}: expected grey levels in [0, 1] to binarise, got {low:g} to {high:g}; "
                "leave `binarize` out, or scale the data"
            )
