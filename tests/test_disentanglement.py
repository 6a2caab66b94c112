"""Scores of disentanglement against known answers; Sprites with exact factors; factors that travel with the data."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Normal

from vaebench.config import Run
from vaebench.config.registry import DATASETS, METRICS
from vaebench.data.datamodule import DataModule
from vaebench.data.datasets.base import Examples, Splits
from vaebench.data.datasets.synthetic import Sprites
from vaebench.evaluation.metrics.disentanglement import (
    FactorScore,
    completeness,
    disentanglement,
    entropy,
    gap,
    information,
    modularity,
)
from vaebench.models.draws import Draws
from vaebench.records.record import Estimate, NotApplicable
from vaebench.sweeps.run import Execution, execute_pack

SCORES = [name for name in METRICS if issubclass(METRICS[name], FactorScore)]
QUICK = [name for name in SCORES if name != "DCI"]  # its trees are dear


def drawn(codes: Tensor, factors: Tensor | None) -> Draws:
    none = torch.zeros(0, len(codes))
    posterior = Normal(codes, torch.zeros_like(codes), validate_args=False)
    return Draws(codes, None, posterior, codes, codes[None], none, none, none, factors=factors)


def outcomes(name: str, codes: Tensor, factors: Tensor | None, **keywords: Any) -> list[Estimate | NotApplicable]:
    metric = METRICS.build({"name": name, **keywords})
    for a, b in zip(codes.split(100), codes.split(100) if factors is None else factors.split(100), strict=True):
        metric.update(drawn(a, None if factors is None else b))
    return list(metric.compute())


def score(name: str, codes: Tensor, factors: Tensor, **keywords: Any) -> float:
    first = outcomes(name, codes.double(), factors, **keywords)[0]
    assert isinstance(first, Estimate), first
    assert isinstance(first.value, float)
    return first.value


GRIDS = {
    "cube": torch.cartesian_prod(*[torch.arange(6)] * 3),
    "uneven": torch.cartesian_prod(torch.arange(3), torch.arange(10), torch.arange(7)),
    "random": torch.randint(5, (600, 4), generator=torch.Generator().manual_seed(0)),
}


# -- the scores of constructed codes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("name", QUICK)
def test_one_unit_for_each_factor_has_the_best_score(name: str, grid: str) -> None:
    factors = GRIDS[grid]
    codes = torch.stack([(-1) ** i * (3 * f + i) for i, f in enumerate(factors.T)], 1).flip(1)
    assert score(name, codes, factors) >= 0.9


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("value", [0.0, 7.3, 1e30])
def test_a_constant_code_has_none(value: float, grid: str) -> None:
    """0 and never NaN; the classifiers of β-VAE and DCI can only guess."""
    factors, code = GRIDS[grid], torch.full((len(GRIDS[grid]), 3), value)
    for name in ("MIG", "SAP", "Modularity", "FactorVAEScore"):
        assert score(name, code, factors) == 0.0
    assert score("SAP", code, factors, continuous=False) <= 0.2
    assert score("BetaVAEScore", code, factors) < 2 / factors.shape[1]


def test_a_code_of_everything_twice_has_no_gap() -> None:
    factors = GRIDS["cube"]
    codes = factors.repeat(1, 2)
    assert score("MIG", codes, factors) <= 0.1
    assert score("SAP", codes, factors) <= 0.2
    assert score("SAP", codes, factors, continuous=False) <= 0.2
    assert score("Modularity", codes, factors) == pytest.approx(1.0)


def test_noise_has_next_to_nothing() -> None:
    factors, noise = GRIDS["uneven"], torch.randn(210, 6, generator=torch.Generator().manual_seed(0))
    assert score("MIG", noise, factors) < 0.1
    assert score("SAP", noise, factors) < 0.1


@pytest.mark.parametrize("size", [3, 5, 8])
def test_two_factors_turned_into_one_another_have_no_gap_at_45_degrees(size: int) -> None:
    factors = torch.cartesian_prod(*[torch.arange(size)] * 2)
    turn = torch.tensor([[1.0, 1.0], [1.0, -1.0]]).double() / math.sqrt(2)
    assert score("MIG", factors.double() @ turn, factors) == pytest.approx(0.0, abs=1e-12)
    assert score("SAP", factors.double() @ turn, factors) == pytest.approx(0.0, abs=1e-12)


@settings(max_examples=15)
@given(st.integers(2, 6), st.integers(2, 9), st.floats(1e-20, 1e20), st.integers(0, 99))
def test_scale_shift_and_order_of_units_and_observations_do_not_matter(f: int, v: int, scale: float, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    factors = torch.randint(v, (60, f), generator=g)
    codes = torch.randn(60, 3, generator=g).double().round(decimals=3)
    units, rows = torch.randperm(3, generator=g), torch.randperm(60, generator=g)
    moved = scale * codes[:, units][rows]
    for name in ("MIG", "SAP", "Modularity"):
        assert score(name, moved, factors[rows]) == pytest.approx(score(name, codes, factors), abs=1e-9)


def test_the_svc_says_which_class() -> None:
    """Two classes on a line: the support vector machine is right always, and elsewhere as often as chance."""
    factors = torch.cartesian_prod(*[torch.arange(2)] * 8)
    assert score("SAP", 10.0 * factors, factors, continuous=False) == pytest.approx(0.5, abs=0.15)


# -- the parts, by hand -----------------------------------------------------------------------------------------------


def test_the_entropy_of_factors_comes_from_their_counts() -> None:
    factors = np.array([[0, 5], [0, 5], [0, 6], [1, 7]])
    assert entropy(factors) == pytest.approx([-0.75 * math.log(0.75) - 0.25 * math.log(0.25), 1.5 * math.log(2)])
    assert information(factors.astype(float), factors)[0, 0] == pytest.approx(entropy(factors)[0])
    assert gap(np.diag(entropy(factors)), entropy(factors)) == 1.0


def test_information_is_scikit_learns() -> None:
    from sklearn.metrics import mutual_info_score

    random = np.random.RandomState(0)
    codes, factors = random.randn(500, 3), random.randint(7, size=(500, 2))
    binned = [np.digitize(c, np.histogram(c, 20)[1][:-1]) for c in codes.T]
    expected = [[mutual_info_score(b, f) for f in factors.T] for b in binned]
    assert information(codes, factors) == pytest.approx(np.array(expected))


def test_disentanglement_and_completeness() -> None:
    """The cases of disentanglement_lib's own tests."""
    assert disentanglement(np.diag([1.0, 2.0, 3.0])) == pytest.approx(1.0)
    assert disentanglement(np.zeros((10, 10))) == completeness(np.zeros((10, 10))) == 0.0
    two = np.zeros((5, 10))
    two[np.arange(5), 2 * np.arange(5)] = two[np.arange(5), 2 * np.arange(5) + 1] = 1.0
    assert disentanglement(two) == pytest.approx(1 - math.log(2) / math.log(10))
    assert disentanglement(two) == pytest.approx(0.69897, abs=1e-5)
    assert completeness(two) == pytest.approx(1.0)
    assert completeness(two.T) == pytest.approx(0.69897, abs=1e-5)
    redundant = np.vstack([np.diag([1.0, 1.0]), np.diag([1.0, 1.0])])
    assert disentanglement(redundant) == pytest.approx(1.0)
    assert completeness(redundant) == pytest.approx(0.5)


