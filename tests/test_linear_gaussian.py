"""The synthetic data set: what it says of its own distribution, and that its observations come from there."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import chi2, kstest, multivariate_normal

from vaebench.config.registry import DATASETS
from vaebench.data.datasets.synthetic import LinearGaussian
from vaebench.oracle.spectrum import Spectrum

CASES = [
    {},
    {"dim": 5, "latent_dim": 5, "noise": 0.01, "signal": (1.0,) * 5},  # degenerate, square
    {"dim": 30, "latent_dim": 3, "noise": 2.0, "signal": (0.0, 9.0, 0.5), "data_seed": 7},
    {"dim": 1, "latent_dim": 1},
]


@pytest.mark.parametrize("keywords", CASES)
def test_population_spectrum(keywords: dict) -> None:
    """The covariance has the eigenvalues signal + σ², and σ² in every other direction."""
    data = LinearGaussian(**keywords)
    expected = sorted([*(s + data.noise for s in data.signal), *[data.noise] * (data.dim - data.latent_dim)])
    np.testing.assert_allclose(torch.linalg.eigvalsh(data.model.covariance), expected, rtol=1e-12)


@pytest.mark.parametrize("keywords", CASES)
def test_evidence_is_the_density_of_what_is_loaded(keywords: dict) -> None:
    data = LinearGaussian(**keywords)
    x = data.load(Path()).test.x[:50]
    reference = multivariate_normal(data.model.mean.numpy(), data.model.covariance.numpy())
    np.testing.assert_allclose(data.evidence(x), np.atleast_1d(reference.logpdf(x.double())), rtol=1e-10)


@pytest.mark.parametrize("keywords", CASES)
def test_observations_come_from_the_model(keywords: dict) -> None:
    """Squared Mahalanobis lengths are χ²_D (Kolmogorov-Smirnov), and so is the mean's over all observations.

    False-alarm rate 1e-4 for each of the two (the draws are fixed, so they alarm always or never).
    """
    data = LinearGaussian(**keywords)
    x = torch.cat([split.x for split in data.load(Path())[:3]]).double() - data.model.mean
    inverse = torch.linalg.inv(data.model.covariance)
    squares = ((x @ inverse) * x).sum(-1)
    assert kstest(squares.numpy(), chi2(data.dim).cdf).pvalue > 1e-4
    assert chi2(data.dim).sf(float(len(x) * x.mean(0) @ inverse @ x.mean(0))) > 1e-4


def test_shapes_splits_and_repeatability() -> None:
    splits, again = LinearGaussian(n=1000).load(Path()), LinearGaussian(n=1000).load(Path("elsewhere"))
    assert [tuple(s.x.shape) for s in splits[:3]] == [(700, 16), (100, 16), (200, 16)]
    assert splits.train.x.dtype == torch.float32
    assert splits.train.label is None
    assert splits.scale == 1.0
    assert all(torch.equal(a.x, b.x) for a, b in zip(splits[:3], again[:3], strict=True))
    assert not torch.equal(splits.train.x, LinearGaussian(n=1000, data_seed=1).load(Path()).train.x)


def test_more_observations_leave_the_model_alone() -> None:
    assert torch.equal(LinearGaussian(n=10).model.weight, LinearGaussian(n=20, noise=1.0).model.weight)


def test_sample_spectrum_tends_to_the_populations() -> None:
    """At n = 20 000, each eigenvalue within 5 asymptotic standard errors λ√(2/n) (false alarms below 1e-5)."""
    data = LinearGaussian(dim=6, latent_dim=3, n=20_000, signal=(8.0, 4.0, 1.0), noise=0.5)
    x = torch.cat([split.x for split in data.load(Path())[:3]])
    found = Spectrum.of(x).eigenvalues[:3]
    exact = torch.tensor([8.5, 4.5, 1.5], dtype=torch.float64)
    assert bool(((found - exact).abs() < 5 * exact * (2 / 20_000) ** 0.5).all())


def test_what_yaml_may_set() -> None:
    assert set(DATASETS.keywords("LinearGaussian")) == {
        "dim",
        "latent_dim",
        "noise",
        "signal",
        "n",
        "data_seed",
        "validation",
    }
    assert isinstance(DATASETS.build({"name": "LinearGaussian", "dim": 3, "latent_dim": 1}), LinearGaussian)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [({"dim": 2, "latent_dim": 3}, "latent_dim ≤ dim"), ({"latent_dim": 2, "signal": (1.0,)}, "one signal for each")],
)
def test_impossible_problems_are_refused(keywords: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LinearGaussian(**keywords)
