"""Signals, which are the main thread's, and how they wait for a moment at which nothing is lost."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

STOPS = (signal.SIGINT, signal.SIGTERM)
"""Signals that end a process which says nothing of them."""

TOLD = (*STOPS, signal.SIGUSR1, signal.SIGUSR2)
"""Signals that a user, a cluster or a queue sends to a process that is to stop."""

PATIENCE = b"stopping as soon as a snapshot is written; once more stops at once\n"


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


class DeferredSignals:
    """Signals that wait until somebody can let go of the work: the first does, a second is handled at once.

    Each is handled as it was when this was made, whatever a library puts in the place of that meanwhile.
    """

    def __init__(self) -> None:
        self._before = {n: signal.getsignal(n) for n in TOLD} if is_main_thread() else {}
        self._came: tuple[int, FrameType | None] | None = None

    @property
    def is_asked(self) -> bool:
        """Whether a signal waits."""
        return self._came is not None

    def hold(self) -> None:
        """From now on a signal waits; one that is ignored stays so."""
        for number, handler in self._before.items():
            if callable(handler) or (handler is signal.SIG_DFL and number in STOPS):
                signal.signal(number, self._hear)

    def let_go(self) -> None:
        """From now on a signal is handled at once, as it was before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def deliver(self) -> None:
        """Handle the signal that waits, if one does; where that neither raises nor exits, the work goes on."""
        if self._came is not None:
            (number, frame), self._came = self._came, None
            self._handle(number, frame)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self._came is not None:
            self._handle(number, frame)
            return
        self._came = (number, frame)
        if number == signal.SIGINT:
            os.write(2, PATIENCE)  # a log or a display may be in the middle of a line, and its lock be held

    def _handle(self, number: int, frame: FrameType | None) -> None:
        handler = self._before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)
        else:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
