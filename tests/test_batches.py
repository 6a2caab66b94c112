"""Batches: who takes which example, in what order, and going on where one stopped."""

from itertools import islice

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lightning.fabric.utilities.apply_func import move_data_to_device

from vaebench.data.binarization import Dynamic
from vaebench.data.loaders import Batch, DeviceSplit, EvaluationBatches, Shard, TrainingBatches

N = 23
SPLIT = DeviceSplit(torch.arange(N * 4, dtype=torch.uint8).view(N, 2, 2), torch.arange(N), 92.0)


def training(seed=0, binarization=None, shard=None):
    return TrainingBatches(SPLIT, shard or Shard(5), seed, binarization)


def labels(batches):
    return torch.cat([batch.label for batch in batches]).tolist()


def same(a, b):
    return len(a) == len(b) and all(
        torch.equal(p.x, q.x) and torch.equal(p.label, q.label) for p, q in zip(a, b, strict=True)
    )


@given(n=st.integers(1, 200), batch_size=st.integers(1, 40), world=st.integers(1, 5))
def test_processes_share_a_split_without_padding(n, batch_size, world):
    """Any split, any batch size, any number of processes: as many steps for all, where each has examples enough."""
    shards = [Shard(batch_size, rank, world) for rank in range(world)]
    taken = [shard.batches(torch.arange(n)) for shard in shards]
    assert sorted(torch.cat([b for batches in taken for b in batches]).tolist()) == list(range(n))
    assert all(0 < len(b) <= batch_size for batches in taken for b in batches)
    steps = shards[0].steps(n)
    for rank, batches in enumerate(taken):
        assert len(batches) == min(steps, len(range(rank, n, world)))
        assert len(EvaluationBatches(DeviceSplit(torch.zeros(n, 1), None, 1.0), shards[rank])) == len(batches)


@given(n=st.integers(1, 200), batch_size=st.integers(1, 40))
def test_alone_only_the_last_batch_is_short(n, batch_size):
    *full, last = Shard(batch_size).batches(torch.arange(n))
    assert all(len(batch) == batch_size for batch in full)
    assert len(last) == (n - 1) % batch_size + 1


def test_a_batch_is_float_and_scaled_and_the_split_stays_small():
    batch = SPLIT[torch.tensor([0, 22])]
    assert batch.x.dtype == torch.float32
    assert torch.equal(batch.x, SPLIT.x[[0, 22]] / 92)
    assert SPLIT.x.dtype == torch.uint8


def test_evaluation_keeps_the_order_and_the_short_batch():
    loader = EvaluationBatches(SPLIT, Shard(5))
    assert labels(loader) == labels(loader) == list(range(N))
    assert [len(b.x) for b in loader] == [5, 5, 5, 5, 3]
    assert len(loader) == 5


def test_every_epoch_has_every_example_once_in_an_order_of_its_own():
    loader = training()
    epochs = [labels(loader) for _ in range(4)]
    assert all(sorted(epoch) == list(range(N)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    assert len(loader) == 5


def test_the_order_is_the_seed_s_and_nothing_else_s():
    loader = training(seed=1)
    torch.manual_seed(0)
    iter(loader)  # an iterator that is made and dropped, as Lightning does, costs nothing
    expected = [labels(loader) for _ in range(2)]
    torch.manual_seed(1)
    dynamic = training(seed=1, binarization=Dynamic())
    assert [labels(dynamic) for _ in range(2)] == expected
    assert labels(training(seed=2)) != expected[0]


@pytest.mark.parametrize("batch_size", [1, 4, 5, 90])
def test_two_processes_take_every_batch_of_one_and_its_pixels(batch_size):
    """Batches of odd sizes, and of one example, which leaves the second process none."""
    alone = training(binarization=Dynamic(), shard=Shard(batch_size))
    two = [training(binarization=Dynamic(), shard=Shard(batch_size, rank, 2)) for rank in range(2)]
    for _ in range(2):
        for whole, *parts in zip(alone, *two, strict=True):
            for rank, part in enumerate(parts):
                assert torch.equal(part.x, whole.x[rank::2])
                assert torch.equal(part.label, whole.label[rank::2])


def test_dynamic_pixels_are_binary_and_new_every_epoch_and_in_every_process():
    loader = training(binarization=Dynamic())
    first, second = ({int(b): x for batch in loader for x, b in zip(*batch, strict=True)} for _ in range(2))
    assert torch.stack(list(first.values())).unique().tolist() == [0, 1]
    assert any(not torch.equal(first[n], second[n]) for n in range(N))
    grey = DeviceSplit(torch.full((N, 8, 8), 46, dtype=torch.uint8), None, 92.0)
    ranks = [next(iter(TrainingBatches(grey, Shard(5, rank, 2), 0, Dynamic()))).x for rank in range(2)]
    assert not torch.equal(*ranks)


def test_dynamic_pixels_are_on_as_often_as_their_grey_level_says():
    """Every pixel's frequency over 2000 epochs within 5.5 standard errors; false alarm 92 · 4e-8 for a new seed."""
    loader, n = training(binarization=Dynamic(), shard=Shard(N)), 2000
    total = torch.zeros(N, 2, 2)
    for _ in range(n):
        for batch in loader:
            total[batch.label] += batch.x
    p = SPLIT.x / 92
    assert ((total / n - p).abs() <= 5.5 * (p * (1 - p) / n).sqrt()).all()


@pytest.mark.parametrize("binarization", [None, Dynamic()], ids=["grey", "dynamic"])
@pytest.mark.parametrize("given", range(11))
@pytest.mark.parametrize("world", [1, 2])
def test_a_loader_goes_on_where_the_saved_one_stood(given, binarization, world):
    def batches(loader, state=None):
        while True:
            yield from loader

    for rank in range(world):
        shard = Shard(5, rank, world)
        whole = training(3, binarization, shard)
        expected = list(islice(batches(whole), given + 8))[given:]
        stopped = training(3, binarization, shard)
        stream = batches(stopped)
        list(islice(stream, given))
        resumed = training(3, binarization, shard)
        resumed.load_state_dict(stopped.state_dict())
        again = training(3, binarization, shard)
        again.load_state_dict(resumed.state_dict())
        assert same(list(islice(batches(again), 8)), expected)


def test_the_state_is_the_same_in_every_process():
    """Lightning writes the first process's state and gives it to all."""
    loaders = [training(0, Dynamic(), Shard(5, rank, 2)) for rank in range(2)]
    for loader in loaders:
        list(islice(loader, 2))
    a, b = (loader.state_dict() for loader in loaders)
    assert a.keys() == b.keys()
    assert all(torch.equal(torch.as_tensor(a[key]), torch.as_tensor(b[key])) for key in a)


@pytest.mark.parametrize("beside", [(), (torch.arange(2),), (torch.arange(2), torch.zeros(2, 3).long())], ids=len)
def test_a_batch_that_lightning_moves_to_a_device_is_the_same_batch(beside):
    batch = Batch(torch.rand(2, 4), *beside)
    moved = move_data_to_device(batch, torch.device("cpu"))
    assert type(moved) is Batch
    for name in ("x", "label", "factors"):
        mine, other = getattr(batch, name), getattr(moved, name)
        assert (mine is None and other is None) or torch.equal(mine, other)
