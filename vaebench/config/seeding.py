"""Random streams. The seed of a run and a purpose, such as "noise", name one stream.

Every stream has its own generator, so the order of the data does not change when a model draws more noise. Runs of the
same seed share their order and noise whatever else differs between them (common random numbers).
"""

import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def stream(seed: int, purpose: str) -> int:
    """The 63-bit seed of one stream of a run, e.g. `stream(0, "noise")`."""
    words = np.random.SeedSequence([seed, zlib.crc32(purpose.encode())]).generate_state(1, np.uint64)
    return int(words[0]) >> 1


def generator(seed: int, purpose: str, device: torch.device | str = "cpu") -> torch.Generator:
    """A new generator for one stream of a run, on the device that will use it."""
    return torch.Generator(device).manual_seed(stream(seed, purpose))


@contextmanager
def seeded(seed: int, purpose: str) -> Iterator[None]:
    """A block in which torch's global generators yield this stream, for constructors of `nn.Module`.

    `torch.manual_seed` gives the same numbers. But for each kind of accelerator that is not in use, it also writes down
    from where it was called, with the lines of the source, and that takes as long as building a small model.
    """
    number = stream(seed, purpose)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(number)
        if torch.cuda.is_available():
            torch.cuda.manual_seed_all(number)
        yield
