"""The DataModule: what a run sees of its data, and what it may not depend on."""

import re
import warnings
from pathlib import Path
from types import SimpleNamespace

import lightning
import pytest
import torch

from vaebench.config.registry import BINARIZATIONS
from vaebench.data.datamodule import DataModule
from vaebench.data.datasets.base import Dataset, Examples, Splits
from vaebench.data.loaders import Batch

N = 50
IMAGES = torch.arange(N * 16, dtype=torch.uint8).view(N, 1, 4, 4)


class Mine(Dataset):
    """A data set in memory."""

    def __init__(self, splits: Splits | None = None, **keywords) -> None:
        super().__init__(**keywords)
        self.loads = 0
        self.splits = splits if splits is not None else Splits.of(Examples(IMAGES, torch.arange(N)), 255.0)

    def load(self, root: Path) -> Splits:
        self.loads += 1
        return self.splits


def module(*, seed=0, batch_size=8, splits=None, **keywords) -> DataModule:
    made = DataModule(Mine(splits, **keywords), seed, batch_size=batch_size)
    made.setup()
    return made


@pytest.fixture(params=[None, *BINARIZATIONS])
def binarize(request):
    return request.param


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_whole_split_is_its_batches(split, binarize):
    data = module(binarize=binarize)
    whole: Batch = getattr(data, split)
    assert torch.equal(whole.x, torch.cat([b.x for b in data.batches(split)]))
    assert torch.equal(whole.label, torch.cat([b.label for b in data.batches(split)]))
    assert whole.x.dtype == torch.float32
    assert whole.x.shape == (data.sizes[split], *data.shape)
    assert (whole.x.unique().tolist() == [0, 1]) == (binarize not in (None, "Expected"))
    assert data.on_device(split).x.dtype == torch.uint8


def test_the_scale_is_that_of_what_a_model_sees(binarize):
    assert module(binarize=binarize).scale == (255.0 if binarize is None else 1.0)


def test_grey_stays_grey_where_nothing_is_binarised():
    data = module()
    assert torch.equal(data.test.x, data.dataset.splits.test.x / 255)


def test_every_seed_is_evaluated_on_the_same_pixels(binarize):
    a, b = (module(seed=seed, binarize=binarize, batch_size=size) for seed, size in ((0, 8), (1, 5)))
    for split in ("train", "validation", "test"):
        assert torch.equal(getattr(a, split).x, getattr(b, split).x)
    assert a.comparability == b.comparability


def test_training_sees_what_evaluation_sees_unless_pixels_are_drawn_anew(binarize):
    data = module(binarize=binarize)
    for _ in range(2):
        seen = torch.cat([batch.x[batch.label.argsort()] for batch in [_whole(data.train_dataloader())]])
        expected = data.train.x
        again = binarize is not None and BINARIZATIONS[binarize].every_time
        assert torch.equal(seen, expected) == (not again)


def _whole(loader) -> Batch:
    batches = list(loader)
    return Batch(torch.cat([b.x for b in batches]), torch.cat([b.label for b in batches]))


def test_fit_starts_at_the_first_epoch_each_time():
    data = module(binarize="Dynamic")
    first, second = (_whole(data.train_dataloader()) for _ in range(2))
    assert torch.equal(first.x, second.x)
    assert torch.equal(first.label, second.label)


def test_the_checksum_is_of_the_data_and_of_nothing_else():
    base = module()
    assert re.fullmatch("[0-9a-f]{64}", base.checksum)
    assert module(seed=3, batch_size=5, binarize="Fixed").checksum == base.checksum
    splits = base.dataset.splits

    def with_train(**change) -> Splits:
        return splits._replace(train=splits.train._replace(**change))

    pixel, label = splits.train.x.clone(), splits.train.label.clone()
    pixel[0, 0, 0, 0] += 1
    label[0] += 1
    others = [
        with_train(x=pixel),
        with_train(label=label),
        with_train(label=None),
        splits._replace(scale=256.0),
        splits._replace(validation=splits.test, test=splits.validation),
        with_train(x=splits.train.x.float())._replace(
            validation=Examples(splits.validation.x.float()), test=Examples(splits.test.x.float())
        ),
    ]
    sums = [module(splits=other).checksum for other in others]
    assert len({base.checksum, *sums}) == 1 + len(others)


