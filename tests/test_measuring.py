"""What a pack measures of its members at once is what each gives alone, and what `measure` gives."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from trainers import trainer

from vaebench.config.registry import LIKELIHOODS, MODELS, NETWORKS, POSTERIORS, PRIORS
from vaebench.data.datamodule import DataModule
from vaebench.data.datasets.published import Digits
from vaebench.data.loaders import Batch
from vaebench.evaluation.measure import Measurement, build_metrics, evaluating, measure
from vaebench.models.base import Autoencoder
from vaebench.models.draws import Draws
from vaebench.training.callbacks import CHEAP, Validation
from vaebench.training.packed.loaders import PackedData
from vaebench.training.packed.metrics import PIXELS, PackMetrics
from vaebench.training.packed.module import Pack
from vaebench.training.packed.stacked import SeedGroups, Stacks

SHAPE = (1, 8, 8)
DRAWS = 10


@pytest.fixture(scope="module")
def data() -> DataModule:
    """A batch whose draws go through the decoder in two parts, and a short one."""
    made = DataModule(Digits(binarize="Fixed"), 0, batch_size=101)
    made.setup("fit")
    assert [len(b.x) for b in made.batches("validation")] == [101, 79]
    assert PIXELS.cpu // (101 * 64) == DRAWS // 2
    return made


def build(name: str, seed: int, **keywords: Any) -> Autoencoder:
    small = {} if MODELS[name].linear else {"network": {"name": "MLP", "hidden": [16]}}
    return MODELS.build({"name": name, "latent_dim": 3, **small, **keywords}, SHAPE, seed)


def measuring(members: Sequence[Autoencoder]) -> PackMetrics:
    return PackMetrics(Stacks(members), SeedGroups(members), build_metrics(CHEAP), DRAWS)


def measured(members: Sequence[Autoencoder], data: DataModule) -> list[Measurement]:
    return measuring(members).measure(range(len(members)), data.batches("validation"))


def by_itself(model: Autoencoder, data: DataModule) -> Measurement:
    return measure(model, data.batches("validation"), build_metrics(CHEAP), DRAWS, model.seed)


def agree(found: Measurement, expected: Measurement) -> None:
    """The same, rounding aside."""
    assert found.not_applicable == expected.not_applicable
    assert [(e.name, e.n) for e in found.estimates] == [(e.name, e.n) for e in expected.estimates]
    for one, other in zip(found.estimates, expected.estimates, strict=True):
        assert one.value == pytest.approx(other.value, rel=1e-5, abs=1e-6)
        assert [one.standard_error is None, one.monte_carlo_error is None] == [
            other.standard_error is None,
            other.monte_carlo_error is None,
        ]
        assert (one.standard_error or 0.0) == pytest.approx(other.standard_error or 0.0, rel=1e-3, abs=1e-6)
        assert (one.monte_carlo_error or 0.0) == pytest.approx(other.monte_carlo_error or 0.0, rel=1e-3, abs=1e-6)


PARTS = [
    *[pytest.param(name, {}, id=name) for name in MODELS if MODELS[name].trained_by_gradient],
    *[pytest.param("VAE", {"likelihood": name}, id=name) for name in LIKELIHOODS],
    *[pytest.param("VAE", {"prior": name}, id=name) for name in PRIORS],
    *[pytest.param("VAE", {"posterior": name}, id=name) for name in POSTERIORS],
    *[pytest.param("VAE", {"network": name}, id=name, marks=pytest.mark.slow) for name in NETWORKS],
]


@pytest.mark.parametrize(("name", "part"), PARTS)
def test_a_member_has_the_bits_it_has_alone_and_the_numbers_of_measure(name, part, data):
    def members() -> list[Autoencoder]:
        return [build(name, seed % 3, learning_rate=10.0**-seed, **part) for seed in range(5)]

    many = measuring(members())
    together = many.measure(range(5), data.batches("validation"))
    assert many._together
    assert many.measure([0, 4], data.batches("validation")) == [together[0], together[4]]
    for i in (0, 4):
        assert measured(members()[i : i + 1], data) == [together[i]]
        agree(together[i], by_itself(members()[i], data))


def test_what_is_measured_follows_the_training(data):
    members = [build("VAE", seed) for seed in range(2)]
    many = measuring(members)
    before = many.measure([0, 1], data.batches("validation"))
    many.stacks.matrix.values.mul_(1.5)
    after = many.measure([0, 1], data.batches("validation"))
    assert before != after
    for found, member in zip(after, members, strict=True):
        agree(found, by_itself(member, data))


class Branching(MODELS["VAE"]):
    """A model whose draws depend on numbers by a branch."""

    def draws_at(self, batch: Batch, noise: Any, keep: int = 1, out: Any = None) -> Draws:
        x = batch.x if bool(batch.x.sum() > 0) else -batch.x
        return super().draws_at(batch._replace(x=x), noise, keep, out)


class Own(MODELS["VAE"]):
    """A model that draws its own way."""

    def draws(self, batch: Batch, k: int, generator: torch.Generator, keep: int = 1) -> Draws:
        return super().draws(batch._replace(x=1 - batch.x), k, generator, keep)


@pytest.mark.parametrize("kind", [Branching, Own])
def test_draws_that_cannot_be_mapped_are_measured_one_by_one(kind, data):
    members = [kind(SHAPE, seed, latent_dim=3) for seed in range(3)]
    many = measuring(members)
    for _ in range(2):
        found = many.measure([0, 2], data.batches("validation"))
        assert found == [by_itself(members[i], data) for i in (0, 2)]
    assert not many._together


def curves(members: Callable[[], list[Autoencoder]]) -> list[dict[str, Any]]:
    """Of a pack that is validated, metrics and all, after each of two epochs."""
    pack = Pack(made := members())
    data = PackedData(Digits(binarize="Dynamic"), [m.seed for m in made], batch_size=419)
    trainer(2, Validation()).fit(pack, datamodule=data)
    return [c.columns for c in pack.logs.curves]


def test_diverged_members_are_left_out_and_the_others_keep_their_bits():
    def healthy() -> list[Autoencoder]:
        return [build("VAE", seed) for seed in range(2)]

    def with_one_that_diverges() -> list[Autoencoder]:
        first, second = healthy()
        return [first, build("VAE", 5, learning_rate=1e18), second]

    first, diverged, second = curves(with_one_that_diverges)
    assert [first, second] == curves(healthy)
    assert diverged == {"epoch": []}
    assert all(isinstance(v, float) for name in ("val/elbo", "val/rate") for v in first[name])


def test_nothing_of_what_is_given_is_written_over(data):
    members = [build("VAE", seed) for seed in range(2)]
    many = measuring(members)
    (batch, *_) = data.batches("validation")
    kept: Tensor = batch.x.clone()
    assert many.measure([0, 1], [batch]) == many.measure([0, 1], [batch])
    assert torch.equal(batch.x, kept)


@pytest.mark.parametrize("network", [{"name": "MLP", "hidden": [9, 5]}, {"name": "Conv", "channels": [4, 3]}])
def test_a_measurement_overwrites_no_more_than_hidden_layers(network: dict[str, Any]) -> None:
    """Within `evaluating` a decoder has the same bits, leaves its input alone, and is afterwards as it was."""
    model = MODELS.build({"name": "VAE", "latent_dim": 3, "network": network}, (1, 8, 8), 0)
    z, before = torch.randn(7, 3), repr(model)
    kept, expected = z.clone(), model.decoder(z)
    with evaluating(model):
        assert torch.equal(model.decoder(z), expected)
    assert torch.equal(z, kept)
    assert repr(model) == before
