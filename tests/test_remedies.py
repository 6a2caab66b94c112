"""Remedies against collapse: their formulas, and a linear VAE without collapsed units, whose optimum they leave."""

from itertools import pairwise

import lightning
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence
from trainers import trainer

from vaebench import oracle
from vaebench.config.registry import DATASETS, MODELS
from vaebench.data.datamodule import DataModule
from vaebench.evaluation.measure import build_metrics, measure
from vaebench.evaluation.metrics.aggregate_posterior import AggregatePosterior
from vaebench.models.aggressive_vae import AggressiveVAE, information
from vaebench.models.base import Autoencoder
from vaebench.models.vae import VAE
from vaebench.oracle.spectrum import Spectrum
from vaebench.training.packed.capture import Unpackable
from vaebench.training.packed.stacked import check_compatible, lifted_scalars

SHAPE = (6,)


def build(name: str, **keywords) -> VAE:
    model = MODELS.build({"name": name, "latent_dim": 4, "likelihood": "Gaussian", **keywords}, SHAPE, 2).double()
    with torch.no_grad():  # the encoder as it is initialised hardly leaves the prior
        for p in model.encoder.parameters():
            p.mul_(3.0)
    return model


def batch(n: int = 30) -> tuple[Tensor, Tensor]:
    stream = torch.Generator().manual_seed(1)
    return torch.randn(n, *SHAPE, generator=stream).double(), torch.randn(n, 4, generator=stream).double()


