"""The sparse autoencoder and its data: known answers, dictionary recovery, and its metrics."""

from pathlib import Path
from typing import Any

import pytest
import torch
from test_models import build, observations, steps
from test_pack import build as member
from test_pack import check_against_plain
from torch import Tensor

from vaebench.config.registry import METRICS, MODELS
from vaebench.config.seeding import generator
from vaebench.data.datamodule import DataModule
from vaebench.data.datasets.synthetic import SparseDictionary
from vaebench.evaluation.known_truth import compare_with_truth, recovery
from vaebench.oracle.spectrum import Spectrum
from vaebench.training.step import training_step

HALF = {"name": "Gaussian", "variance": 0.5}


def trained(model: Any, x: Tensor, count: int, batch: int | None = None) -> Any:
    model.prepare(x)
    optimizer = model.configure_optimizers()
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, count)
    order = torch.Generator().manual_seed(0)
    for step in range(count):
        chosen = x if batch is None else x[torch.randint(len(x), (batch,), generator=order)]
        training_step(model, chosen, model.noise(len(chosen), order), optimizer, progress=step / max(1, count - 1))
        rate.step()
    return model


def test_the_columns_of_the_dictionary_have_norm_one_before_and_after_training():
    model = build("SparseAE", learning_rate=0.1)
    steps(model, observations(), 20)
    norms = model.dictionary.columns.norm(dim=0)
    torch.testing.assert_close(norms, torch.ones_like(norms))
    assert (
        float((model.dictionary.weight.detach().norm(dim=0) - 1).abs().max()) > 1e-3
    )  # which training does not ask for


@pytest.mark.parametrize("l1", [0.0, 0.3, 2.0])
def test_the_best_code_of_an_orthonormal_dictionary_is_the_soft_threshold(l1):
    """Of the objective at σ² = ½: max(0, Dᵀx − λ/2) is better than any other code ≥ 0, by gradient and by value."""
    model = build("SparseAE", l1=l1, likelihood=HALF).double()
    with torch.no_grad():
        model.dictionary.weight.copy_(torch.linalg.qr(torch.randn(64, 3, dtype=torch.float64))[0])
        model.dictionary.bias.zero_()
        model.encoder[1].weight.copy_(model.dictionary.weight.mT)
        model.encoder[1].bias.fill_(-l1 / 2)
        x = 3 * observations(20).double() - 1.5
        code = model.encode(x).mean
        torch.testing.assert_close(code, (x.flatten(1) @ model.dictionary.weight - l1 / 2).clamp(min=0))
        best = model.objective(x, torch.empty(20, 0))
        for _ in range(50):
            other = (code + 0.1 * torch.randn_like(code)).clamp(min=0)
            value = -(x.flatten(1) - other @ model.dictionary.weight.mT).square().sum(1) - l1 * other.sum(1)
            assert (value - 32 * torch.log(torch.tensor(torch.pi, dtype=torch.float64)) <= best + 1e-9).all()


def test_all_units_kept_is_principal_component_analysis():
    point = Spectrum.given([5.0, 3.0, 2.0, 0.6, 0.4, 0.2, 0.1, 0.1])
    spec = {"name": "SparseAE", "latent_dim": 3, "k": 3, "l1": 0.0, "learning_rate": 0.03}
    model = trained(MODELS.build(spec, (8,), 0), point.points.float(), 600)
    with torch.no_grad():
        error = float((model(point.points.float()) - point.points).square().sum(1).mean())
    assert error == pytest.approx(point.tail(3), rel=1e-3)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_a_code_keeps_its_k_largest_entries(k):
    model, x = build("SparseAE", k=k, l1=0.0), observations(30)
    with torch.no_grad():
        code = model.encode(x).mean
        entries = model.encoder(x - model.decode(torch.zeros(1, 3)).mean)
    assert ((code != 0).sum(1) == k).all()
    assert (torch.where(code != 0, entries, -torch.inf).sort(1).values[:, -k:] == entries.sort(1).values[:, -k:]).all()
    with pytest.raises(ValueError, match=r"model.k: expected at most latent_dim = 3 units to keep, got 4"):
        build("SparseAE", k=4)


