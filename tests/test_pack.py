"""A member of a pack gives the numbers it gives alone, whatever stands beside it and whatever becomes of that."""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from torch import Tensor, nn
from trainers import trainer

from vaebench.config.registry import CORRUPTIONS, LIKELIHOODS, MODELS, NETWORKS, POSTERIORS, PRIORS, SCHEDULES
from vaebench.data.datamodule import DataModule
from vaebench.data.datasets.published import Digits
from vaebench.models.base import EPOCH_HOOKS, Autoencoder
from vaebench.models.epoch import Diverged
from vaebench.training.checkpoints import Snapshot, save_checkpoint, unpack
from vaebench.training.loggers import Curve
from vaebench.training.packed.capture import Unpackable
from vaebench.training.packed.loaders import PackedData
from vaebench.training.packed.module import Pack

SHAPE = (1, 8, 8)
BATCH = 419  # a third of the training digits
SHORT = 126  # 9 full batches of them and a short one: 20 steps in 2 epochs

TOGETHER = [m for m in MODELS if all(getattr(MODELS[m], h) is getattr(Autoencoder, h) for h in EPOCH_HOOKS)]
"""Models that can train in a pack. The others have hooks of their own, and `Unpackable` says which."""

FAST = {"network": {"name": "MLP", "hidden": [16]}}


def build(name: str, seed: int = 0, **keywords: Any) -> Autoencoder:
    small = {} if MODELS[name].linear else FAST
    return MODELS.build({"name": name, "latent_dim": 3, **small, **keywords}, SHAPE, seed)


def various(name: str, n: int) -> list[Autoencoder]:
    """Members that differ in their seed and in every number of theirs that is no shape."""
    numbers = {k: v for k, v in build(name).hparams.items() if type(v) is float}
    return [build(name, i % 4, **{k: v * (1 + i / 10) for k, v in numbers.items()}) for i in range(n)]


def data_of(members: Sequence[Autoencoder], batch_size: int = BATCH) -> PackedData:
    return PackedData(Digits(binarize="Dynamic"), [m.seed for m in members], batch_size=batch_size)


def packed(
    members: Sequence[Autoencoder],
    epochs: int = 2,
    batch_size: int = BATCH,
    callbacks: Sequence[lightning.Callback] = (),
    limit_val_batches: float = 1.0,
    **keywords: Any,
) -> tuple[Pack, list[dict[str, Any]]]:
    """The trained pack and its members' curves."""
    pack = Pack(members, **keywords)
    trained = trainer(epochs, *callbacks, limit_val_batches=limit_val_batches)
    trained.fit(pack, datamodule=data_of(members, batch_size))
    return pack, [c.columns for c in pack.logs.curves]


def by_itself(model: Autoencoder, epochs: int, batch_size: int, callbacks: Any = (), **keywords: Any) -> dict[str, Any]:
    """The curve of a model trained by a Trainer as Lightning has it."""
    curve = Curve()
    data = DataModule(Digits(binarize="Dynamic"), model.seed, batch_size=batch_size)
    trainer(epochs, *callbacks, logger=curve, **keywords).fit(model, datamodule=data)
    return curve.columns


def same_bits(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, b.state_dict()[k]) for k, x in a.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize("name", TOGETHER)
def test_a_member_of_thirty_has_the_bits_it_has_alone(name):
    many, curves = packed(various(name, 30), 2, SHORT)
    alone, (curve,) = packed([various(name, 30)[-1]], 2, SHORT)
    assert curves[-1] == curve
    assert same_bits(many.members[-1], alone.members[0])


@pytest.mark.parametrize("name", TOGETHER)
def test_a_pack_agrees_with_the_plain_model_in_a_plain_trainer(name, tmp_path):
    """And each of its members leaves an ordinary checkpoint."""
    pack = check_against_plain(lambda: various(name, 2), 2, SHORT)
    check_checkpoint(pack, MODELS[name], tmp_path / "model.ckpt")