def test_what_makes_bounds_comparable(binarize):
    data = module(binarize=binarize)
    assert data.comparability == {"checksum": data.checksum, "dataset": "Mine", "binarize": binarize}


def test_the_data_is_loaded_once():
    data = module()
    for stage in ("fit", "validate", "test"):
        data.setup(stage)
    assert data.dataset.loads == 1
    assert str(data) == "Mine: train 35, validation 5, test 10, shape [1, 4, 4]"


def test_before_setup_the_error_says_so():
    data = DataModule(Mine(), batch_size=8)
    for name in ("shape", "sizes", "checksum", "train"):
        with pytest.raises(RuntimeError, match=r"expected setup\(\)"):
            getattr(data, name)
    assert str(data) == "Mine, not yet loaded"


@pytest.mark.parametrize("batch_size", [0, 36])
def test_a_batch_that_does_not_fit_is_refused(batch_size):
    with pytest.raises(ValueError, match=f"batch_size from 1 to 35, .* got {batch_size}; lower it"):
        module(batch_size=batch_size)


def test_a_batch_may_be_larger_than_the_other_splits():
    data = module(batch_size=35)
    assert [len(b.x) for b in data.val_dataloader()] == [5]
    assert len(data.train_dataloader()) == 1


def test_what_is_not_grey_is_not_binarised(binarize):
    if binarize is None:
        return
    splits = Splits.of(Examples(torch.linspace(-1, 1, 40)[:, None]), 1.0)
    with pytest.raises(ValueError, match=r"grey levels in \[0, 1\] to binarise, got -0"):
        module(splits=splits, binarize=binarize)


@pytest.mark.parametrize("given", [[IMAGES, torch.arange(N)], IMAGES, Examples(IMAGES)])
def test_what_is_no_split_is_refused(given):
    with pytest.raises(ValueError, match=f"Mine: expected Splits from load, .* got {type(given).__name__}"):
        module(splits=given)


def test_bad_data_is_refused_before_training():
    x = torch.rand(40, 3)
    x[7, 1] = torch.nan
    with pytest.raises(ValueError, match=r"Mine, .*expected finite numbers, got 1 NaN"):
        module(splits=Splits.of(Examples(x), 1.0))


def test_two_processes_evaluate_every_example_once(binarize):
    seen = []
    for rank in range(2):
        data = module(binarize=binarize)
        strategy = SimpleNamespace(root_device=torch.device("cpu"))
        data.trainer = SimpleNamespace(global_rank=rank, world_size=2, strategy=strategy)
        assert len(data.test_dataloader()) == 1
        assert len(data.train_dataloader()) == 5  # as many as one process takes: a batch is shared
        seen += [label for batch in data.test_dataloader() for label in batch.label.tolist()]
    assert sorted(seen) == data.test.label.tolist()


class Watcher(lightning.LightningModule):
    """Remembers every batch it is trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: list[Batch] = []
        self.evaluated = 0

    def training_step(self, batch: Batch, index: int) -> torch.Tensor:
        assert isinstance(batch, Batch)
        self.seen.append(batch)
        return self.weight * batch.x.sum()

    def validation_step(self, batch: Batch, index: int) -> None:
        self.evaluated += len(batch.x)

    def test_step(self, batch: Batch, index: int) -> None:
        self.evaluated += len(batch.x)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.0)


def trainer(folder: Path, **keywords) -> lightning.Trainer:
    return lightning.Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **keywords,
    )


LIGHTNING_ON_TORCH = "ignore:.*treespec, LeafSpec.*is deprecated"
"""A word of torch's to Lightning, whichever the data."""


