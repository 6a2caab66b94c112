"""The stacked autoencoder: its phases, its known answer, its classifier, and how it resumes and packs."""

from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from test_models import build, observations, steps
from test_pack import build as member
from test_pack import check_against_plain, same_bits
from torch import Tensor, nn
from trainers import trainer

from vaebench.config import EarlyStopping
from vaebench.config.registry import MODELS
from vaebench.config.seeding import generator
from vaebench.data.datamodule import DataModule
from vaebench.data.datasets.published import Digits
from vaebench.evaluation.measure import build_metrics, measure
from vaebench.models.stacked_ae import StackedAE
from vaebench.oracle.spectrum import Spectrum
from vaebench.training.callbacks import StopEarly
from vaebench.training.checkpoints import Snapshot
from vaebench.training.packed.capture import Unpackable
from vaebench.training.packed.loaders import PackedData
from vaebench.training.packed.module import Pack
from vaebench.training.step import training_step

SIGMOIDS = {"name": "ActivatedMLP", "hidden": [12, 7], "activation": "Sigmoid"}
NETWORKS = [
    {"name": "MLP", "hidden": [12, 7], "activation": "Tanh"},
    SIGMOIDS,
    {"name": "Conv", "channels": [4, 6]},
]
MASKED = [{"name": "Masking", "fraction": 0.4}]


def run(model: Any, x: Tensor, progress: float, n: int = 3) -> None:
    """Steps at one share of training."""
    optimizer, stream = model.configure_optimizers(), generator(model.seed, "steps")
    for _ in range(n):
        model.enter_phase(progress)
        training_step(model, x, model.noise(len(x), stream), optimizer, progress=progress)


@pytest.mark.parametrize("network", ["Affine", {"name": "MLP", "hidden": []}, {"name": "Conv", "channels": []}])
def test_one_layer_is_the_autoencoder(network):
    stacked, plain = (steps(build(name, network=network), observations()) for name in ("StackedAE", "AE"))
    assert stacked == plain


def test_one_layer_of_the_denoising_form_is_the_denoising_autoencoder():
    stacked = build("StackedAE", network="Affine", corruption=MASKED, phases=[1, 0])
    assert steps(stacked, observations()) == steps(
        build("DenoisingAE", network="Affine", corruption=MASKED[0]), observations()
    )


@pytest.mark.parametrize("corruption", [[], MASKED, [{"name": "GaussianNoise", "std": s} for s in (0.1, 0.2, 0.3)]])
@pytest.mark.parametrize("network", NETWORKS)
def test_a_layer_learns_alone_and_those_below_and_above_stay(network, corruption):
    model, x = build("StackedAE", network=network, corruption=corruption, learning_rate=0.01), observations()
    assert len(model.layers) == 3
    for layer, progress in enumerate((0.0, 0.2, 0.4)):
        before = {name: p.clone() for name, p in model.named_parameters()}
        run(model, x, progress)
        assert model.layer == layer
        own = nn.ModuleList([model.encoder[model.layers[layer]], model.decoder[model.layers_back[layer]]])
        learns = {id(p) for p in own.parameters()}
        changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
        assert changed == {name for name, p in model.named_parameters() if id(p) in learns}
    before = {name: p.clone() for name, p in model.named_parameters()}
    run(model, x, 0.7)
    assert model.layer is None
    assert all(not torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_a_layer_reconstructs_the_clean_codes_below():
    """The objective of the second layer of sigmoids: Σ h log ĥ + (1 − h) log(1 − ĥ), where only its input is masked."""
    model = build("StackedAE", network=SIGMOIDS, corruption=MASKED).double()
    x = observations(5).double()
    model.enter_phase(0.2)
    noise = model.noise(5, torch.Generator().manual_seed(0))
    assert noise.shape == (5, 12)
    _, first, sigmoid, second, *_ = model.encoder
    *_, decoder, _, _, _ = model.decoder
    with torch.no_grad():
        h = sigmoid(first(x.flatten(1)))
        back = torch.sigmoid(decoder(sigmoid(second(h * (noise >= 0.4)))))
        expected = (h * back.log() + (1 - h) * (1 - back).log()).sum(1)
    torch.testing.assert_close(model.objective(x, noise).detach(), expected)


@pytest.mark.parametrize("widths", [(5, 3), (6, 4, 2)])
def test_a_linear_stack_ends_in_the_principal_subspace(widths):
    """The squared error is Σ_{i>n} λ_i and the codes span the first n principal directions; full batches."""
    *hidden, n = widths
    point = Spectrum.given([5.0, 3.0, 2.0, 0.6, 0.4, 0.2, 0.1, 0.1])
    x = point.points.float()
    network = {"name": "MLP", "hidden": hidden, "activation": "Identity"}
    spec = {"name": "StackedAE", "latent_dim": n, "network": network, "learning_rate": 0.03, "likelihood": "Gaussian"}
    model: StackedAE = MODELS.build(spec, (8,), 1)
    model.prepare(x)
    optimizer, count = model.configure_optimizers(), 800
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, count)
    for step in range(count):
        training_step(model, x, model.noise(len(x), torch.Generator()), optimizer, progress=step / (count - 1))
        rate.step()
    with torch.no_grad():
        error = float((model(x) - x).square().sum(1).mean())
        spanned = torch.linalg.qr(model(torch.eye(8)) - model(torch.zeros(1, 8)))[0][:, :n]
    assert error == pytest.approx(point.tail(n), rel=1e-3)
    assert spanned[n:].norm() < 0.02


