"""Where the verbs write to, and how they refuse."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape

WIDTH = 200
"""Columns where what is written to is no terminal, and says nothing of its own."""

console = Console(highlight=False, width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else WIDTH)


@contextmanager
def stoppable() -> Iterator[None]:
    """A block that SIGTERM ends as Ctrl-C does."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def refusing(verb: Callable[..., None]) -> Callable[..., None]:
    """The verb, of which what a user can mend is one line a fault and status 1; anything else keeps its traceback."""

    @wraps(verb)
    def refuses(*args: Any, **kwargs: Any) -> None:
        try:
            verb(*args, **kwargs)
        except (ValueError, LookupError, OSError) as error:
            Console(stderr=True, highlight=False, soft_wrap=True).print(f"[red]error:[/] {escape(str(error))}")
            raise typer.Exit(1) from None

    return refuses