@pytest.mark.filterwarnings(LIGHTNING_ON_TORCH)
@pytest.mark.parametrize("label", [None, torch.arange(N)], ids=["bare", "labelled"])
def test_a_bare_trainer_fits_and_tests_without_a_warning(label, tmp_path):
    data = DataModule(Mine(Splits.of(Examples(IMAGES, label), 255.0)), batch_size=8)
    watcher = Watcher()
    run = trainer(tmp_path, max_epochs=2, enable_checkpointing=False, num_sanity_val_steps=0)
    run.fit(watcher, data)
    run.test(watcher, data, verbose=False)
    assert [len(b.x) for b in watcher.seen] == [8, 8, 8, 8, 3] * 2
    assert watcher.evaluated == 5 + 5 + 10


def resume(checkpoint: Path) -> list[Batch]:
    """The batches of a run that goes on from a checkpoint to the end of the third epoch."""
    watcher = Watcher()
    run = trainer(checkpoint.parent, max_epochs=3, enable_checkpointing=False)
    run.fit(watcher, module(binarize="Dynamic"), ckpt_path=checkpoint, weights_only=True)
    return watcher.seen


def same(a: list[Batch], b: list[Batch]) -> bool:
    return len(a) == len(b) and all(torch.equal(p.x, q.x) for p, q in zip(a, b, strict=True))


class Saver(lightning.Callback):
    """Writes a checkpoint at every moment at which Lightning's own callback may."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_batch_end(self, run, *_) -> None:
        run.save_checkpoint(self.folder / f"step={run.global_step}.ckpt", weights_only=False)

    def on_validation_end(self, run, *_) -> None:
        run.save_checkpoint(self.folder / f"validated={run.current_epoch}.ckpt", weights_only=False)

    def on_train_epoch_end(self, run, *_) -> None:
        run.save_checkpoint(self.folder / f"epoch={run.current_epoch}.ckpt", weights_only=False)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, list[Batch]]:
    """An uninterrupted run of three epochs of five steps, pixels drawn anew, and its checkpoints."""
    folder, watcher = tmp_path_factory.mktemp("whole"), Watcher()
    run = trainer(folder, max_epochs=3, callbacks=[Saver(folder)], enable_checkpointing=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", LIGHTNING_ON_TORCH.removeprefix("ignore:"))
        run.fit(watcher, module(binarize="Dynamic"))
    return folder, watcher.seen


@pytest.mark.filterwarnings(LIGHTNING_ON_TORCH)
@pytest.mark.parametrize(
    ("name", "steps"),
    [
        *((f"step={n}", n) for n in (1, 4, 5, 6, 10, 14)),
        *((f"{when}={n}", 5 * n + 5) for n in (0, 1) for when in ("epoch", "validated")),
    ],
)
def test_a_resumed_run_sees_what_an_uninterrupted_one_sees(name, steps, whole):
    folder, seen = whole
    assert len(seen) == 15
    assert same(resume(folder / f"{name}.ckpt"), seen[steps:])


@pytest.mark.filterwarnings(LIGHTNING_ON_TORCH)
@pytest.mark.parametrize("limit", [{"max_epochs": 1}, {"max_steps": 3}], ids=str)
def test_a_run_that_had_ended_goes_on_with_the_next_epoch(limit, whole, tmp_path):
    run = trainer(tmp_path, enable_checkpointing=False, **limit)
    run.fit(Watcher(), module(binarize="Dynamic"))
    run.save_checkpoint(tmp_path / "ended.ckpt", weights_only=False)
    assert same(resume(tmp_path / "ended.ckpt"), whole[1][5:])


@pytest.mark.filterwarnings(LIGHTNING_ON_TORCH)
def test_testing_a_checkpoint_does_not_move_later_training(whole, tmp_path):
    folder, seen = whole
    data, watcher = module(binarize="Dynamic"), Watcher()
    trainer(tmp_path).test(watcher, data, ckpt_path=folder / "step=4.ckpt", verbose=False, weights_only=True)
    trainer(tmp_path, max_epochs=3, enable_checkpointing=False).fit(watcher, data)
    assert same(watcher.seen, seen)
