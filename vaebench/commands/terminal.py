"""Where the verbs write to, and how they refuse."""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import wraps
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape

from vaebench.signals import handled

WIDTH = 200
"""Columns where what is written to is no terminal, and says nothing of its own."""

console = Console(highlight=False, width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else WIDTH)


def stoppable() -> AbstractContextManager[None]:
    """A block that SIGTERM ends as Ctrl-C does."""
    return handled(signal.SIGTERM, signal.default_int_handler)


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