def test_phases_fill_the_training_and_no_step_is_lost():
    """Thirty epochs of 10 steps; a phase without length is left out."""
    model = build("StackedAE", network=SIGMOIDS, phases=[3, 3, 3, 21])
    phases = [model.phase_at(step / 299) for step in range(300)]
    assert [phases.count(i) for i in range(4)] == [30, 30, 30, 210]
    assert phases == sorted(phases)
    uneven = build("StackedAE", network=SIGMOIDS, phases=[7, 2, 1, 20])
    phases = [uneven.phase_at(step / 299) for step in range(300)]
    assert [phases.count(i) for i in range(4)] == [70, 20, 10, 200]
    whole = build("StackedAE", network=SIGMOIDS, phases=[1, 1, 1, 0])
    assert {whole.phases[whole.phase_at(step / 299)] for step in range(300)} == {0, 1, 2}
    none = build("StackedAE", network=SIGMOIDS, phases=[0, 0, 0, 1])
    assert steps(none, observations()) == steps(build("AE", network=SIGMOIDS), observations())


def test_members_of_a_pack_have_the_numbers_they_have_alone():
    check_against_plain(
        lambda: [
            member("StackedAE", i, network=SIGMOIDS, corruption=[{"name": "Masking", "fraction": 0.1 + 0.2 * i}])
            for i in range(2)
        ],
        epochs=3,
    )


def digits(seed: int = 0, batch_size: int = 256) -> DataModule:
    return DataModule(Digits(), seed, batch_size=batch_size)


class Stop(lightning.Callback):
    """Saves a checkpoint after an epoch."""

    def __init__(self, path: Path, after: int) -> None:
        self.path, self.after = path, after

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.current_epoch + 1 == self.after:
            trainer.save_checkpoint(self.path, weights_only=False)


@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_resumed_run_has_the_bits_of_one_that_was_never_stopped(after, tmp_path):
    """Stopped in the second of four phases, between two phases, and in the last one."""

    def made() -> StackedAE:
        return MODELS.build({"name": "StackedAE", "network": SIGMOIDS, "corruption": MASKED, "classes": 10,
            "latent_dim": 3, "likelihood": "Gaussian"}, (1, 8, 8), 2)  # fmt: skip

    whole, resumed, path = made(), made(), tmp_path / "stopped.ckpt"
    trainer(4, Stop(path, after)).fit(whole, datamodule=digits(2))
    trainer(4).fit(resumed, datamodule=digits(2), ckpt_path=path, weights_only=True)
    assert same_bits(whole, resumed)
    assert whole.layer is resumed.layer is None


