"""Linear autoencoders as rulers: trained, they are what the oracle says; and the comparisons with known truth."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from vaebench.config.registry import MODELS
from vaebench.data.datamodule import DataModule
from vaebench.data.datasets.published import Digits
from vaebench.data.datasets.synthetic import LinearGaussian
from vaebench.evaluation.known_truth import affine_decoder, angle_between, compare_with_truth, without_subspace
from vaebench.models.base import Autoencoder
from vaebench.oracle import LinearAutoencoder, Spectrum
from vaebench.training.step import training_step

SPECTRUM = Spectrum.given(
    [4.0, 2.0, 1.0, 0.5, 0.2, 0.1], torch.linalg.qr(torch.arange(36.0).view(6, 6).double().sin())[0]
)


def trained(spec: dict[str, Any], x: Tensor, count: int, decay: float = 0.0) -> Autoencoder:
    model = MODELS.build({"network": "Affine", "likelihood": "Gaussian", "learning_rate": 0.03, **spec}, x.shape[1:], 1)
    model.prepare(x)
    model.optimizer = partial(torch.optim.Adam, weight_decay=decay)
    optimizer, stream = model.configure_optimizers(), torch.Generator().manual_seed(0)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, count)
    for _ in range(count):
        training_step(model, x, model.noise(len(x), stream), optimizer)
        rate.step()
    return model.eval()


@torch.no_grad()
def matrix(model: Autoencoder) -> Tensor:
    dim = model.shape[0]
    return (model(torch.eye(dim)) - model(torch.zeros(1, dim))).mT.double()


@pytest.mark.parametrize("units", [1, 3, 6])
def test_a_linear_autoencoder_finds_the_principal_subspace(units):
    x, best = SPECTRUM.points.float(), LinearAutoencoder(SPECTRUM, units)
    model = trained({"name": "AE", "latent_dim": units}, x, 400)
    with torch.no_grad():
        error = float((model(x) - x).square().sum(1).mean())
    assert error == pytest.approx(best.squared_error, rel=1e-3, abs=1e-4)
    assert best.squared_error == pytest.approx(SPECTRUM.tail(units))
    torch.testing.assert_close(matrix(model), best.matrix, rtol=0, atol=0.01)
    assert angle_between(affine_decoder(model), SPECTRUM.directions[:, :units]) < 1.0


@pytest.mark.parametrize("decay", [0.3, 1.5])
def test_weight_decay_shrinks_the_directions_and_kills_units(decay):
    """Kunin et al. 2019: max(0, 1 − c/λ_i); at c = 1.5 two of three units survive."""
    best = LinearAutoencoder(SPECTRUM, 3, decay=decay)
    model = trained({"name": "AE", "latent_dim": 3}, SPECTRUM.points.float(), 500, decay)
    torch.testing.assert_close(matrix(model), best.matrix, rtol=0, atol=0.01)
    assert int((best.gains > 0).sum()) == (3 if decay < 1 else 2)


def test_a_linear_denoiser_is_the_closed_form_of_its_rank():
    """600 rows with fresh noise in each of 500 steps; the last steps, of small size, average it."""
    std, units = 0.8, 3
    x = SPECTRUM.points.float().repeat(50, 1)
    corruption = {"name": "GaussianNoise", "std": std}
    model = trained({"name": "DenoisingAE", "latent_dim": units, "corruption": corruption}, x, 500)
    best = LinearAutoencoder(SPECTRUM, units, std**2)
    assert (matrix(model) - best.matrix).norm() < 0.05 * best.matrix.norm()
    assert best.squared_error == pytest.approx(float(sum(v * 0.64 / (v + 0.64) for v in (4, 2, 1)) + 0.8))


def test_what_is_known_of_the_data_is_compared_and_the_rest_says_why_not():
    data = DataModule(LinearGaussian(dim=6, latent_dim=2, noise=0.1, n=2000), batch_size=100)
    data.setup()
    corruption = {"name": "GaussianNoise", "std": 0.5}
    model = trained({"name": "DenoisingAE", "latent_dim": 6, "corruption": corruption}, data.train.x, 200)
    seen = compare_with_truth(model, data, "test", 0)
    found = {e.name: e for e in seen.estimates}
    assert found["score_error"].n == 400
    assert found["score_error"].value < 0.1 < 6 * 0.5**2  # that of the identity, r(x̃) = x̃, is above
    assert found["principal_angle"].value < 1e-6  # six units of six dimensions
    assert seen.not_applicable["dictionary_mcc"] == "the dictionary of LinearGaussian is not known"
    other = DataModule(Digits(), batch_size=100)
    other.setup()
    deep = MODELS.build({"name": "AE", "likelihood": "Gaussian"}, (1, 8, 8), 0)
    reasons = compare_with_truth(deep, other, "test", 0)
    assert not reasons.estimates
    assert (
        reasons.not_applicable["principal_angle"]
        == "the decoder of this AE is not affine, or its likelihood is not Gaussian"
    )
    assert reasons.not_applicable["score_error"] == "the density of Digits is not known"
    plain = compare_with_truth(MODELS.build({"name": "AE"}, (6,), 0), data, "test", 0)
    assert plain.not_applicable["score_error"] == "AE is no denoiser"


@pytest.mark.parametrize(
    ("spec", "is_affine"),
    [
        ({"name": "AE", "network": "Affine"}, True),
        ({"name": "AE", "network": {"name": "MLP", "hidden": [5], "activation": "Identity"}}, True),
        ({"name": "SparseAE"}, True),
        ({"name": "LinearVAE"}, True),
        ({"name": "AE", "network": {"name": "MLP", "hidden": [5], "activation": "Tanh"}}, False),
        ({"name": "AE", "network": {"name": "MLP", "hidden": [5]}}, False),
        ({"name": "AE", "network": "Affine", "likelihood": "Bernoulli"}, False),
    ],
    ids=str,
)
@pytest.mark.parametrize("offset", [0.0, 1e4], ids=["centred", "far from 0"])
def test_an_affine_decoder_is_recognised_by_what_it_computes(spec, is_affine, offset):
    model = MODELS.build({"likelihood": "Gaussian", "latent_dim": 3, **spec}, (7,), 0)
    with torch.no_grad():
        model.decoder.output_bias.add_(offset)
    found = affine_decoder(model)
    assert (found is not None) == is_affine
    if found is not None:
        z = torch.randn(4, 3)
        with torch.no_grad():
            expected = model.parameters_at(z) - model.parameters_at(torch.zeros(1, 3))
        rounding = 1e-5 + 4 * torch.finfo(torch.float32).eps * offset
        torch.testing.assert_close((z.double() @ found.mT).float(), expected, rtol=1e-4, atol=rounding)


def test_a_subspace_that_the_data_does_not_determine_has_no_angle():
    equal = Spectrum.given([3.0, 1.0, 1.0, 0.2])
    assert without_subspace(equal, 1) is without_subspace(equal, 3) is without_subspace(equal, 4) is None
    assert "eigenvalues 2 and 3 of the data are equal" in without_subspace(equal, 2)
    assert "5 units are more than the 4 dimensions" in without_subspace(equal, 5)
    line = torch.eye(3, dtype=torch.float64)[:, :1]
    assert angle_between(torch.cat([line, 2 * line], 1), torch.eye(3, dtype=torch.float64)[:, :2]) == 90.0
