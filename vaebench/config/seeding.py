"""Randomness has an address: (seed of the run, what it is for).

Every stream of a run comes from a generator of its own, so that the data order does not change when a model draws more
noise, and runs that share a seed share their order and noise whatever else differs (common random numbers).
"""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def stream(seed: int, purpose: str) -> int:
    """The 63-bit seed of one stream of a run, e.g. `stream(0, "noise")`."""
    words = np.random.SeedSequence([seed, zlib.crc32(purpose.encode())]).generate_state(1, np.uint64)
    return int(words[0] >> 1)


def generator(seed: int, purpose: str, device: torch.device | str = "cpu") -> torch.Generator:
    """A fresh generator for one stream of a run, on the device that will use it."""
    return torch.Generator(device).manual_seed(stream(seed, purpose))


@contextmanager
def seeded(seed: int, purpose: str) -> Iterator[None]:
    """A block in which torch's global generator is the one of this stream, as `nn.Module` constructors want it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream(seed, purpose))
        yield
