"""Signals such as Ctrl-C and SIGTERM, and how they are deferred until no work is lost."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import sleep
from types import FrameType
from typing import Any

STOPS = (signal.SIGINT, signal.SIGTERM)  # signals that end a process by default

DEFERRED = (*STOPS, signal.SIGUSR1, signal.SIGUSR2)
"""Signals by which a user, a cluster or a queue asks a process to stop."""

NOTICE = b"stopping as soon as a snapshot is written; once more stops at once\n"


def is_main_thread() -> bool:
    """Whether this is the main thread: only it may set signal handlers."""
    return threading.current_thread() is threading.main_thread()


def exit_with_parent(parent: int) -> None:
    """Exit when the parent dies, so that no orphaned process trains on. It is the target of a thread."""
    while os.getppid() == parent:
        sleep(0.2)
    os._exit(1)


@contextmanager
def handled(number: signal.Signals, handler: Callable[..., Any] | None = None) -> Iterator[None]:
    """Restore the handler of a signal after the block, even if a library replaces it inside.

    Outside the main thread this does nothing.

    Args:
        number: the signal.
        handler: of the signal inside the block; None keeps the present one.
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
    """Signals that wait until the work is saved. The first signal waits; a second one is handled at once.

    A signal is handled by the handler that was in place when this object was made. A training uses it thus:

        signals = DeferredSignals()
        with signals.until_saved():
            signals.defer()  # from here a Ctrl-C waits
            ...  # train; after an epoch, write a snapshot if `is_pending`, and call `deliver`
            ...  # write what is trained
        # The handlers of before are back, and a Ctrl-C that came while writing has been handled.
    """

    def __init__(self) -> None:
        self._before = {n: signal.getsignal(n) for n in DEFERRED} if is_main_thread() else {}
        self._pending: tuple[int, FrameType | None] | None = None

    @property
    def is_pending(self) -> bool:
        """Whether a signal is waiting."""
        return self._pending is not None

    def defer(self) -> None:
        """From now on a signal waits. A signal that was ignored stays ignored."""
        for number, handler in self._before.items():
            if callable(handler) or (handler is signal.SIG_DFL and number in STOPS):
                signal.signal(number, self._receive)

    @contextmanager
    def until_saved(self) -> Iterator[None]:
        """After the block, restore the handlers. If the block raised nothing, handle the signal that waits."""
        try:
            yield
        finally:
            self.restore()
        self.deliver()

    def restore(self) -> None:
        """From now on a signal is handled at once again."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def deliver(self) -> None:
        """Handle the waiting signal, if there is one. If its handler neither raises nor exits, the work continues."""
        if self._pending is not None:
            (number, frame), self._pending = self._pending, None
            self._handle(number, frame)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._pending is not None:
            self._handle(number, frame)
            return
        self._pending = (number, frame)
        if number == signal.SIGINT:
            os.write(2, NOTICE)  # not through logging: the interrupted code may hold its lock

    def _handle(self, number: int, frame: FrameType | None) -> None:
        handler = self._before[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)
        else:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
