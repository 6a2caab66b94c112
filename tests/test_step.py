"""A model in Lightning's Trainer, and a pack, take the step that `vaebench.training.step` writes down."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from trainers import trainer

from vaebench.config.registry import MODELS
from vaebench.config.seeding import generator
from vaebench.data.datamodule import DataModule
from vaebench.data.datasets.published import Digits
from vaebench.models.base import EPOCH_HOOKS, Autoencoder
from vaebench.training.packed.loaders import PackedData
from vaebench.training.packed.module import Pack
from vaebench.training.step import training_step

SHAPE, EPOCHS, BATCH, CLIP = (1, 8, 8), 2, 419, 0.5  # three steps an epoch

BY_GRADIENT = {m: {"name": m} for m in MODELS if MODELS[m].trained_by_gradient}
"""Every registered model that takes training steps. (PPCA fits itself.)"""

PACKED = {
    m: s for m, s in BY_GRADIENT.items() if all(getattr(MODELS[m], h) is getattr(Autoencoder, h) for h in EPOCH_HOOKS)
}
"""Those without hooks of their own, which a pack trains too."""

TRAINED: dict[str, dict[str, Any]] = {
    **BY_GRADIENT,
    "AggressiveVAE": {"name": "AggressiveVAE", "encoder_steps": 1},
    "labels": {"name": "StackedAE", "classes": 10},
}
"""What a Trainer trains: it gives labels to a model that learns from them, and a pack has none."""


def every_other_step_is_the_decoders(model: Autoencoder, step: int) -> None:
    """As AggressiveVAE chooses the parameters with `encoder_steps: 1`, in its first epochs."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(("encoder.", "posterior.")) is (step % 2 == 0))


CHOICES: dict[str, Callable[[Autoencoder, int], None]] = {"AggressiveVAE": every_other_step_is_the_decoders}
"""Which parameters learn in a step, for a model that chooses: the step itself is that of every model."""


def build(spec: dict[str, Any], seed: int) -> Autoencoder:
    network = {} if MODELS[spec["name"]].linear else {"network": {"name": "MLP", "hidden": [16]}}
    return MODELS.build({"latent_dim": 3, **network, **spec}, SHAPE, seed)


def by_plain_steps(spec: dict[str, Any], seed: int) -> Autoencoder:
    """The model after two epochs of plain steps."""
    model, data = build(spec, seed), DataModule(Digits(binarize="Dynamic"), seed, batch_size=BATCH)
    data.setup("fit")
    model.prepare(data.train.x)
    optimizer, noise = model.configure_optimizers(), generator(seed, "noise of rank 0")
    batches = data.train_dataloader()
    steps = EPOCHS * len(batches)
    for epoch in range(EPOCHS):
        for i, (x, label) in enumerate(batches):
            step = epoch * len(batches) + i
            if spec["name"] in CHOICES:
                CHOICES[spec["name"]](model, step)
            progress = step / (steps - 1)
            training_step(model, x, model.noise(len(x), noise), optimizer, CLIP, progress, label)
    return model


def weights(model: Autoencoder) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize("name", TRAINED)
def test_a_model_in_a_trainer_takes_the_step_as_it_is_written(name: str) -> None:
    """It has the same bits."""
    single = build(TRAINED[name], 1)
    data = DataModule(Digits(binarize="Dynamic"), 1, batch_size=BATCH)
    trainer(EPOCHS, gradient_clip_val=CLIP).fit(single, datamodule=data)
    assert torch.equal(weights(single), weights(by_plain_steps(TRAINED[name], 1)))


@pytest.mark.parametrize("name", PACKED)
def test_a_pack_takes_the_step_as_it_is_written(name: str) -> None:
    """Its members have the same weights to rounding."""
    expected = [by_plain_steps(PACKED[name], seed) for seed in range(2)]
    pack = Pack([build(PACKED[name], seed) for seed in range(2)], clips=[CLIP, CLIP])
    trainer(EPOCHS).fit(pack, datamodule=PackedData(Digits(binarize="Dynamic"), [0, 1], batch_size=BATCH))
    for member, model in zip(pack.members, expected, strict=True):
        assert (weights(member) - weights(model)).norm() < 1e-5 * weights(model).norm()
