"""Observations that are in two splits are counted, each as often as it is measured."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from vaebench.config.registry import DATASETS
from vaebench.data.datamodule import DataModule
from vaebench.data.datasets import base
from vaebench.data.datasets.base import repeated
from vaebench.records.record import DUPLICATES, Estimate, Record
from vaebench.reporting.tables.rendering import legend, markdown
from vaebench.reporting.tables.table import table
from vaebench.reporting.terminal import show


@given(
    st.integers(0, 2**31),
    st.sampled_from([(1,), (3,), (8,), (13,), (1, 4, 4), (3, 5, 7)]),
    st.sampled_from([torch.uint8, torch.float32]),
    st.sampled_from([1, 2, 5]),
)
def test_the_count_is_that_of_comparing_all_pairs(seed, shape, dtype, levels):
    """Few levels make many rows equal, and others nearly so; floats are powers of two, whose bits end in zeros."""
    stream = torch.Generator().manual_seed(seed)
    seen, other = (torch.randint(0, levels + 1, (n, *shape), generator=stream) for n in (40, 30))
    if dtype == torch.float32:
        seen, other = ((2.0 ** (40 * x)) * (x > 0) for x in (seen, other))
    seen, other = seen.to(dtype), other.to(dtype)
    pairs = (seen[:, None] == other[None]).flatten(2).all(-1)
    assert repeated(seen, other) == int(pairs.any(0).sum())


def test_zero_has_no_sign():
    assert repeated(torch.tensor([[0.0, 1.0]]), torch.tensor([[-0.0, 1.0], [0.0, -1.0]])) == 1


def test_what_is_too_large_is_not_compared(monkeypatch):
    monkeypatch.setattr(base, "MOST", 10)
    assert repeated(torch.zeros(2, 3), torch.zeros(2, 3)) is None


@pytest.mark.parametrize("binarize", [None, "Dynamic"])
def test_what_is_measured_and_was_seen_is_a_fact(binarize, tmp_path):
    x = np.random.RandomState(0).randint(0, 255, (100, 8, 8), np.uint8)
    np.savez(tmp_path / "x.npz", train=x[:50], validation=x[45:60], test=np.concatenate([x[48:70], x[48:49]]))
    data = DataModule(DATASETS.build({"name": "Arrays", "path": "x.npz", "binarize": binarize}), root=tmp_path)
    data.batch_size = 10
    data.setup()
    assert [data.facts(s) for s in ("train", "validation", "test")] == [{}, {DUPLICATES: 5}, {DUPLICATES: 3}]


@pytest.mark.parametrize("name", ["Digits", "LinearGaussian"])
def test_data_without_duplicates_have_no_such_fact(name):
    data = DataModule(DATASETS.build(name), root=Path())
    data.setup()
    assert data.facts("validation") == data.facts("test") == {}


@pytest.mark.parametrize("count", [None, 3])
def test_tables_and_cards_say_how_many_there_are(count):
    record = Record(
        id="0123456789",
        study="a",
        status="done",
        config={"model": {"name": "AE"}, "data": {"name": "Arrays"}, "seed": 0},
        comparability={"dataset": "Arrays", "split": "test"},
        facts={} if count is None else {DUPLICATES: count},
        estimates=[Estimate("squared_error", 1.0)],
    )
    heard = io.StringIO()
    Console(file=heard, width=200).print(show(record))
    for text in (heard.getvalue(), markdown(table([record]))):
        assert ("3 observations" in text) == (count is not None)


def test_a_name_of_data_is_escaped_once():
    named = {"dataset": "my_data* <v2>", "split": "test"}
    config, estimates = {"model": {"name": "AE"}, "seed": 0}, [Estimate("squared_error", 1.0)]
    found = {"config": config, "estimates": estimates, "comparability": named, "facts": {DUPLICATES: 3}}
    record = Record(id="0123456789", study="a", status="done", **found)
    one = table([record])
    assert any(text.startswith("my_data* <v2>, test: 3") for text in legend(one))
    assert "&amp;" not in markdown(one)
