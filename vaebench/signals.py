"""Signals, which are the main thread's."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


def is_main_thread() -> bool:
    """Whether this thread may say how signals are handled."""
    return threading.current_thread() is threading.main_thread()


@contextmanager
def handled(number: signal.Signals, handler: Callable[..., Any] | None = None) -> Iterator[None]:
    """A block after which a signal is handled as before it, whatever a library puts in the place of that.

    Within it the signal goes to a handler, where one is given. In another thread nothing is done.
    """
    if not is_main_thread():
        yield
        return
    before = signal.getsignal(number)
    if handler is not None:
        signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)