def parts(model: VAE, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """E_q[log p(x|z)] at the draw, `[B]`, and the KL of every unit, `[B, L]`."""
    posterior = model.encode(x)
    z = posterior.mean + posterior.stddev * noise
    return model.decode(z).log_prob(x), kl_divergence(posterior, Normal(torch.zeros(4).double(), 1.0))


def gradient(model: VAE, value: Tensor) -> Tensor:
    return torch.cat([g.flatten() for g in torch.autograd.grad(value, list(model.parameters()))])


@pytest.mark.parametrize("group", [1, 2, 4])
@pytest.mark.parametrize("free", [0.0, 0.05, 0.3, 3.0, 1e30])
def test_free_bits_are_a_floor_under_the_rate_of_each_group(group: int, free: float) -> None:
    model, (x, noise) = build("FreeBitsVAE", free_bits=free, group=group), batch()
    likelihood, units = parts(model, x, noise)
    floored = units.mean(0).view(-1, group).sum(1).clamp(min=free).sum()
    expected, found = likelihood.mean() - floored, model.objective(x, noise).mean()
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    if free < 1e30:
        torch.testing.assert_close(gradient(model, found), gradient(model, expected), rtol=1e-9, atol=1e-12)
    else:  # nothing is left of the rate
        torch.testing.assert_close(gradient(model, found), gradient(model, likelihood.mean()), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("weight", [0.0, 1.0, 2.0, 7.0])
@pytest.mark.parametrize("rate", [0.0, 1.0, 30.0])
def test_a_rate_below_the_minimum_is_penalised_for_each_observation(rate: float, weight: float) -> None:
    model, (x, noise) = build("MinimumRateVAE", rate=rate, weight=weight), batch()
    likelihood, units = parts(model, x, noise)
    total = units.sum(1)
    expected = likelihood - total - weight * (rate - total).clamp(min=0)
    torch.testing.assert_close(model.objective(x, noise), expected, rtol=1e-12, atol=1e-12)
    if weight == 2:
        torch.testing.assert_close(expected, likelihood - (total - rate).abs() - rate, rtol=1e-12, atol=1e-12)


def test_groups_that_do_not_divide_the_units_are_refused() -> None:
    with pytest.raises(ValueError, match=r"model.group: expected a divisor of model.latent_dim = 4, got 3"):
        build("FreeBitsVAE", group=3)


# -- a linear VAE at its optimum --------------------------------------------------------------------------------------

SPECTRA = [  # eigenvalues, L, σ²: all λ of the units above τ = σ²
    ([5.0, 3.0, 1.0, 0.2, 0.1], 3, 0.3),
    ([2.0, 1.9, 0.1, 0.1], 2, 0.5),
    ([40.0, 0.02, 0.01], 1, 0.015),
]


def at_optimum(name: str, values: list[float], units: int, variance: float, **keywords) -> tuple[VAE, Tensor, Tensor]:
    """A linear model of the given kind at the optimum, observations of this spectrum, and noises whose mean is 0 and
    covariance I: with them the mean of a function that is quadratic in z is exact."""
    dim = len(values)
    stream = torch.Generator().manual_seed(dim)
    turn = torch.linalg.qr(torch.randn(dim, dim, generator=stream, dtype=torch.float64))[0]
    spectrum = Spectrum.given(values, turn, torch.randn(dim, generator=stream))
    point = oracle.beta_optimum(spectrum, units, 1.0, variance)
    likelihood = {"name": "Gaussian", "variance": variance}
    spec = {"name": name, "latent_dim": units, "network": "Affine", "likelihood": likelihood, **keywords}
    model = MODELS.build(spec, (dim,), 0).double()
    exact, weight = point.posterior, point.posterior.weight
    model.load_state_dict(
        model.state_dict()
        | {
            "decoder.0.weight": point.model.weight,
            "decoder.0.bias": point.model.mean,
            "encoder.1.weight": torch.cat([weight, torch.zeros_like(weight)]),
            "encoder.1.bias": torch.cat([exact.bias, exact.covariance.diagonal().log()]),
        }
    )
    noise = units**0.5 * torch.cat([torch.eye(units), -torch.eye(units)]).double()
    points = spectrum.points
    return model, points.repeat(len(noise), 1), noise.repeat_interleave(len(points), 0)


def slope(name: str, case: tuple[list[float], int, float], **keywords) -> tuple[float, float]:
    """The mean objective at the optimum, and the largest entry of its gradient."""
    model, x, noise = at_optimum(name, *case, **keywords)
    model.progress.fill_(1.0)
    objective = model.objective(x, noise).mean()
    return objective.item(), gradient(model, objective).abs().max().item()


def least_rates(case: tuple[list[float], int, float]) -> tuple[float, float]:
    """The smallest mean rate of a unit, and the smallest rate of an observation, at the optimum."""
    model, x, _ = at_optimum("VAE", *case)
    units = kl_divergence(model.encode(x), Normal(torch.zeros(case[1]).double(), 1.0)).detach()
    return float(units.mean(0).min()), float(units.sum(1).min())


@pytest.mark.parametrize("case", SPECTRA)
def test_no_remedy_moves_the_optimum_of_a_linear_vae_without_collapsed_units(case) -> None:
    """Where all λ > τ, with free bits and a minimum below the rates of the optimum. Above them, both move it."""
    optimum, flat = slope("VAE", case)
    assert flat < 1e-7
    unit, observation = least_rates(case)
    still = {
        "free bits": ("FreeBitsVAE", {"free_bits": 0.99 * unit}),
        "minimum rate": ("MinimumRateVAE", {"rate": 0.99 * observation}),
        "aggressive": ("AggressiveVAE", {}),
        "warm-up": ("BetaVAE", {"beta": 1.0, "schedule": "LinearWarmup"}),
        "cyclic": ("BetaVAE", {"beta": 1.0, "schedule": "Cyclic"}),
    }
    for remedy, (name, keywords) in still.items():
        assert slope(name, case, **keywords) == pytest.approx((optimum, 0.0), rel=1e-9, abs=1e-7), remedy
    for name, keywords in (("FreeBitsVAE", {"free_bits": 1.5 * unit}), ("MinimumRateVAE", {"rate": 2 * observation})):
        assert slope(name, case, **keywords)[1] > 1e-2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "keywords"),
    [
        ("FreeBitsVAE", {"free_bits": 0.2}),
        ("MinimumRateVAE", {"rate": 1.0}),
        ("AggressiveVAE", {"encoder_steps": 3}),
        ("BetaVAE", {"beta": 1.0, "schedule": "LinearWarmup"}),
        ("BetaVAE", {"beta": 1.0, "schedule": "Cyclic"}),
    ],
)
def test_under_every_remedy_training_keeps_the_units_that_the_spectrum_forecasts(name, keywords) -> None:
    data = DataModule(
        DATASETS.build({"name": "LinearGaussian", "dim": 8, "latent_dim": 3, "noise": 0.3}), batch_size=100
    )
    data.setup("fit")
    likelihood = {"name": "Gaussian", "variance": 0.09}
    spec = {"name": name, "latent_dim": 3, "network": "Affine", "likelihood": likelihood, "learning_rate": 0.01}
    model = MODELS.build(spec | keywords, data.shape, 0)
    trainer(40).fit(model, datamodule=data)
    spectrum = Spectrum.of(data.train.x)
    forecast = oracle.forecast(spectrum, 3, oracle.beta_optimum(spectrum, 3, 1.0, 0.09).tau)
    assert forecast.active_units == 3
    (active,) = (
        e.value for e in measure(model, data.batches("train"), build_metrics(("ActiveUnits",)), 1, 0).estimates[:1]
    )
    assert active == 3


# -- aggressive training ----------------------------------------------------------------------------------------------


def digits() -> DataModule:
    data = DataModule(DATASETS.build({"name": "Digits", "binarize": "Dynamic"}), batch_size=200)
    data.setup("fit")
    return data