def test_modularity() -> None:
    assert modularity(np.diag([1.0, 0.3, 2.0])) == 1.0
    assert modularity(np.diag([1.0, 1.0, 0.0])) == pytest.approx(2 / 3)
    shared = np.array([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    assert modularity(shared) == pytest.approx(8 / 9)


def test_dci_of_constructed_codes() -> None:
    factors = torch.cartesian_prod(*[torch.arange(3)] * 3).repeat(2, 1)
    values = [o.value for o in outcomes("DCI", factors.double(), factors) if isinstance(o, Estimate)]
    assert values == pytest.approx([1.0, 1.0, 1.0], abs=1e-6)
    none = [o.value for o in outcomes("DCI", torch.zeros(54, 2).double(), factors) if isinstance(o, Estimate)]
    assert none[:2] == [0.0, 0.0]
    assert isinstance(none[2], float)
    assert 0 <= none[2] < 0.6


# -- where a score means nothing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCORES)
def test_blank_with_its_reason(name: str) -> None:
    codes, factors = torch.randn(50, 2).double(), torch.arange(50)[:, None]
    cases = {
        "the data has no factors": (codes, None),
        "1 factors vary": (codes, torch.cat([factors, 0 * factors], 1)),
        "the codes are not finite": (codes / 0, torch.cat([factors, factors % 3], 1)),
    }
    for reason, (code, factor) in cases.items():
        found = outcomes(name, code, factor)
        assert [o.name for o in found] == list(METRICS.build(name).columns(1))
        assert all(isinstance(o, NotApplicable) and reason in o.reason for o in found)


@pytest.mark.parametrize("name", SCORES)
def test_few_observations_and_rare_values(name: str) -> None:
    factors = torch.tensor([[0, 0], [0, 1], [1, 0], [0, 1], [0, 0]])
    for outcome in outcomes(name, torch.randn(5, 2).double(), factors):
        assert isinstance(outcome, Estimate)
        assert isinstance(outcome.value, float)
        assert 0 <= outcome.value <= 1 + 1e-12


# -- data with factors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"size": 9, "shapes": 1, "scales": 1, "rotations": 1, "positions": 3},
        {"size": 20, "scales": 2, "rotations": 3, "positions": 4, "n": 100},
        {"size": 32, "shapes": 2, "scales": 4, "rotations": 5, "positions": 2},
    ],
    ids=str,
)
def test_sprites_say_what_they_are_drawn_from(options: dict[str, Any]) -> None:
    """Every combination once; equal images have equal factors; x moves the image to the right, y downwards."""
    data = Sprites(**options)
    splits = data.load(Path())
    splits.check("Sprites")
    parts = [e for e in splits.named().values() if e.factors is not None]
    x, factors = torch.cat([e.x for e in parts]), torch.cat([e.factors for e in parts])  # type: ignore[misc]
    assert len(x) == data.n == len(factors.unique(dim=0))
    assert (factors.max(0).values < torch.tensor(data.grid)).all()
    assert len(x.unique(dim=0)) == len(x)
    assert torch.equal(torch.cat([e.label for e in parts]), factors[:, 0])  # type: ignore[misc]
    preview = data.preview(Path())
    assert (preview.training, preview.shape) == (len(splits.train.x), tuple(x.shape[1:]))
    mass = x.double()[:, 0]
    centre = torch.stack([(mass.sum(axis) * torch.arange(data.size)).sum(1) for axis in (1, 2)], 1)
    centre /= mass.sum((1, 2))[:, None]
    for i in (0, 1):
        means = [centre[factors[:, 3 + i] == v, i].mean() for v in factors[:, 3 + i].unique()]
        assert means == sorted(means)
        assert means[-1] - means[0] > 0.3 * data.size
    area = [mass[factors[:, 1] == v].sum() / (factors[:, 1] == v).sum() for v in factors[:, 1].unique()]
    assert area == sorted(area)


