"""Many objects at once, without Python's search for objects that refer to each other in a circle."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collection() -> Iterator[None]:
    """A block in which Python does not look for circles of objects that nothing else refers to.

    Python looks each time when some hundred objects are new, and now and then through all that there are. That takes a
    fifth of the time to read a thousand records or to import torch. Such a block makes objects that stay.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
