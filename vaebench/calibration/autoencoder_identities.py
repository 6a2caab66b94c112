"""Identities of autoencoders that have closed forms: what a linear one learns, and what contraction penalises.

A linear autoencoder is brought to the minimum of the product's own objective by L-BFGS in float64. The expectation over
Gaussian noise is exact: the objective is quadratic in the noise, and the 2D vectors ±√D e_j have its first two moments.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Float64
from torch import Tensor

from vaebench.config.seeding import generator
from vaebench.data.datasets.synthetic import LinearGaussian
from vaebench.models.ae import AE, DenoisingAE, StochasticContractiveAE, squared_jacobian
from vaebench.oracle import Spectrum
from vaebench.records.record import Estimate

UNITS = 4
"""L, of the linear autoencoders."""

NOISE = 0.8
"""s, the standard deviation of the corruption of the linear denoising autoencoder."""

DECAY = 0.6
"""λ, the weight decay: larger than the last eigenvalue that the units would keep, so that one of them dies."""

SMALL = 1e-3
"""s → 0."""

LIKELIHOOD = {"name": "Gaussian", "variance": 0.5}
"""−log p(x|z) = ‖x − x̂‖² + a constant."""


def linear_denoising(seed: int) -> Iterator[Estimate]:
    """How far a linear denoising autoencoder is from U_L diag(λ/(λ + s²)) U_Lᵀ, as a share of its norm."""
    x, spectrum = _data()
    noise = moments(x.shape[1])
    many, noises = x.repeat_interleave(len(noise), 0), noise.repeat(len(x), 1)
    model = DenoisingAE((x.shape[1],), seed, corruption={"name": "GaussianNoise", "std": NOISE}, **_linear()).double()
    _minimise(model, lambda: -model.objective(many, noises).mean())
    values, directions = spectrum.eigenvalues[:UNITS], spectrum.directions[:, :UNITS]
    exact = directions * (values / (values + NOISE**2)) @ directions.mT
    yield Estimate("residual", float((_map(model) - exact).norm() / exact.norm()), n=len(x))
    yield Estimate("rank", float(torch.linalg.matrix_rank(_map(model), rtol=1e-6)))


def linear_subspace(seed: int) -> Iterator[Estimate]:
    """The squared error of a linear autoencoder over Σ_{i>L} λ_i, and the sine of its angle to the principal ones."""
    x, spectrum = _data()
    model = AE((x.shape[1],), seed, **_linear()).double()
    _minimise(model, lambda: -model.objective(x, x).mean())
    with torch.no_grad():
        error = float((x - model.decoder(model.encoder(x))).square().sum(1).mean())
        span = torch.linalg.qr(_weights(model)[1])[0]
    yield Estimate("error_over_discarded", error / float(spectrum.eigenvalues[UNITS:].sum()), n=len(x))
    outside = span - spectrum.directions[:, :UNITS] @ (spectrum.directions[:, :UNITS].mT @ span)
    yield Estimate("sine_to_principal_subspace", float(torch.linalg.matrix_norm(outside, 2)), n=len(x))


def regularised_linear(seed: int) -> Iterator[Estimate]:
    """Under λ(‖W₁‖² + ‖W₂‖²): the squared singular values of the decoder against max(0, 1 − λ/σ²), and its axes."""
    x, spectrum = _data()
    model = AE((x.shape[1],), seed, **_linear()).double()

    def loss() -> Tensor:
        decay = sum(weight.square().sum() for weight in _weights(model))
        return DECAY * decay - model.objective(x, x).mean()

    _minimise(model, loss)
    axes, singular, _ = torch.linalg.svd(_weights(model)[1].detach(), full_matrices=False)
    exact = (1 - DECAY / spectrum.eigenvalues[:UNITS]).clamp(min=0)
    yield Estimate("squared_singular_values", singular.square().tolist(), n=len(x))
    yield Estimate("largest_difference", float((singular.square() - exact).abs().max()), n=len(x))
    alive = int((exact > 0).sum())
    cosines = (axes[:, :alive] * spectrum.directions[:, :alive]).sum(0).abs()
    yield Estimate("smallest_cosine_of_axes", float(cosines.min()), n=len(x))
    yield Estimate("dead_units", float((singular.square() < 1e-6).sum()))


def contraction(seed: int) -> Iterator[Estimate]:
    """‖∂h/∂x‖² against its closed forms, and E‖h(x + sε) − h(x)‖² against s²‖∂h/∂x‖²; each as a ratio."""
    x, _ = _data()
    x = x[:50]
    linear = StochasticContractiveAE((x.shape[1],), seed, corruption=_noise(NOISE), **_linear())
    linear.double().requires_grad_(False)
    norm = float(_weights(linear)[0].square().sum())
    yield Estimate("linear_jacobian", float(squared_jacobian(linear.encoder, x).mean()) / norm, n=len(x))
    yield Estimate("linear_noise", _moved(linear, x) / (NOISE**2 * norm), n=len(x))
    network = {"name": "ActivatedMLP", "hidden": [], "activation": "Sigmoid"}
    sigmoid = StochasticContractiveAE(
        (x.shape[1],), seed, corruption=_noise(SMALL), latent_dim=UNITS, network=network, likelihood=LIKELIHOOD
    )
    sigmoid.double().requires_grad_(False)
    code, weight = sigmoid.encoder(x), _weights(sigmoid)[0]
    exact = float(((code * (1 - code)).square() @ weight.square().sum(1)).mean())
    jacobian = float(squared_jacobian(sigmoid.encoder, x).mean())
    yield Estimate("sigmoid_jacobian", jacobian / exact, n=len(x))
    yield Estimate("sigmoid_small_noise", _moved(sigmoid, x) / (SMALL**2 * jacobian), n=len(x))


def moments(dim: int) -> Float64[Tensor, "K D"]:
    """K = 2D vectors with mean 0 and the covariance I exactly."""
    axes = torch.eye(dim, dtype=torch.float64) * dim**0.5
    return torch.cat([axes, -axes])


def _moved(model: StochasticContractiveAE, x: Tensor) -> float:
    """E‖h(x + sε) − h(x)‖² of the objective: what its penalty takes from the likelihood, at λ = 1."""
    noise = moments(x.shape[1])
    many, noises = x.repeat_interleave(len(noise), 0), noise.repeat(len(x), 1)
    likelihood = model.likelihood.log_prob(model.decoder(model.encoder(many)), many)
    return float((likelihood - model.objective(many, noises)).mean())


def _data() -> tuple[Float64[Tensor, "N D"], Spectrum]:
    """Observations of eight dimensions with well separated eigenvalues, and their spectrum."""
    data = LinearGaussian(dim=8, latent_dim=5, noise=0.1, signal=(6.0, 3.0, 1.5, 0.4, 0.2))
    x = data.model.sample(200, generator(0, "identities of autoencoders"))[0].double()
    return x, Spectrum.of(x)


def _linear() -> dict[str, Any]:
    return {"latent_dim": UNITS, "network": "Affine", "likelihood": LIKELIHOOD}


def _noise(std: float) -> dict[str, Any]:
    return {"name": "GaussianNoise", "std": std}


def _weights(model: AE) -> list[Tensor]:
    """The matrices of the encoder and of the decoder."""
    return [p for p in model.parameters() if p.ndim == 2]


def _map(model: AE) -> Tensor:
    """The matrix of the whole linear autoencoder."""
    first, second = _weights(model)
    return (second @ first).detach()


def _minimise(model: AE, loss: Callable[[], Tensor]) -> None:
    """Bring a model to a minimum, as far as float64 allows."""
    optimizer = torch.optim.LBFGS(
        model.parameters(), max_iter=5000, tolerance_grad=1e-12, tolerance_change=0.0, history_size=50,
        line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    optimizer.step(closure)