def test_more_sprites_than_combinations_are_refused() -> None:
    with pytest.raises(ValueError, match="expected n of at most 2304, the combinations of all factors, got 9999"):
        Sprites(n=9999)


def test_factors_travel_with_their_observations(tmp_path: Path) -> None:
    """Through splits, batches and orders of one's own arrays: the observation says what its factors are."""
    values = torch.cartesian_prod(torch.arange(5), torch.arange(8)).numpy()
    np.savez(tmp_path / "whole.npz", x=values.astype(np.float32), factors=values, label=values[:, 0])
    np.savez(tmp_path / "parts.npz", train=values[:30] / 1.0, test=values[30:] / 1.0, train_factors=values[:30],
             test_factors=values[30:])  # fmt: skip
    for name in ("whole", "parts"):
        for validation in (None, 0):
            data = DataModule(
                DATASETS.build({"name": "Arrays", "path": str(tmp_path / f"{name}.npz"), "validation": validation}),
                batch_size=4,
            )
            data.setup()
            for batch in (data.train, data.validation, data.test, *data.train_dataloader(), *data.batches("test")):
                assert batch.factors is not None
                assert torch.equal(batch.factors, batch.x.long())


@pytest.mark.parametrize(
    ("factors", "text"),
    [
        (np.zeros((39, 2), int), "factors: expected 40 rows of factors, one for each of x, got 39"),
        (np.zeros(40, int), r"expected whole numbers below 2\^63 of shape \[N, F\], got shape \[40\]"),
        (np.zeros((40, 2)), "of type float64; number the values of each factor"),
    ],
    ids=["too few", "one number each", "floats"],
)
def test_bad_factors_are_refused(factors: np.ndarray, text: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "own.npz", x=np.eye(40, 3), factors=factors)
    with pytest.raises(ValueError, match=text):
        DATASETS.build({"name": "Arrays", "path": str(tmp_path / "own.npz")}).load(tmp_path)


def test_data_without_factors_keep_their_checksum() -> None:
    x, label = torch.arange(12.0).view(4, 3), torch.arange(4)
    plain, made = (Splits(*[Examples(x, label, f)] * 3, 1.0) for f in (None, torch.zeros(4, 2, dtype=torch.int64)))
    assert plain.checksum() == "fcc333b670d98cea79a0ff59bbb1eb4e65bab386ed8c078643fb723944e72ab0"
    assert made.checksum() != plain.checksum()


def test_a_run_on_sprites_is_scored(tmp_path: Path) -> None:
    run = Run.of({
        "model": {"name": "VAE", "latent_dim": 3, "network": {"name": "MLP", "hidden": [16]}},
        "data": {"name": "Sprites", "binarize": "Expected", "n": 100, "scales": 2, "rotations": 2, "positions": 3},
        "train": {"epochs": 1},
        "evaluate": {"draws": 2, "metrics": ["ELBO", *QUICK, {"name": "DCI", "observations": 15}]},
    })  # fmt: skip
    (record,) = execute_pack([run], "s", [], [tmp_path], Execution(wandb="disabled"), lambda *_: None)
    assert record.reason is None
    for name in SCORES:
        for column in METRICS.build(name).columns(1):
            estimate = record.estimate(column)
            assert estimate is not None
            assert isinstance(estimate.value, float)
            assert estimate.n == (15 if name == "DCI" else 20)