def check_against_plain(
    members: Callable[[], list[Autoencoder]], epochs: int = 2, batch_size: int = BATCH, clips: Sequence[Any] = ()
) -> Pack:
    """Each epoch's objectives agree to 1e-6, and the weights to 1e-5 of their norm: rounding, and nothing else."""
    pack, curves = packed(members(), epochs, batch_size, clips=clips or None)
    for i, (member, curve, model) in enumerate(zip(pack.members, curves, members(), strict=True)):
        expected = by_itself(model, epochs, batch_size, gradient_clip_val=clips[i] if clips else None)
        assert curve.keys() == expected.keys()
        for column in expected:
            assert curve[column] == pytest.approx(expected[column], rel=1e-6)
        a, b = (torch.cat([p.flatten() for p in m.parameters()]) for m in (member, model))
        assert (a - b).norm() < 1e-5 * b.norm()
        for name, buffer in model.named_buffers():
            torch.testing.assert_close(member.get_buffer(name), buffer, rtol=1e-5, atol=0)
    return pack


ACTIVATIONS = ("Tanh", "SiLU", "GELU", "ELU", "LeakyReLU", "Softplus", "Sigmoid", "Identity")


NSF = {"name": "Flow", "kind": "NSF", "coupling": True}


def together() -> Iterator[Any]:
    """Every likelihood, prior, posterior and activation, one of each kind at a time. The kinds take turns unevenly."""
    kinds: dict[str, list[Any]] = {"likelihood": [*LIKELIHOODS], "prior": [*PRIORS], "posterior": [*POSTERIORS, NSF]}
    assert max(map(len, kinds.values())) <= len(ACTIVATIONS)
    for i, activation in enumerate(ACTIVATIONS):
        part = {
            kind: some[(i + turn * (i // len(some))) % len(some)] for turn, (kind, some) in enumerate(kinds.items())
        }
        part["network"] = {"name": "MLP", "hidden": [16], "activation": activation}
        yield pytest.param("VAE", part, id=f"parts {i}: {activation}")


PARTS = [
    *together(),
    *[pytest.param("VAE", {"network": name}, id=name) for name in NETWORKS],
    *[pytest.param("DenoisingAE", {"corruption": name}, id=name) for name in CORRUPTIONS],
    *[pytest.param("BetaVAE", {"schedule": name}, id=name) for name in SCHEDULES],
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "part"), PARTS)
def test_every_part_is_packed(name, part):
    """The same bits in company as alone, and the plain model's numbers."""

    def members() -> list[Autoencoder]:
        return [build(name, seed, **part) for seed in range(2)]

    pack, (alone, _) = check_against_plain(members), packed(members()[1:])
    assert same_bits(pack.members[1], alone.members[0])


VALUES = {
    "σ²": [{"likelihood": {"name": "Gaussian", "variance": v}} for v in (0.1, 1.0, 3.0)],
    "β": [{"name": "BetaVAE", "beta": b} for b in (0.0, 1.0, 1e4)],
    "learning rate": [{"learning_rate": r} for r in (1e-4, 1e-2, 1e-3, 1e-3)],
    "corruption": [{"name": "DenoisingAE", "corruption": {"name": "Masking", "fraction": f}} for f in (0.0, 0.5, 1.0)],
    "warm-up": [{"name": "BetaVAE", "schedule": {"name": "LinearWarmup", "share": s}} for s in (0.0, 0.3, 1.0)],
    "seed": [{"seed": s} for s in (3, 1, 3, 2)],
}


@pytest.mark.parametrize("what", VALUES)
def test_a_value_may_differ_from_member_to_member(what):
    check_against_plain(lambda: [build(**{"name": "VAE"} | keywords) for keywords in VALUES[what]])


def test_a_gradient_is_clipped_by_its_own_norm():
    check_against_plain(lambda: [build("VAE", seed) for seed in range(3)], clips=[0.1, None, 2.0])


DIVERGING = {
    "a learning rate": lambda: build("BetaVAE", 5, learning_rate=1e18),
    "a beta that overflows": lambda: build("BetaVAE", 5, beta=3e38),
    "a beta that is no number": lambda: build("BetaVAE", 5, beta=float("nan")),
}


@pytest.mark.parametrize("how", DIVERGING)
def test_a_member_that_diverges_stops_and_the_others_keep_their_bits(how):
    def healthy() -> list[Autoencoder]:
        return [build("BetaVAE", seed) for seed in range(3)]

    first, second, third = healthy()
    pack, curves = packed([first, DIVERGING[how](), second, third])
    without_it, expected = packed(healthy())
    for i, j in enumerate((0, 2, 3)):
        assert curves[j] == expected[i]
        assert same_bits(pack.members[j], without_it.members[i])
    assert pack.is_training == [True, False, True, True]
    step, reason = pack.divergences[1]
    assert step < 5
    assert re.match(r"train/objective became (nan|-inf) in epoch 1, step \d$", reason)
    assert curves[1] == {"epoch": []}


def test_a_divergence_is_told_in_the_first_epoch_that_the_curve_lacks():
    """Epochs and steps count from one, as in the curve; a validation stands after the steps of its epoch."""
    factors = [lambda epoch: 1.0, lambda epoch: 1e21 if epoch else 1.0]
    pack, curves = packed([build("BetaVAE", seed) for seed in range(2)], 3, learning_rate_factors=factors)
    an_epoch, (step, reason) = pack.steps_done // 3, pack.divergences[1]
    assert curves[1]["epoch"] == [1.0]
    assert an_epoch <= step < 2 * an_epoch
    assert reason.endswith(f" in epoch 2, step {step + 1}")
    pack, _ = packed([build("BetaVAE", seed, learning_rate=10.0 ** (18 * seed)) for seed in range(2)], 1, 1258)
    assert re.match(r"val/objective became (nan|-inf) in epoch 1, after step 1$", pack.divergences[1].reason)


def test_a_pack_stops_when_all_members_have_diverged():
    pack, _ = packed([build("VAE", seed, learning_rate=1e18) for seed in range(2)], 50)
    assert None not in pack.divergences
    assert pack.current_epoch < 2


class Spoil(lightning.Callback):
    """Makes a parameter of one member, or of the only model, NaN after the last step, as an overflow in it does."""

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        with torch.no_grad():
            weights = pl_module.stacks.matrix.values[1] if isinstance(pl_module, Pack) else next(pl_module.parameters())
            weights.flatten()[0] = torch.nan


@pytest.mark.parametrize("name", TOGETHER)
def test_a_parameter_that_the_last_step_makes_nan_is_a_divergence(name):
    """In a pack, whose other members keep their bits, and in a Trainer. A model of NaN would seem to have collapsed."""
    limits = {"epochs": 1, "batch_size": 1258, "limit_val_batches": 0}  # one step, and no objective after it
    pack, _ = packed([build(name, seed) for seed in range(3)], callbacks=[Spoil()], **limits)
    healthy, _ = packed([build(name, seed) for seed in (0, 2)], **limits)
    assert pack.is_training == [True, False, True]
    assert re.match(r"a parameter became nan in epoch 1, after step 1$", pack.divergences[1].reason)
    assert all(same_bits(pack.members[i], healthy.members[j]) for i, j in ((0, 0), (2, 1)))
    with pytest.raises(Diverged, match=r"a parameter became nan in epoch 1; lower model.learning_rate"):
        by_itself(build(name), callbacks=[Spoil()], **limits)


def check_checkpoint(pack: Pack, cls: type[Autoencoder], path: Path) -> None:
    """It has the parameters of one member and not of all, and gives the member as a model by itself."""
    save_checkpoint(pack.members[1], path, 1, pack.steps_done)
    assert path.stat().st_size < 1.5 * 4 * sum(p.numel() for p in pack.parameters()) / 2 + 10_000
    loaded = cls.load_from_checkpoint(path, map_location="cpu", weights_only=True)
    assert dict(loaded.hparams) == dict(pack.members[1].hparams)
    assert same_bits(loaded, pack.members[1])
    alone = unpack(pack.members[1], pack.device)
    assert same_bits(alone, pack.members[1])
    x = torch.rand(5, *SHAPE, generator=torch.Generator().manual_seed(0))
    assert torch.equal(alone(x), loaded.eval()(x))


@pytest.mark.parametrize("step", [100, 129], ids=["in a chunk", "between chunks"])
def test_a_resumed_pack_gives_the_numbers_of_one_that_was_never_stopped(step):
    """Two chunks of steps an epoch; one member has diverged before the snapshot, and stays so."""
    resumed, whole = check_resume(step)
    assert same_bits(resumed, whole)


def check_resume(step: int) -> tuple[Pack, Pack]:
    """The pack that was stopped after so many steps, and the one that was not, whose curves are the same."""
    taken: list[Snapshot] = []

    def fit(**keywords: Any) -> tuple[Pack, list[dict[str, Any]]]:
        members = [build("BetaVAE", 0), build("BetaVAE", 1, learning_rate=1e18), build("BetaVAE", 1, beta=2.0)]
        pack = Pack(members, between_steps=lambda: take(pack), **keywords)
        trainer(3).fit(pack, datamodule=PackedData(Digits(binarize="Dynamic"), [0, 1, 1], batch_size=16))
        return pack, [c.columns for c in pack.logs.curves]

    def take(pack: Pack) -> None:
        if pack.steps_done == step and len(taken) < 3:
            taken.extend(pack.snapshot(i) for i in range(3))

    whole, expected = fit()
    resumed, curves = fit(start=taken)
    assert curves == expected
    assert resumed.divergences == whole.divergences
    assert taken[1].divergence == whole.divergences[1] is not None
    assert resumed.trainer.global_step == whole.trainer.global_step == 3 * 79
    return resumed, whole


class Dropped(MODELS["VAE"]):
    """A model whose objective is random by itself."""

    def objective(self, x: Tensor, noise: Tensor) -> Tensor:
        return super().objective(nn.functional.dropout(x, 0.5), noise)


class Loud(MODELS["VAE"]):
    """A model whose noise depends on a value of its own."""

    def noise(self, batch_size: int, generator: torch.Generator) -> Tensor:
        return self.learning_rate * super().noise(batch_size, generator)


class Counting(MODELS["VAE"]):
    """A model whose objective leaves something behind."""

    def objective(self, x: Tensor, noise: Tensor) -> Tensor:
        self.beta.add_(1.0)
        return super().objective(x, noise)


class Own(MODELS["VAE"]):
    """A model that is trained its own way."""

    def training_step(self, batch: Any, index: int) -> Tensor:
        return super().training_step(batch, index)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Dropped, "cannot be mapped over members: .*random"),
        (Loud, "the noise of Loud depends on more than the seed"),
        (Counting, "the objective changes its own parameters or buffers|cannot be mapped"),
        (Own, "Own has its own training_step"),
    ],
)
def test_what_cannot_be_packed_is_refused_with_the_reason_before_anything_is_logged(kind, reason):
    curve = Curve()
    members = [kind(SHAPE, seed, learning_rate=0.1 + seed) for seed in range(2)]
    with pytest.raises(Unpackable, match=reason):
        trainer(1).fit(Pack(members, loggers=[[curve], [curve]]), datamodule=data_of(members))
    assert curve.columns == {"epoch": []}


@pytest.mark.parametrize(
    ("keywords", "named"),
    [
        ({"latent_dim": 4}, "encoder"),
        ({"network": {"name": "MLP", "hidden": [16], "activation": "Tanh"}}, "encoder"),
        ({"likelihood": "Gaussian"}, "likelihood"),
        ({"prior": "GaussianMixture"}, "prior"),
    ],
)
def test_members_of_different_shapes_are_refused_by_name(keywords, named):
    with pytest.raises(Unpackable, match=f"members differ in .*{named}"):
        Pack([build("VAE"), build("VAE", **keywords)])


def test_data_of_other_seeds_is_refused():
    members = [build("VAE", seed) for seed in range(2)]
    with pytest.raises(ValueError, match=r"expected PackedData of the members' seeds \[0, 1\], got \[1, 0\]"):
        trainer(1).fit(Pack(members), datamodule=data_of(members[::-1]))


def test_what_is_frozen_is_each_members_own_and_stays():
    def members() -> list[Autoencoder]:
        made = [build("VAE", seed) for seed in range(3)]
        for m in made:
            m.encoder.requires_grad_(False)
        return made

    pack = check_against_plain(members)
    for member, before in zip(pack.members, members(), strict=True):
        assert same_bits(member.encoder, before.encoder)