class Moves(lightning.Callback):
    """Which of encoder and decoder every step moved, and what every validation found."""

    def __init__(self) -> None:
        self.moved: list[tuple[bool, bool]] = []
        self.found: list[tuple[bool, float]] = []

    def on_train_batch_start(self, trainer: lightning.Trainer, model: Autoencoder, *_: object) -> None:
        self.before = [p.detach().clone() for p in (*model.encoder.parameters(), *model.decoder.parameters())]
        self.split = len(list(model.encoder.parameters()))

    def on_train_batch_end(self, trainer: lightning.Trainer, model: Autoencoder, *_: object) -> None:
        now = [*model.encoder.parameters(), *model.decoder.parameters()]
        moved = [not torch.equal(a, b) for a, b in zip(self.before, now, strict=True)]
        assert len({*moved[: self.split]}) == len({*moved[self.split :]}) == 1
        self.moved.append((moved[0], moved[-1]))

    def on_validation_end(self, trainer: lightning.Trainer, model: AggressiveVAE) -> None:
        self.found.append((bool(model.is_aggressive), float(model.information)))


def test_aggressive_steps_move_the_encoder_alone_until_the_information_falls() -> None:
    moves, model = Moves(), AggressiveVAE((1, 8, 8), latent_dim=4, encoder_steps=2, learning_rate=1e-2)
    trainer(12, moves).fit(model, datamodule=digits())
    steps, information = len(moves.moved) // 12, [0.0, *(value for _, value in moves.found)]
    fell = [later < before for before, later in pairwise(information)]
    assert [aggressive for aggressive, _ in moves.found] == [not any(fell[: i + 1]) for i in range(12)]
    last = fell.index(True) + 1 if True in fell else 12  # validation follows the steps of its epoch
    assert 1 < last < 12, "the test must see both kinds of training"
    expected = [(i % 3 < 2, i % 3 == 2) for i in range(last * steps)] + [(True, True)] * ((12 - last) * steps)
    assert moves.moved == expected
    assert all(p.requires_grad for p in model.parameters())


def test_aggressive_training_is_resumed_where_it_was(tmp_path) -> None:
    """After three of six epochs, the weights, the kind of step and the last information are those without a stop."""
    whole, part, again = (AggressiveVAE((1, 8, 8), 3, latent_dim=4, encoder_steps=2) for _ in range(3))
    trainer(6).fit(whole, datamodule=digits())
    fitting = trainer(3)
    fitting.fit(part, datamodule=digits())
    fitting.save_checkpoint(tmp_path / "part.ckpt", weights_only=False)
    trainer(6).fit(again, datamodule=digits(), ckpt_path=tmp_path / "part.ckpt", weights_only=True)
    assert all(torch.equal(t, again.state_dict()[name]) for name, t in whole.state_dict().items())


def test_the_information_of_a_batch_is_that_of_its_aggregate_posterior() -> None:
    stream = torch.Generator().manual_seed(0)
    mean, std = torch.randn(50, 3, generator=stream).double(), torch.rand(50, 3, generator=stream).double() + 0.1
    z = mean + std * torch.randn(50, 3, generator=stream).double()
    posterior = Normal(mean, std)
    expected = posterior.log_prob(z).sum(-1) - AggregatePosterior(mean, std).log_prob(z)
    torch.testing.assert_close(information(posterior, z), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.filterwarnings("ignore:Total length of .EvaluationBatches")
def test_aggressive_training_needs_a_validation_split() -> None:
    data = DataModule(DATASETS.build({"name": "Digits", "binarize": "Dynamic", "validation": 0}), batch_size=200)
    with pytest.raises(ValueError, match="AggressiveVAE expects a validation split"):
        trainer(1).fit(AggressiveVAE((1, 8, 8)), datamodule=data)


def test_an_aggressive_model_trains_alone_and_says_why() -> None:
    with pytest.raises(Unpackable, match="AggressiveVAE has its own training_step"):
        check_compatible([AggressiveVAE((4,)), AggressiveVAE((4,), 1)])


class Node:
    """A tree whose children know their parent."""

    def __init__(self, parent: "Node | None" = None) -> None:
        self.parent, self.weight = parent, 0.5
        self.child = Node(self) if parent is None else None


def test_a_model_with_an_object_that_stands_in_itself_trains_alone_and_says_why() -> None:
    model = VAE((4,))
    model.tree = Node()
    with pytest.raises(Unpackable, match=r"tree\.child\.parent is an object that stands in itself"):
        check_compatible([model])


def test_one_object_at_two_places_may_be_packed() -> None:
    model = VAE((4,))
    model.left = Node()
    model.left.child = None
    model.right = model.left
    check_compatible([model])
    assert {"left.weight", "right.weight"} <= lifted_scalars(model).keys()


def test_the_order_of_lifted_settings_depends_on_their_names_only() -> None:
    """Or a compiled step of the same model would not be found again in the next process: hashes of text differ."""
    for name in MODELS:
        own = [key for key in lifted_scalars(MODELS.build({"name": name}, (1, 8, 8), 0)) if "." not in key]
        assert own == sorted(own), name
