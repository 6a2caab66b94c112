"""Networks, corruptions and schedules: shapes that fit, extremes that are known."""

import pytest
import torch

from vaebench.config.registry import CORRUPTIONS, NETWORKS, SCHEDULES


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 12, 8), (10,)])
def test_a_network_goes_there_and_back(name, shape):
    network = NETWORKS.build(name)
    if name == "Conv" and len(shape) == 1:
        with pytest.raises(ValueError, match="use MLP"):
            network.encoder(shape, 6)
        return
    encoder, decoder = network.encoder(shape, 6), network.decoder(3, shape)
    assert encoder(torch.randn(5, *shape)).shape == (5, 6)
    assert decoder(torch.randn(5, 3)).shape == (5, *shape)


@pytest.mark.parametrize("name", NETWORKS)
def test_an_observation_is_encoded_alone(name):
    """No layer mixes the examples of a batch: the objective is a sum over observations."""
    encoder = NETWORKS.build(name).encoder((1, 8, 8), 6)
    x = torch.randn(5, 1, 8, 8)
    torch.testing.assert_close(encoder(x)[2:3], encoder(x[2:3]), rtol=1e-5, atol=1e-6)


def test_conv_says_what_it_cannot_halve():
    with pytest.raises(ValueError, match=r"divisible by 8, got \[1, 28, 28\]"):
        NETWORKS.build({"name": "Conv", "channels": (4, 8, 16)}).encoder((1, 28, 28), 2)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_of_strength_zero_is_none(name):
    strength = next(iter(CORRUPTIONS.keywords(name)))
    corruption, x = CORRUPTIONS.build({"name": name, strength: 0.0}), torch.rand(6, 1, 8, 8)
    noise = corruption.draw(tuple(x.shape), torch.Generator().manual_seed(0))
    assert torch.equal(corruption(x, noise), x)


@pytest.mark.parametrize(("name", "values"), [("Masking", {0.0}), ("SaltAndPepper", {0.0, 1.0})])
def test_a_corruption_of_strength_one_leaves_nothing(name, values):
    corruption, x = CORRUPTIONS.build({"name": name, "fraction": 1.0}), 0.2 + 0.5 * torch.rand(50, 64)
    noise = corruption.draw(tuple(x.shape), torch.Generator().manual_seed(0))
    assert set(corruption(x, noise).unique().tolist()) == values


@pytest.mark.parametrize("name", ["Masking", "SaltAndPepper"])
def test_a_corruption_touches_the_share_it_says(name):
    """Of 64 000 pixels at p = 0.3, the share is within 5 standard errors (0.009): a false alarm once in 1.7 million."""
    corruption, x = CORRUPTIONS.build({"name": name, "fraction": 0.3}), torch.full((1000, 64), 0.5)
    noise = corruption.draw(tuple(x.shape), torch.Generator().manual_seed(0))
    assert abs(float((corruption(x, noise) != x).float().mean()) - 0.3) < 0.009


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_ends_at_beta_and_never_exceeds_it(name):
    schedule = SCHEDULES.build(name)
    factors = torch.stack([schedule(p) for p in torch.linspace(0, 1, 101)])
    assert factors.min() >= 0
    assert factors.max() <= 1
    assert factors[-1] == 1


def test_warm_up_is_a_straight_line():
    schedule = SCHEDULES.build({"name": "LinearWarmup", "share": 0.5})
    at = [float(schedule(torch.tensor(p))) for p in (0.0, 0.125, 0.25, 0.5, 0.9)]
    assert at == pytest.approx([0, 0.25, 0.5, 1, 1], abs=1e-6)
    assert float(SCHEDULES.build({"name": "LinearWarmup", "share": 0.0})(torch.tensor(0.0))) == 1


def test_cycles_repeat():
    schedule = SCHEDULES.build({"name": "Cyclic", "cycles": 2, "share": 0.5})
    at = [float(schedule(torch.tensor(p))) for p in (0.0, 0.125, 0.25, 0.45, 0.5, 0.625, 0.75, 1.0)]
    assert at == pytest.approx([0, 0.5, 1, 1, 0, 0.5, 1, 1], abs=1e-6)
