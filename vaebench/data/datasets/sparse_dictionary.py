"""Synthetic data for sparse autoencoders: sums of few features, whose directions are known."""

from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float64
from torch import Tensor

from vaebench.config.registry import DATASETS, Fraction, NonNegative, PositiveInt, Seed
from vaebench.config.seeding import generator
from vaebench.data.datasets.base import TEST, VALIDATION, Dataset, Examples, Preview, Splits, training_size


@DATASETS.register
class SparseDictionary(Dataset):
    """Vectors x = Σ_j a_j d_j + σε. Each feature j is active by itself; then a_j is uniform on [0.5, 1.5], else 0.

    The directions d_j have norm 1. They are random, so they overlap where there are more features than dimensions. This
    is the picture that sparse autoencoders start from (Elhage et al. 2022; Sharkey et al. 2022). Split 70/10/20.

    Args:
        dim: D, the length of an observation.
        features: the number of features.
        active: the probability that a feature is active.
        noise: σ².
        orthonormal: whether the directions are orthogonal to each other.
        n: the number of observations of all splits together.
        data_seed: seed of directions and observations. The seed of a run does not change them.

    Raises:
        ValueError: if there are more orthonormal features than dimensions.
    """

    support = "real"

    def __init__(
        self,
        *,
        dim: PositiveInt = 32,
        features: PositiveInt = 64,
        active: Fraction = 0.05,
        noise: NonNegative = 0.001,
        orthonormal: bool = False,
        n: PositiveInt = 10_000,
        data_seed: Seed = 0,
    ) -> None:
        super().__init__()
        if orthonormal and features > dim:
            raise ValueError(f"expected features ≤ dim for orthonormal directions, got {features} > {dim}")
        self.dim, self.features, self.active, self.noise = dim, features, active, noise
        self.orthonormal, self.n, self.data_seed = orthonormal, n, data_seed

    @cached_property
    def dictionary(self) -> Float64[Tensor, "D F"]:
        """The directions d_j, as columns."""
        stream = generator(self.data_seed, "sparse dictionary")
        drawn = torch.randn(self.dim, self.features, generator=stream, dtype=torch.float64)
        return torch.linalg.qr(drawn)[0] if self.orthonormal else drawn / drawn.norm(dim=0)

    def load(self, root: Path) -> Splits:
        stream = generator(self.data_seed, "sparse observations")
        uniform = torch.rand(2, self.n, self.features, generator=stream, dtype=torch.float64)
        strength = torch.where(uniform[0] < self.active, 0.5 + uniform[1], 0.0)
        noise = torch.randn(self.n, self.dim, generator=stream, dtype=torch.float64)
        return Splits.of(Examples((strength @ self.dictionary.mT + self.noise**0.5 * noise).float()), scale=1.0)

    def preview(self, root: Path) -> Preview:
        return Preview(training_size(self.n, TEST, VALIDATION), (self.dim,))
