"""Fault: the covariance with N − 1 as the ELBO's ceiling.

The highest evidence that a linear VAE reaches on N observations follows from the eigenvalues of their covariance,
divided by N. Public code takes `cov`, which divides by N − 1: the "maximum" comes out too low by D/2·log(N/(N − 1)),
and a model that trains well passes it. Right: N.
"""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from vaebench.oracle import maximum_likelihood
from vaebench.oracle.probabilistic_pca import ProbabilisticPCA
from vaebench.oracle.spectrum import Spectrum


def maximum_by_numpys_covariance(x: Tensor, latent_dim: int) -> float:
    """−½[D log 2π + Σ_{i≤L} log λ_i + (D − L) log σ² + D] with the eigenvalues of `np.cov(x)`."""
    eigenvalues = np.linalg.eigvalsh(np.cov(x.numpy(), rowvar=False))[::-1]
    dim, variance = len(eigenvalues), eigenvalues[latent_dim:].mean()
    log_det = np.log(eigenvalues[:latent_dim]).sum() + (dim - latent_dim) * np.log(variance)
    return float(-0.5 * (dim * np.log(2 * np.pi) + log_det + dim))


def test_a_trained_model_passes_the_ceiling(linear_vae, ours, show):
    """By D/2·log(N/(N − 1)) = 0.38 nats at D = 30, N = 40. Ours is the evidence that the model attains, to rounding."""
    n, dim, latent_dim = 40, 30, 3
    stream = torch.Generator().manual_seed(0)
    weight = 2 * torch.randn(dim, latent_dim, generator=stream, dtype=torch.float64)
    x, _ = ProbabilisticPCA(torch.zeros(dim), weight, 0.5).sample(n, stream)
    wrong = maximum_by_numpys_covariance(x, latent_dim)
    point = maximum_likelihood(Spectrum.of(x), latent_dim)
    attained = float(point.model.log_prob(x).mean())
    elbo = ours(linear_vae(point.model, point.posterior), x.split(16), "ELBO")["elbo"].value
    show("highest ELBO, from the covariance with N − 1", wrong, point.evidence, attained)
    assert elbo == pytest.approx(attained, abs=1e-9)
    assert elbo - wrong == pytest.approx(dim / 2 * math.log(n / (n - 1)), abs=1e-9)
    assert point.evidence == pytest.approx(attained, abs=1e-9)


def test_the_published_maximum_was_low_by_as_much():
    """1000 MNIST images, L = 200: 941.654 was printed, 942.0465 is the maximum, and training came to 941.95 between."""
    assert 941.654 + 784 / 2 * math.log(1000 / 999) == pytest.approx(942.0465, abs=1e-3)
    assert 941.654 < 941.95 < 942.0465
