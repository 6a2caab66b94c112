"""Sprites: images of one shape each, drawn from factors that are known exactly, like dSprites (Matthey et al. 2017)."""

from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from vaebench.config.registry import BINARIZATIONS, DATASETS, PositiveInt, Seed, Spec, Validation
from vaebench.data.datasets.base import TEST, Dataset, Examples, Preview, Splits, training_size

POINTS = 4
"""Points along each side of a pixel at which a shape is drawn: its grey level is the share of them that lie inside."""

SIZES = (0.5, 1.0)
"""The smallest and the largest scale, as shares of a shape's largest size."""

CHUNK = 256
"""Images that are drawn at a time."""

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
        binarize: how grey levels become 0 and 1 (`Fixed`, `Dynamic`, `Threshold`, `Expected`); None does not change
            them.
        validation: 0 for no validation split: its examples are trained on.

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
        binarize: Annotated[Spec, BINARIZATIONS] | None = None,
        validation: Validation = None,
    ) -> None:
        super().__init__(binarize=binarize, validation=validation)
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
