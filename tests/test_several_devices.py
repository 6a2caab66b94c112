"""Any number of observations, any batch size and any number of devices: the numbers of one device, to rounding."""

from types import SimpleNamespace

import pytest
import torch
from several_devices import SPECS, trained

from vaebench.config.registry import MODELS
from vaebench.data.loaders import Batch


class Trainer(SimpleNamespace):
    """As much of Lightning's as a step asks for. It can be referred to weakly, as its base cannot."""


def gradients(spec: dict, x: torch.Tensor, rank: int, world: int, monkeypatch) -> list[torch.Tensor]:
    """What one of several processes has for each parameter after its part of a step."""
    model = MODELS.build({"latent_dim": 2, **spec}, x.shape[1:], 0)
    there = Trainer(
        world_size=world,
        global_rank=rank,
        estimated_stepping_batches=1,
        global_step=0,
        fit_loop=SimpleNamespace(setup_data=lambda: None),
        train_dataloader=[x],
    )
    model.trainer = there
    monkeypatch.setattr(model, "_in_all_processes", lambda n: len(x))
    model.on_fit_start()
    model.on_train_epoch_start()
    model.training_step(Batch(x[rank::world]), 0).backward()
    assert model._trained[1] == len(x[rank::world])
    return [p.grad for p in model.parameters() if p.requires_grad]


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_gradients_averaged_over_processes_are_those_of_one(spec, monkeypatch):
    """Also where a batch has fewer examples than there are processes."""
    images = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0)).bernoulli()
    for n, world in ((1, 2), (1, 3), (2, 3), (3, 2), (5, 7)):
        whole = gradients(spec, images[:n], 0, 1, monkeypatch)
        parts = [gradients(spec, images[:n], rank, world, monkeypatch) for rank in range(world)]
        for expected, of_each in zip(whole, zip(*parts, strict=True), strict=True):
            torch.testing.assert_close(torch.stack(of_each).mean(0), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec.*is deprecated")
def test_every_model_on_several_devices_has_the_curve_of_one(tmp_path):
    """One group of three processes for all models, at odd sizes. (`test_outside_pack` has two processes.)"""
    one, several = (trained(devices, tmp_path / str(devices)) for devices in (1, 3))
    assert several.keys() == one.keys()
    assert all(any(str(spec) in name for name in one) for spec in SPECS)
    for name, (curve, state) in one.items():
        assert several[name][0].keys() == curve.keys()
        for quantity, column in curve.items():
            assert several[name][0][quantity] == pytest.approx(column, rel=1e-6, abs=1e-6), f"{quantity} of {name}"
        for parameter, expected in state.items():
            torch.testing.assert_close(several[name][1][parameter], expected, rtol=1e-3, atol=1e-5)
