"""Many objects at once, without Python's search for objects that refer to each other in a circle.

Python looks for circles that nothing else refers to each time when some hundred objects are new, and now and then
through all objects that there are. That takes a fifth of the time to read a thousand records or to import torch.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collection() -> Iterator[None]:
    """A block that makes many objects without circles: Python looks for none."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def importing() -> Iterator[None]:
    """A block that imports: Python looks for circles among new objects only, and never again among what is there then.

    What is imported stays as long as the process. Objects in a circle that are garbage when it ends are never freed, so
    use it where a command or a sweep begins, while there is little else.
    """
    thresholds = gc.get_threshold()
    gc.set_threshold(thresholds[0], *2 * [2**20])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.freeze()