@pytest.mark.parametrize("keywords", [{}, {"k": 2}])
def test_members_of_a_pack_have_the_numbers_they_have_alone(keywords):
    check_against_plain(lambda: [member("SparseAE", i, l1=0.1 * i, likelihood=HALF, **keywords) for i in range(2)])


@pytest.mark.parametrize(
    ("keywords", "model"),
    [
        ({"features": 16, "orthonormal": True, "dim": 16, "active": 0.1}, {"latent_dim": 16, "l1": 0.2}),
        ({"features": 24, "dim": 16, "active": 0.05}, {"latent_dim": 24, "k": 2, "l1": 0.0}),
    ],
    ids=["ReLU", "TopK"],
)
def test_a_planted_dictionary_is_found(keywords, model):
    """From a random start, at most one feature in five is missed."""
    data = DataModule(SparseDictionary(**keywords), batch_size=256)
    data.setup()
    spec = {"name": "SparseAE", "likelihood": HALF, "learning_rate": 0.02, **model}
    found = trained(MODELS.build(spec, data.shape, 1), data.train.x, 700, 256)
    seen = {e.name: e.value for e in compare_with_truth(found, data, "test", 0).estimates}
    assert seen["dictionary_mcc"] > 0.8
    assert seen["dictionary_uniqueness"] > 0.8
    before = MODELS.build(spec, data.shape, 1)
    assert compare_with_truth(before, data, "test", 0).estimates[-3].value < 0.75


def test_observations_are_what_the_data_set_says():
    """Mean and covariance of 100 000 observations, within 5 standard errors of their closed forms for 8 numbers each
    (a false alarm once in 100 000)."""
    data = SparseDictionary(dim=8, features=20, active=0.2, noise=0.3, n=100_000)
    splits = data.load(Path())
    x = torch.cat([part.x for part in splits.named().values()]).double()
    d, n = data.dictionary, 100_000
    torch.testing.assert_close(d.norm(dim=0), torch.ones(20, dtype=torch.float64))
    mean, second = 0.2 * 1.0, 0.2 * (1 + 1 / 12)
    expected = (second - mean**2) * d @ d.mT + 0.3 * torch.eye(8, dtype=torch.float64)
    assert ((x.mean(0) - mean * d.sum(1)).abs() < 5 * (expected.diagonal() / n).sqrt()).all()
    centred = x - x.mean(0)
    scatter = (centred.square() - centred.square().mean(0)).square().mean(0).sqrt() / n**0.5
    assert ((centred.square().mean(0) - expected.diagonal()).abs() < 5 * scatter).all()
    with pytest.raises(ValueError, match="expected features ≤ dim for orthonormal directions, got 9 > 8"):
        SparseDictionary(dim=8, features=9, orthonormal=True)


@pytest.mark.parametrize(("dim", "features"), [(5, 5), (8, 20), (30, 12)])
def test_recovery_of_the_dictionary_itself_and_of_one_with_repeated_columns(dim, features):
    true = SparseDictionary(dim=dim, features=features).dictionary
    order = torch.randperm(features, generator=generator(3, "order"))
    planted = [e.value for e in recovery(-3 * true[:, order], true)]
    assert planted == pytest.approx([1.0, 1.0, 1.0])
    repeated = true.clone()
    repeated[:, 1] = repeated[:, 0]
    mcc, largest, unique = [e.value for e in recovery(repeated, true)]
    assert mcc < 1 - 1e-3
    assert largest < 1 - 1e-3
    assert unique == pytest.approx(1 - 1 / features)
    with_zero = torch.cat([true[:, :-1], torch.zeros(dim, 1, dtype=torch.float64)], 1)
    assert recovery(with_zero, true)[0].value == pytest.approx(1 - 1 / features)
    few = [e.value for e in recovery(true[:, :2], true)]
    assert few[0] == pytest.approx(2 / features)
    assert few[2] == 1.0


def test_explained_variance_is_one_ratio_of_sums():
    from test_metrics import drawn, part

    draws, metric = drawn(), METRICS.build("ExplainedVariance")
    for piece in (part(draws, slice(0, 5)), part(draws, slice(5, 23))):
        metric.update(piece)
    x, back = draws.x.double().flatten(1), draws.reconstruction.double().flatten(1)
    expected = 1 - (x - back).square().sum() / (x - x.mean(0)).square().sum()
    assert metric.compute()[0].value == pytest.approx(float(expected), rel=1e-12)
