"""Optimisers, stages of the learning rate and early stopping: torch's own steps, alone, in a pack and after a stop."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_pack import build, packed
from test_packed_adam import CLIPS, RATES, gradients, networks
from torch import Tensor, nn

from vaebench.config import ConfigError, Run
from vaebench.config.registry import MODELS, OPTIMIZERS, SCHEDULES
from vaebench.config.seeding import generator
from vaebench.data.datamodule import DataModule
from vaebench.data.datasets.published import Digits
from vaebench.models.base import Autoencoder
from vaebench.sweeps.packs import describe_packs, pack_key, packs_of
from vaebench.training.fit import fit
from vaebench.training.outside_pack import fit_outside_pack
from vaebench.training.packed import loaders
from vaebench.training.packed.stacked import ParameterMatrix
from vaebench.training.step import training_step
from vaebench.training.trainer import Fitted

SETTINGS: dict[str, list[dict[str, Any]]] = {
    "Adam": [{}, {"betas": (0.5, 0.9), "eps": 1e-4}, {"weight_decay": 0.3}, {"betas": (0.0, 0.99)}],
    "AdamW": [{}, {"weight_decay": 0.0}, {"weight_decay": 0.5, "eps": 1e-3}, {"betas": (0.8, 0.95)}],
    "RMSprop": [{}, {"centered": True, "alpha": 0.9}, {"momentum": 0.9, "weight_decay": 0.1}, {"eps": 1e-2}],
    "SGD": [
        {},
        {"momentum": 0.9, "nesterov": True},
        {"momentum": 0.8, "dampening": 0.5, "weight_decay": 0.1},
        {"weight_decay": 0.2},
    ],
}
"""For every optimiser four members of a pack, each with settings of its own."""


def factor(step: int) -> float:
    return 1.0 if step < 7 else 0.3


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_row_takes_torchs_steps(name: str) -> None:
    """20 steps with other settings in every row, a new learning rate at the eighth, and one row that stops at the
    twelfth; to 1e-6, because a fused update rounds otherwise than torch's plain one."""
    made = [OPTIMIZERS.build({"name": name, **settings}) for settings in SETTINGS[name]]
    members = networks()
    rows = ParameterMatrix(members)
    packed = made[0].packed(rows, RATES, CLIPS, [m.settings for m in made])
    for step in range(20):
        packed.learning_rates = [rate * factor(step) for rate in RATES]
        packed.advance(gradients(rows, step), [True, True, step < 11, True])
    for i, alone in enumerate(networks()):
        optimizer = made[i](alone.parameters(), RATES[i])
        for step in range(11 if i == 2 else 20):
            optimizer.param_groups[0]["lr"] = RATES[i] * factor(step)
            for p, g in zip(alone.parameters(), gradients(rows, step), strict=True):
                p.grad = g[i].clone()
            if (clip := CLIPS[i]) is not None:
                nn.utils.clip_grad_norm_(alone.parameters(), clip)
            optimizer.step()
        for p, q in zip(members[i].parameters(), alone.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_optimiser_of_one_model_is_torchs(name: str) -> None:
    """The defaults are those of torch, and settings reach it under its own names."""
    parameter = nn.Parameter(torch.ones(2))
    for settings in SETTINGS[name]:
        made = OPTIMIZERS.build({"name": name, **settings})([parameter], 0.1)
        kind = getattr(torch.optim, name)
        assert type(made) is kind
        assert made.defaults == kind([parameter], lr=0.1, **settings).defaults


def run(seed: int = 0, name: str = "VAE", model: Mapping[str, Any] | None = None, **train: Any) -> Run:
    model = {"name": name, "latent_dim": 2, "network": {"name": "MLP", "hidden": [8]}} | dict(model or {})
    train = {"epochs": 4, "batch_size": 419, **train}  # three steps an epoch
    return Run.of({"model": model, "data": {"name": "Digits", "binarize": "Fixed"}, "train": train, "seed": seed})


SLOW = pytest.mark.slow
STAGES = [{"epochs": 1, "factor": 1.0}, {"epochs": 2, "factor": 0.1}, {"epochs": 1, "factor": 3.0}]


def weights(model: Autoencoder) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def by_plain_steps(one: Run, epochs: int = 4) -> Tensor:
    """The weights after plain steps of torch's optimiser, with the factors of `STAGES` written out."""
    model = MODELS.build(one.model, (1, 8, 8), one.seed)
    data = DataModule(Digits(binarize="Fixed"), one.seed, batch_size=419)
    data.setup("fit")
    model.prepare(data.train.x)
    spec = dict(one.train.optimizer) if isinstance(one.train.optimizer, Mapping) else {"name": one.train.optimizer}
    optimizer = getattr(torch.optim, spec.pop("name"))(model.parameters(), lr=model.learning_rate, **spec)
    noise, batches = generator(one.seed, "noise of rank 0"), data.train_dataloader()
    for epoch in range(epochs):
        optimizer.param_groups[0]["lr"] = 1e-3 * ([1.0, 0.1, 0.1, 3.0][epoch] if one.train.stages else 1.0)
        for batch in batches:
            training_step(model, batch.x, model.noise(len(batch.x), noise), optimizer)
    return weights(model)


def fitted(runs: list[Run], folder: Path, stop: int | None = None) -> list[Fitted]:
    def watch(epoch: int, latest: object) -> None:
        if epoch == stop:
            raise StoppedError

    folders = [folder / one.id for one in runs]
    for own in folders:
        own.mkdir(parents=True, exist_ok=True)
    found = fit(runs, folders, [[] for _ in runs], watch, save_every=0.0)
    assert all(isinstance(one, Fitted) for one in found), found
    return found  # type: ignore[return-value]


class StoppedError(Exception):
    """What ends a training early."""


@pytest.mark.parametrize("name", [n if n in ("RMSprop", "SGD") else pytest.param(n, marks=SLOW) for n in OPTIMIZERS])
def test_a_run_takes_torchs_steps_alone_in_a_pack_and_after_a_stop(name: str, tmp_path: Path) -> None:
    """Alone it has the bits of plain steps, in a pack the same to rounding, and after a stop the bits of its pack."""
    runs = [
        run(optimizer={"name": name, **settings}, stages=STAGES, validate_every=4)
        for settings in SETTINGS[name]
        if "centered" not in settings and not settings.get("nesterov")
    ][1:]
    assert len(packs_of(runs)) == 1
    (tmp_path / "alone").mkdir()
    alone = fit_outside_pack(runs[-1], tmp_path / "alone", [], print, 60.0)
    assert torch.equal(weights(alone.model), by_plain_steps(runs[-1]))
    whole = fitted(runs, tmp_path / "whole")
    for one, found in zip(runs, whole, strict=True):
        expected = by_plain_steps(one)
        assert (weights(found.model) - expected).norm() < 1e-5 * expected.norm()
    with pytest.raises(StoppedError):
        fitted(runs, tmp_path, stop=3)
    for again, first in zip(fitted(runs[::-1], tmp_path), whole[::-1], strict=True):
        assert torch.equal(weights(again.model), weights(first.model))
        assert again.curve == first.curve


@pytest.mark.parametrize("name", ["RMSprop", "SGD"])
def test_a_device_takes_the_same_steps(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps that need nothing from the processor, over a new learning rate, have the bits of ordinary ones."""

    def trained() -> list[Tensor]:
        made = [OPTIMIZERS.build({"name": name, **settings}) for settings in SETTINGS[name][1:3]]
        members = [build("BetaVAE", seed) for seed in range(2)]
        pack, _ = packed(members, 2, 128, optimizers=made, learning_rate_factors=[lambda epoch: 0.5**epoch] * 2)
        return [weights(member) for member in pack.members]

    ordinary = trained()
    monkeypatch.setattr(loaders, "PackedBatches", loaders.DeviceBatches)
    assert all(torch.equal(a, b) for a, b in zip(trained(), ordinary, strict=True))


def test_a_run_alone_that_was_stopped_goes_on_in_its_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MODELS["VAE"], "training_step", lambda self, *a: Autoencoder.training_step(self, *a))
    one = run(stages=STAGES, optimizer={"name": "SGD", "momentum": 0.9})
    (whole,) = fitted([one], tmp_path / "whole")
    assert torch.equal(weights(whole.model), by_plain_steps(one))
    with pytest.raises(StoppedError):
        fitted([one], tmp_path, stop=3)
    assert torch.equal(weights(fitted([one], tmp_path)[0].model), weights(whole.model))


def test_what_a_pack_may_mix() -> None:
    """Real numbers may differ: weight decay, betas, factors. Another rule or other stages may not."""

    def key(**train: Any) -> str:
        return pack_key(run(**train))

    assert key(optimizer={"name": "Adam", "weight_decay": 0.1, "betas": [0.5, 0.9]}) == key()
    assert key(stages=STAGES) == key(stages=[{**stage, "factor": 0.5} for stage in STAGES])
    stopping = [run(seed=s, early_stopping={"patience": 2}) for s in (0, 1)]
    keys = {key(), key(optimizer="SGD"), key(optimizer="RMSprop"), key(stages=STAGES), *map(pack_key, stopping)}
    assert len(keys) == 6
    assert "early stopping" in describe_packs(packs_of(stopping), 32)


@pytest.mark.parametrize(
    ("train", "text"),
    [
        ({"stages": STAGES[:2]}, "train.stages: expected stages of train.epochs = 4 epochs in all, got 3"),
        ({"stages": [{"epochs": 4, "factor": 0}]}, "train.stages: expected a list"),
        ({"stages": [{"epochs": 4}]}, "train.stages: expected a list"),
        ({"optimizer": "LBFGS"}, "unknown optimizer 'LBFGS'"),
        ({"optimizer": {"name": "Adam", "betas": [0.9, 1.0]}}, "train.optimizer.betas: expected a list of 2"),
        ({"optimizer": {"name": "SGD", "beta": 0.9}}, "train.optimizer.beta: unknown key"),
        ({"early_stopping": {"patience": 0}}, "train.early_stopping.patience: expected a whole number > 0"),
        ({"early_stopping": {}}, "train.early_stopping.patience: missing"),
    ],
    ids=str,
)
def test_what_is_refused(train: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        run(**train)
    assert text in str(caught.value)


def test_nesterov_without_momentum_is_refused() -> None:
    with pytest.raises(ValueError, match="nesterov expects momentum > 0"):
        OPTIMIZERS.build({"name": "SGD", "nesterov": True})


def test_burdas_stages() -> None:
    """Eight stages of 3^i epochs with the rates 0.001·10^(−i/7): 3280 epochs (Burda et al. 2016)."""
    stages = [{"epochs": 3**i, "factor": 10 ** (-i / 7)} for i in range(8)]
    train = run(epochs=3280, stages=stages).train
    factors = [train.rate_factor(epoch) for epoch in range(3280)]
    assert factors == [10 ** (-i / 7) for i in range(8) for _ in range(3**i)]


# -- early stopping ---------------------------------------------------------------------------------------------------


def stopped(folder: Path, stop: int | None = None, **how: Any) -> Fitted:
    one = run(name="AE", epochs=40, optimizer="SGD", stages=[{"epochs": 3, "factor": 50.0}, RISING],
              early_stopping={"patience": 3, **how})  # fmt: skip
    return fitted([one], folder, stop)[0]


RISING = {"epochs": 37, "factor": 1e-30}
"""After three epochs the weights stand still, so the validation objective no longer improves."""


def test_training_stops_when_nothing_improves_any_more(tmp_path: Path) -> None:
    found = stopped(tmp_path)
    assert len(found.curve["epoch"]) == 3 + 3
    assert len(stopped(tmp_path / "patient", patience=7).curve["epoch"]) == 3 + 7


def test_the_best_weights_are_restored_in_the_direction_of_the_number(tmp_path: Path) -> None:
    """The validation objective rises while the weight norm does; `val/distortion` falls with it."""
    data = DataModule(Digits(binarize="Fixed"), 0, batch_size=419)
    for monitor in ("val/objective", "val/distortion"):
        one = run(epochs=12, early_stopping={"patience": 2, "monitor": monitor}, stages=[
            {"epochs": 3, "factor": 1.0}, {"epochs": 9, "factor": 300.0}])  # fmt: skip
        (found,) = fitted([one], tmp_path / monitor)
        values = [v for v in found.curve[monitor] if v is not None]
        best = (max if monitor == "val/objective" else min)(range(len(values)), key=values.__getitem__)
        assert len(values) == best + 1 + 2 < 12
        data.setup("fit")
        noise = generator(0, "validation")
        with torch.no_grad():
            total = [found.model.objective(b.x, found.model.noise(len(b.x), noise)) for b in data.batches("validation")]
        assert float(torch.cat(total).mean()) == pytest.approx(found.curve["val/objective"][best], rel=1e-6)


def test_no_validation_counts_while_beta_rises(tmp_path: Path) -> None:
    """The weights stand still, so only the rising price of the rate moves the objective: it falls all the time."""
    model = {"name": "BetaVAE", "learning_rate": 1e-30, "schedule": {"name": "LinearWarmup", "share": 0.5}}
    (found,) = fitted([run(model=model, epochs=20, early_stopping={"patience": 3})], tmp_path)
    assert len(found.curve["epoch"]) == 10 + 1 + 3  # the first validation at the full β is the best


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_objective_is_final_once_the_schedule_stands_still(name: str) -> None:
    model = MODELS.build({"name": "BetaVAE", "schedule": name}, (4,), 0)
    grid = torch.linspace(0, 1, 101)
    factors = torch.stack([model.schedule(progress) for progress in grid])
    for i, progress in enumerate(grid):
        model.progress.fill_(progress)
        assert model.has_final_objective() == bool((factors[i:] == factors[-1]).all())


def test_a_stopped_run_that_was_killed_stops_where_it_would_have_stopped(tmp_path: Path) -> None:
    whole = stopped(tmp_path / "whole")
    for stop in (2, 6):
        with pytest.raises(AssertionError, match="StoppedError"):
            stopped(tmp_path / str(stop), stop)
        again = stopped(tmp_path / str(stop))
        assert again.curve == whole.curve
        assert torch.equal(weights(again.model), weights(whole.model))


@pytest.mark.parametrize(
    ("monitor", "text"),
    [
        ("val/elbow", "expected one of val/objective, "),
        ("val/rate", "expected one of val/objective, "),
        ("val/elbo", "AE has no val/elbo"),
    ],
)
def test_a_number_that_is_not_there_is_refused(monitor: str, text: str, tmp_path: Path) -> None:
    one = run(name="AE", early_stopping={"patience": 1, "monitor": monitor})
    (error,) = fit([one], [tmp_path], [[]], lambda *_: None)
    assert isinstance(error, ValueError)
    assert text in str(error)


# -- the regularised linear autoencoder -------------------------------------------------------------------------------


def test_weight_decay_shrinks_the_linear_autoencoder_as_kunin_says() -> None:
    """‖x − W₂W₁x‖² + λ(‖W₁‖² + ‖W₂‖²) has s_i² = max(0, 1 − λ/σ_i²), σ_i² the variances (Kunin et al. 2019).

    The loss is ‖x − x̂‖²/2σ² + weight_decay·‖W‖²/2, with σ² the variance of the likelihood. So λ = σ²·weight_decay.
    """
    variance = 0.25
    spectrum, penalty = np.array([4.0, 2.0, 1.0, 0.3, 0.1]), 0.5
    x = np.linalg.qr(np.random.default_rng(0).standard_normal((64, 6)))[0][:, 1:] * 8  # orthogonal columns
    x -= x.mean(0)
    rotation = np.linalg.qr(np.random.default_rng(1).standard_normal((5, 5)))[0]
    x = np.linalg.svd(x, full_matrices=False)[0] * 8 * np.sqrt(spectrum) @ rotation
    model = MODELS.build(
        {
            "name": "AE",
            "latent_dim": 4,
            "network": "Affine",
            "likelihood": {"name": "Gaussian", "variance": variance},
            "learning_rate": 0.05 * variance,
        },
        (5,),
        0,
    )
    model.optimizer = OPTIMIZERS.build({"name": "SGD", "momentum": 0.9, "weight_decay": penalty / variance})
    optimizer, data = model.configure_optimizers(), torch.from_numpy(x).float()
    model.prepare(data)
    for _ in range(800):
        training_step(model, data, torch.empty(64, 0), optimizer)
    expected = np.sqrt(np.maximum(0.0, 1 - penalty / spectrum))[:4]
    for weight in (p.detach() for p in model.parameters() if p.ndim == 2):
        assert torch.linalg.svdvals(weight).numpy() == pytest.approx(expected, abs=2e-3)
    assert math.isclose(expected[3], 0.0)
