"""Find observations that are in two splits. On these, a model is evaluated with examples from its training."""

import numpy as np
from jaxtyping import Shaped
from numpy.typing import NDArray
from torch import Tensor

CHUNK = 2**22
"""The number of 64-bit words that are hashed at a time."""

MOST = 2**30
"""Splits with more numbers than this, together, are not compared, because it would take too long."""


def repeated(seen: Shaped[Tensor, "N *shape"], other: Shaped[Tensor, "M *shape"]) -> int | None:
    """Count the observations of the second split that are equal to one in the first; None if the splits are too large.

    Candidates are found by a 64-bit hash and then compared, so the count is exact.
    """
    if seen.numel() + other.numel() > MOST:
        return None
    ours, theirs = _octets(seen), _octets(other)
    hashes, wanted = _hashes(ours), _hashes(theirs)
    order = np.argsort(hashes, kind="stable")
    place = np.minimum(np.searchsorted(hashes[order], wanted), len(order) - 1)
    like = order[place]
    (found,) = np.nonzero(hashes[like] == wanted)
    return int(sum((ours[like[i]] == theirs[i]).all() for i in found))


def _octets(x: Tensor) -> NDArray[np.uint8]:
    """Every observation as a row of bytes. Equal numbers have equal bytes: -0.0 becomes 0.0."""
    rows = x.reshape(len(x), -1)
    array = (rows + 0.0 if rows.is_floating_point() else rows).contiguous().numpy()
    return array.view(np.uint8)


def _hashes(rows: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """The hash Σ_i w_i m(x_i) mod 2^64 of each row with words x_i. m mixes bits: most floats end in zeros."""
    width = -(-rows.shape[1] // 8)
    weights = np.random.RandomState(0).randint(0, 2**63, width, np.uint64) * np.uint64(2) + np.uint64(1)
    step, parts = max(1, CHUNK // width), []
    for i in range(0, len(rows), step):
        filled = np.zeros((len(rows[i : i + step]), 8 * width), np.uint8)
        filled[:, : rows.shape[1]] = rows[i : i + step]
        parts.append(_mixed(filled.view(np.uint64)) @ weights)
    return np.concatenate(parts)


def _mixed(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    spread = words * np.uint64(0x9E3779B97F4A7C15)
    return spread ^ (spread >> np.uint64(32))
