"""Synthetic data of known origin: the distribution of vectors, their directions, or the factors of images."""

from collections.abc import Callable
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Float64
from numpy.typing import NDArray
from torch import Tensor

from vaebench.config.registry import DATASETS, Fraction, NonNegative, Positive, PositiveInt, Seed, Validation
from vaebench.config.seeding import generator
from vaebench.data.datasets.base import TEST, VALIDATION, Dataset, Examples, Preview, Splits, training_size
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


POINTS = 4
"""Points along each side of a pixel at which a shape is drawn: its grey level is the share of them that lie inside."""

SIZES = (0.5, 1.0)  # the smallest and the largest scale, as shares of a shape's largest size
CHUNK = 256  # images that are drawn at a time

Grid = NDArray[np.float64]


def _square(u: Grid, v: Grid) -> NDArray[np.bool_]:
    return np.maximum(abs(u), abs(v)) <= 0.8


def _ellipse(u: Grid, v: Grid) -> NDArray[np.bool_]:
    return u**2 + (v / 0.5) ** 2 <= 1


def _heart(u: Grid, v: Grid) -> NDArray[np.bool_]:
    a, b = 1.25 * u, 1.25 * v + 0.1
    return (a**2 + b**2 - 1) ** 3 <= a**2 * b**3


SHAPES: tuple[Callable[[Grid, Grid], NDArray[np.bool_]], ...] = (_square, _ellipse, _heart)
"""Whether a point is inside a shape that reaches about 1 in each direction."""


@DATASETS.register
class Sprites(Dataset):
    """White squares, ellipses and hearts on black, with the factors shape, scale, rotation, x and y. Split 70/10/20.

    Nothing is loaded or downloaded. Every image has its factors, numbered from 0, and its shape as the label. Rotations
    are within a quarter turn: another turn of a square would give the same image.

    Args:
        size: the number of pixels of each side.
        shapes: of square, ellipse and heart, the first so many.
        scales: values of the scale, evenly from half the size to all of it.
        rotations: values of the rotation, evenly within 90°.
        positions: values of x, and as many of y.
        n: the number of combinations, drawn without repetition; None for all of them.
        data_seed: seed of that draw. The seed of a run does not change it.

    Raises:
        ValueError: if there are not so many combinations.
    """

    support = "unit"

    def __init__(
        self,
        *,
        size: PositiveInt = 16,
        shapes: Literal[1, 2, 3] = 3,
        scales: PositiveInt = 3,
        rotations: PositiveInt = 4,
        positions: PositiveInt = 8,
        n: PositiveInt | None = None,
        data_seed: Seed = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.size, self.grid, self.data_seed = size, (shapes, scales, rotations, positions, positions), data_seed
        self.n = prod(self.grid) if n is None else n
        if self.n > prod(self.grid):
            raise ValueError(f"expected n of at most {prod(self.grid)}, the combinations of all factors, got {n}")

    def load(self, root: Path) -> Splits:
        chosen = np.arange(prod(self.grid))
        if self.n < len(chosen):
            chosen = np.sort(np.random.RandomState(self.data_seed).permutation(chosen)[: self.n])
        factors = np.stack(np.unravel_index(chosen, self.grid), 1).astype(np.int64)
        parts = np.array_split(factors, -(-len(factors) // CHUNK))
        images = torch.from_numpy(np.concatenate([self.images(part) for part in parts]))
        label = torch.from_numpy(factors[:, 0].copy())
        return Splits.of(Examples(images, label, torch.from_numpy(factors)), 255.0, self.held_out())

    def preview(self, root: Path) -> Preview:
        return Preview(training_size(self.n, TEST, self.held_out()), (1, self.size, self.size))

    def images(self, factors: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The images `[N, 1, size, size]` with these factors `[N, 5]`."""
        _, scales, rotations, columns, rows = self.grid
        shape = factors[:, 0]
        radius = 0.4 * _between(*SIZES, factors[:, 1], scales)
        angle = np.pi / 2 * factors[:, 2] / rotations
        # A shape stays inside the image: its largest radius is 0.4 of a half of it, at any rotation.
        centre = [0.45 * _between(-1.0, 1.0, factors[:, 3 + i], count) for i, count in enumerate((columns, rows))]
        place = (np.arange(self.size * POINTS) + 0.5) / (self.size * POINTS) * 2 - 1
        x = (place[None, None, :] - centre[0][:, None, None]) / radius[:, None, None]
        y = (place[None, :, None] - centre[1][:, None, None]) / radius[:, None, None]
        c, s = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
        u, v = c * x + s * y, c * y - s * x
        inside = np.zeros(u.shape, bool)
        for i, is_inside in enumerate(SHAPES):
            if (of_this := shape == i).any():
                inside[of_this] = is_inside(u[of_this], -v[of_this])
        level = inside.reshape(len(factors), 1, self.size, POINTS, self.size, POINTS).mean((3, 5))
        return np.round(255 * level).astype(np.uint8)


def _between(low: float, high: float, index: NDArray[np.int64], count: int) -> Grid:
    """`count` even values from low to high, at these indices; the middle if there is one value only."""
    return low + (high - low) * (index / (count - 1) if count > 1 else np.full(index.shape, 0.5))
