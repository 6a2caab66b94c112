"""Where the verbs write to, and how they refuse."""

import errno
import io
import logging
import os
import re
import signal
import sys
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import wraps
from pathlib import Path
from typing import Any

import typer

from vaebench.reporting.terminal.printing import Printer, line
from vaebench.training.signals import handled

WIDTH = 200
"""Columns where what is written to is no terminal, and says nothing of its own."""


REMEDIES = {
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "make it writable, or work in another folder"),
    **dict.fromkeys((errno.ENOENT, errno.ENOTDIR), "check the path"),
    **dict.fromkeys((errno.EEXIST, errno.EISDIR), "move away what is in its place"),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "make room, then run the same command again"),
    errno.ENAMETOOLONG: "choose a shorter name",
}
"""What to do where the system refuses a file."""


def _printer() -> Printer:
    """The console of every verb. A size in the environment that is none would leave no room for a letter."""
    for name in ("COLUMNS", "LINES"):
        if not re.fullmatch(r"0*[1-9][0-9]{0,4}", os.environ.get(name, "")):
            os.environ.pop(name, None)
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    return Printer(width=None if is_terminal or "COLUMNS" in os.environ else WIDTH)


console = _printer()


def speak_utf8() -> None:
    """Begin again in Python's UTF-8 mode, where the locale has another encoding (PEP 540).

    Without it neither a file named β nor what a library reads without naming an encoding could be used. Processes that
    this one starts inherit the mode.
    """
    if sys.getfilesystemencoding() != "utf-8" and os.environ.get("PYTHONUTF8") != "1":
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def steady() -> None:
    """Make the standard streams and the folder for temporary files safe to use, whatever this process is started with.

    One that is closed leads nowhere: the next file that is opened would take its number, and be written into. A
    character that the terminal's encoding lacks is shown as an escape.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    os.environ["TMPDIR"] = tempfile.gettempdir()  # one that can be written; libraries do not look for another
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it tells at length of a home that cannot be written
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        if isinstance(stream := getattr(sys, name), io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


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
            _refuse(_plainly(error))
            raise typer.Exit(1) from None
        if console.exit_code:
            if console.lost is not None and not isinstance(console.lost, BrokenPipeError):
                _refuse(f"what was to be printed could not be written ({console.lost.strerror})")
            raise typer.Exit(console.exit_code)

    return refuses


def _refuse(text: str) -> None:
    Printer(stderr=True, soft_wrap=True).print(line(("error:", "red"), f" {text}"))


def _plainly(error: Exception) -> str:
    """What an error says; of one that the system raised, the path first, and what to do."""
    if "set_int_max_str_digits" in str(error):  # Python's own advice is about its source
        return "a whole number of thousands of digits stands where none is of use; write fewer digits"
    if not isinstance(error, OSError) or not error.errno or not error.strerror:
        return str(error)
    said = error.strerror if error.filename is None else f"{error.filename}: {error.strerror.lower()}"
    return f"{said}; {REMEDIES[error.errno]}" if error.errno in REMEDIES else said
