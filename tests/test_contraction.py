"""The penalties of the contractive autoencoders: against finite differences and closed forms, alone and in a pack."""

from typing import Any

import pytest
import torch
from test_models import SHAPE, build, observations, steps
from test_pack import build as member
from test_pack import check_against_plain
from torch import Tensor

from vaebench.config.registry import NETWORKS
from vaebench.models.ae import squared_jacobian

DEEP = {"name": "MLP", "hidden": [12, 9, 7], "activation": "Tanh"}
SIGMOID = {"name": "ActivatedMLP", "hidden": [], "activation": "Sigmoid"}
SMOOTH = [
    "Affine",
    DEEP,
    SIGMOID,
    {"name": "MLP", "hidden": [30], "activation": "GELU"},
    {"name": "Conv", "channels": [4, 6], "activation": "Softplus"},
]


def penalty(network: Any, x: Tensor, weight: float = 0.7) -> Tensor:
    """What the objective of the contractive autoencoder subtracts, per unit of its weight."""
    plain, model = (build("ContractiveAE", network=network, contraction=c).double() for c in (0.0, weight))
    none = torch.empty(len(x), 0)
    return (plain.objective(x, none) - model.objective(x, none)).detach() / weight


@pytest.mark.parametrize("network", SMOOTH)
def test_the_penalty_agrees_with_finite_differences(network):
    """Central differences with a step of 1e-5 in float64 have an error of about 1e-10 of the derivative."""
    x, step = observations(3).double(), 1e-5
    with torch.no_grad():
        encoder = build("ContractiveAE", network=network).double().encoder
        moves = step * torch.eye(64, dtype=torch.float64).view(64, 1, *SHAPE)
        differences = torch.stack([(encoder(x + m) - encoder(x - m)) / (2 * step) for m in moves])
    torch.testing.assert_close(penalty(network, x), differences.square().sum((0, 2)), rtol=1e-6, atol=1e-9)


def test_a_linear_encoder_pays_its_squared_weights():
    weight = build("ContractiveAE", network="Affine").encoder[1].weight.double()
    x = observations(4).double()
    torch.testing.assert_close(penalty("Affine", x), weight.square().sum().expand(4).detach())


@pytest.mark.parametrize("scale", [1.0, 30.0], ids=["trained little", "saturated"])
def test_a_layer_of_sigmoids_pays_by_the_formula_of_rifai(scale):
    """Σ_j (h_j(1 − h_j))² Σ_i W_ji²."""
    model = build("ContractiveAE", network=SIGMOID).double()
    with torch.no_grad():
        model.encoder[1].weight.mul_(scale)
        x = observations(5).double()
        h = model.encoder(x)
        expected = (h * (1 - h)).square() @ model.encoder[1].weight.square().sum(1)
        torch.testing.assert_close(squared_jacobian(model.encoder, x), expected, rtol=1e-12, atol=0)


def test_the_gradient_of_the_penalty_is_exact():
    """With respect to all weights of a deep encoder, by torch's own finite differences in float64."""
    model = build("ContractiveAE", network={"name": "MLP", "hidden": [3], "activation": "Tanh"}).double()
    x = observations(2).double()

    def of(*weights: Tensor) -> Tensor:
        named = dict(zip([n for n, _ in model.encoder.named_parameters()], weights, strict=True))
        return squared_jacobian(lambda x: torch.func.functional_call(model.encoder, named, x), x)

    assert torch.autograd.gradcheck(of, tuple(model.encoder.parameters()), rtol=1e-6)


@pytest.mark.parametrize("network", NETWORKS)
def test_a_pack_has_the_penalties_that_its_members_have_alone(network):
    check_against_plain(lambda: [member("ContractiveAE", i, network=network, contraction=0.1 + i) for i in range(2)])


@pytest.mark.parametrize("name", ["ContractiveAE", "StochasticContractiveAE"])
def test_without_weight_it_is_the_autoencoder(name):
    assert steps(build(name, contraction=0.0), observations()) == steps(build("AE"), observations())


def spread(model: Any, x: Tensor, draws: int) -> tuple[Tensor, Tensor]:
    """The mean penalty of each observation over noises, and its standard error."""
    noise = torch.randn(draws * len(x), *SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        plain = model.likelihood.log_prob(model.decoder(model.encoder(x)), x)
        paid = (plain - model.objective(x.repeat(draws, 1, 1, 1), noise).view(draws, -1)) / model.contraction
    return paid.mean(0), paid.std(0) / draws**0.5


@pytest.mark.parametrize("std", [0.05, 2.0])
def test_a_linear_code_moves_by_the_noise_times_its_squared_weights(std):
    """E‖h(x + sε) − h(x)‖² = s²‖W‖²_F for any s: 4 observations and 2 noises, each within 4 standard errors of 2000
    draws (a false alarm once in 2000; the seeds are fixed)."""
    corruption = {"name": "GaussianNoise", "std": std}
    model = build("StochasticContractiveAE", network="Affine", corruption=corruption, contraction=0.5).double()
    mean, error = spread(model, observations(4).double(), 2000)
    exact = std**2 * float(model.encoder[1].weight.detach().square().sum())
    assert ((mean - exact).abs() < 4 * error).all()


def test_small_noise_gives_the_contractive_autoencoder():
    """With λs², for a deep encoder: 4 observations, each within 4 standard errors of 4000 draws (a false alarm once in
    4000; the seeds are fixed). The terms of order s⁴ are a millionth of the penalty at s = 1e-3."""
    corruption = {"name": "GaussianNoise", "std": 1e-3}
    model = build("StochasticContractiveAE", network=DEEP, corruption=corruption, contraction=3.0).double()
    x = observations(4).double()
    mean, error = spread(model, x, 4000)
    assert ((mean - 1e-6 * penalty(DEEP, x)).abs() < 4 * error).all()
