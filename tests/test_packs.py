"""Packs are decided from configurations alone, and keep all runs."""

from pathlib import Path

import pytest

from vaebench.config import Run, load
from vaebench.sweeps.packs import describe_packs, max_pack_size, pack_key, packs_of


def run(**changes) -> Run:
    values: dict = {"model": {"name": "BetaVAE", "latent_dim": 3}, "data": {"name": "Digits", "binarize": "Dynamic"}}
    for key, value in changes.items():
        inside, (*path, leaf) = values, key.split("__")
        for part in path:
            inside = inside.setdefault(part, {})
        inside[leaf] = value
    return Run.of(values)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 7},
        {"model__beta": 0.5},
        {"model__beta": 7},  # written without a point
        {"model__learning_rate": 0.1},
        {"train__gradient_clip": 1.0},
        {"evaluate__draws": 7},
        {"model__schedule": {"name": "Constant"}},  # the default, written out
    ],
    ids=str,
)
def test_settings_that_may_differ_in_a_pack(change):
    assert pack_key(run(**change)) == pack_key(run())


@pytest.mark.parametrize(
    "change",
    [
        {"model__latent_dim": 4},
        {"model__name": "VAE"},
        {"model__network": {"name": "MLP", "hidden": [8]}},
        {"model__likelihood": {"name": "Gaussian", "variance": 1.0}, "data__binarize": None},
        {"model__schedule": "LinearWarmup"},
        {"data__binarize": "Fixed"},
        {"train__epochs": 3},
        {"train__batch_size": 3},
        {"train__validate_every": 3},
    ],
    ids=str,
)
def test_settings_that_may_not_differ(change):
    assert pack_key(run(**change)) != pack_key(run())


@pytest.mark.parametrize("n", [0, 1, 31, 32, 33, 64, 65, 100])
def test_every_run_is_in_one_pack_and_packs_have_about_the_same_size(n):
    runs = [run(seed=seed) for seed in range(n)]
    packs = packs_of(runs, 32)
    assert [r for pack in packs for r in pack] == runs
    sizes = list(map(len, packs))
    assert max(sizes, default=0) <= 32
    assert max(sizes, default=0) - min(sizes, default=0) <= 1
    assert len(packs) == -(-n // 32)


def test_the_shipped_sweep_is_one_pack():
    runs = load(Path(__file__).parents[1] / "conf" / "beta.yaml").runs
    assert describe_packs(packs_of(runs), 32).startswith(
        "30 runs as 1 pack: the runs of a pack share architecture, data,"
    )


def test_the_line_about_packs_says_why():
    runs = [run(seed=seed, model__latent_dim=dim) for seed in range(3) for dim in (2, 3)]
    assert describe_packs(packs_of(runs), 32).startswith("6 runs as 2 packs of 3:")
    assert describe_packs(packs_of(runs, 2), 2).startswith("6 runs as 4 packs of 1 to 2:")
    assert describe_packs(packs_of(runs, 1), 1) == "6 runs, each by itself: --pack off"
    assert "no two share architecture" in describe_packs(packs_of(runs[:2]), 32)


def test_the_option():
    assert [max_pack_size(text) for text in ("auto", "off", "7")] == [32, 1, 7]
    assert [max_pack_size(text, on_gpu=True) for text in ("auto", "off", "7")] == [1024, 1, 7]
    for wrong in ("0", "-1", "many", "1.5", ""):
        with pytest.raises(ValueError, match="--pack: expected auto, off, or how many runs may train together, got"):
            max_pack_size(wrong)