@pytest.mark.parametrize("step", [5, 6])
def test_a_resumed_pack_has_the_bits_of_one_that_was_never_stopped(step):
    taken: list[Snapshot] = []

    def trained(**keywords: Any) -> Pack:
        members = [member("StackedAE", i, network=SIGMOIDS, learning_rate=0.01) for i in range(2)]
        pack = Pack(members, between_steps=lambda: take(pack), **keywords)
        trainer(3).fit(pack, datamodule=PackedData(Digits(binarize="Dynamic"), [0, 1], batch_size=200))
        return pack

    def take(pack: Pack) -> None:
        if pack.steps_done == step:
            taken.extend(pack.snapshot(i) for i in range(2))

    whole = trained()
    assert same_bits(trained(start=taken[:2]), whole)


def test_the_classifier_learns_and_its_error_is_counted():
    """On the digits a linear softmax on the codes of a pretrained network errs on fewer than 20 % of the test images;
    guessing errs on 90 %."""
    network = {"name": "ActivatedMLP", "hidden": [40], "activation": "Sigmoid"}
    spec = {"name": "StackedAE", "network": network, "classes": 10, "latent_dim": 20, "likelihood": "Gaussian",
            "corruption": MASKED, "learning_rate": 0.01}  # fmt: skip
    model = MODELS.build(spec, (1, 8, 8), 0)
    data = digits(batch_size=64)
    trainer(20).fit(model, datamodule=data)
    (error,) = measure(model, data.batches("test"), build_metrics(["ClassificationError"]), 1, 0).estimates
    with torch.no_grad():
        logits = model.head(model.encoder(data.test.x))
    assert error.value == pytest.approx(100 * float((logits.argmax(1) != data.test.label).float().mean()))
    assert error.value < 20


def test_what_has_no_classifier_or_no_labels_says_so():
    data = digits()
    data.setup()
    seen = measure(build("StackedAE"), data.batches("test"), build_metrics(["ClassificationError"]), 1, 0)
    assert seen.not_applicable == {"classification_error": "this StackedAE has no classifier"}
    with pytest.raises(Unpackable, match="StackedAE learns from labels"):
        Pack([build("StackedAE", i, classes=10) for i in range(2)])
    with pytest.raises(ValueError, match=r"model.classes: expected labels from 0 to 4, got 0 to 9"):
        trainer(1).fit(build("StackedAE", classes=5), datamodule=data)
    with pytest.raises(ValueError, match="expected data with labels, got data without; set classes: null"):
        build("StackedAE", classes=5).check_labels(None)
    with pytest.raises(ValueError, match="expected no corruption, one, or one for each of 3 layers, got 2"):
        build("StackedAE", network=SIGMOIDS, corruption=MASKED * 2)
    with pytest.raises(ValueError, match=r"phases: expected 4 lengths, not all 0, for 3 layers; got \[1, 2\]"):
        build("StackedAE", network=SIGMOIDS, phases=[1, 2])


def test_weight_decay_leaves_alone_what_does_not_learn():
    """The first layer keeps its bits while the second one learns."""
    model = build("StackedAE", network=SIGMOIDS, learning_rate=0.01, phases=[1, 3, 0, 0])
    model.optimizer = lambda parameters, rate: torch.optim.AdamW(parameters, lr=rate, weight_decay=0.5)
    seen: list[Tensor] = []

    class Watch(lightning.Callback):
        def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
            seen.append(torch.cat([p.detach().flatten().clone() for p in model.encoder[model.layers[0]].parameters()]))

    trainer(4, Watch()).fit(model, datamodule=digits())
    assert torch.equal(seen[0], seen[3])


class Validated(lightning.Callback):
    """The validations of the last phase."""

    def __init__(self) -> None:
        self.of_last_phase: list[float] = []

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if pl_module.layer is None:
            self.of_last_phase.append(float(trainer.callback_metrics["val/objective"]))


def test_only_the_last_phase_stops_early():
    """The codes of the second layer are easy to reconstruct, so its objective is the largest of all phases."""
    stop, seen = StopEarly(EarlyStopping(patience=1)), Validated()
    model = build("StackedAE", network=SIGMOIDS, likelihood={"name": "Gaussian", "variance": 10.0})
    trainer(8, stop, seen).fit(model, datamodule=digits())
    assert stop.best == max(seen.of_last_phase)
    assert len(seen.of_last_phase) > 1
