"""A model in Lightning's Trainer, and a pack, take the step that `vaebench.training.step` writes down."""

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


TOGETHER = [m for m in MODELS if all(getattr(MODELS[m], h) is getattr(Autoencoder, h) for h in EPOCH_HOOKS)]
"""Models that train with the hooks of every model. Another one trains alone, with steps of its own."""


def build(name: str, seed: int) -> Autoencoder:
    network = {} if MODELS[name].linear else {"network": {"name": "MLP", "hidden": [16]}}
    return MODELS.build({"name": name, "latent_dim": 3, **network}, SHAPE, seed)


def by_plain_steps(name: str, seed: int) -> Autoencoder:
    """The model after two epochs of plain steps."""
    model, data = build(name, seed), DataModule(Digits(binarize="Dynamic"), seed, batch_size=BATCH)
    data.setup("fit")
    model.prepare(data.train.x)
    optimizer, noise = model.configure_optimizers(), generator(seed, "noise of rank 0")
    batches = data.train_dataloader()
    steps = EPOCHS * len(batches)
    for epoch in range(EPOCHS):
        for i, batch in enumerate(batches):
            progress = (epoch * len(batches) + i) / (steps - 1)
            training_step(model, batch.x, model.noise(len(batch.x), noise), optimizer, CLIP, progress)
    return model


def weights(model: Autoencoder) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize("name", TOGETHER)
def test_a_model_in_a_trainer_takes_the_step_as_it_is_written(name: str) -> None:
    """It has the same bits."""
    single = build(name, 1)
    data = DataModule(Digits(binarize="Dynamic"), 1, batch_size=BATCH)
    trainer(EPOCHS, gradient_clip_val=CLIP).fit(single, datamodule=data)
    assert torch.equal(weights(single), weights(by_plain_steps(name, 1)))


def test_a_pack_takes_the_step_as_it_is_written() -> None:
    """Its members have the same weights to rounding. (`test_pack` compares every other model with a Trainer.)"""
    expected = [by_plain_steps("BetaVAE", seed) for seed in range(2)]
    pack = Pack([build("BetaVAE", seed) for seed in range(2)], clips=[CLIP, CLIP])
    trainer(EPOCHS).fit(pack, datamodule=PackedData(Digits(binarize="Dynamic"), [0, 1], batch_size=BATCH))
    for member, model in zip(pack.models, expected, strict=True):
        assert (weights(member) - weights(model)).norm() < 1e-5 * weights(model).norm()
