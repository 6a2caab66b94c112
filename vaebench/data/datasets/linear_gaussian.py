"""Synthetic data from a linear-Gaussian model, whose exact log p(x) calibrates the suite."""

from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from vaebench.config.registry import DATASETS, NonNegative, Positive, PositiveInt, Seed, Validation
from vaebench.config.seeding import generator
from vaebench.data.datasets.base import TEST, Dataset, Examples, Preview, Splits, training_size
from vaebench.oracle.probabilistic_pca import ProbabilisticPCA


@DATASETS.register
class LinearGaussian(Dataset):
    """Vectors x = Wz + μ + σε with z and ε standard normal, W's columns orthogonal; log p(x) is exact. Split 70/10/20.

    The population's covariance has the eigenvalues signal_i + σ², and σ² for the D − L others.

    Args:
        dim: D, the length of an observation.
        latent_dim: L, the number of columns of W.
        noise: σ².
        signal: squared norms of the L columns; the default is 4, 2, 1, …, each half of the one before.
        n: the number of observations of all splits together.
        data_seed: seed of W, μ and the observations. The seed of a run does not change them.
        validation: 0 for no validation split: its examples are trained on.

    Raises:
        ValueError: if there are more columns than dimensions, or another number of signals than columns.
    """

    support = "real"

    def __init__(
        self,
        *,
        dim: PositiveInt = 16,
        latent_dim: PositiveInt = 4,
        noise: Positive = 0.1,
        signal: tuple[NonNegative, ...] | None = None,
        n: PositiveInt = 5000,
        data_seed: Seed = 0,
        validation: Validation = None,
    ) -> None:
        super().__init__(validation=validation)
        if latent_dim > dim:
            raise ValueError(f"expected latent_dim ≤ dim, got {latent_dim} > {dim}: W's columns are orthogonal")
        self.signal = tuple(4.0 * 0.5**i for i in range(latent_dim)) if signal is None else tuple(signal)
        if len(self.signal) != latent_dim:
            raise ValueError(f"expected one signal for each of {latent_dim} columns, got {len(self.signal)}")
        self.dim, self.latent_dim, self.noise, self.n, self.data_seed = dim, latent_dim, noise, n, data_seed

    @cached_property
    def model(self) -> ProbabilisticPCA:
        """The distribution of the observations."""
        stream = generator(self.data_seed, "linear-gaussian model")
        directions = torch.linalg.qr(torch.randn(self.dim, self.latent_dim, generator=stream, dtype=torch.float64))[0]
        mean = torch.randn(self.dim, generator=stream, dtype=torch.float64)
        return ProbabilisticPCA(mean, directions * torch.tensor(self.signal).double().sqrt(), self.noise)

    def evidence(self, x: Float[Tensor, "N D"]) -> Float[Tensor, " N"]:
        """The exact log p(x) of every observation, in nats, float64."""
        return self.model.log_prob(x)

    def load(self, root: Path) -> Splits:
        x, _ = self.model.sample(self.n, generator(self.data_seed, "linear-gaussian observations"))
        return Splits.of(Examples(x.float()), scale=1.0, validation=self.held_out())

    def preview(self, root: Path) -> Preview:
        return Preview(training_size(self.n, TEST, self.held_out()), (self.dim,))
