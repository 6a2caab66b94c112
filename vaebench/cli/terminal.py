"""What the commands print, and how they report errors."""

import errno
import io
import json
import logging
import os
import re
import sys
import tempfile
from collections.abc import Callable, Sized
from functools import wraps
from pathlib import Path
from typing import Any

import typer

from vaebench.records.checksums import finite
from vaebench.reporting.printing import CONTROL, Printer, line

WIDTH = 200  # columns if the output is not a terminal and COLUMNS is not set


REMEDIES = {
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "make it writable, or work in another folder"),
    **dict.fromkeys((errno.ENOENT, errno.ENOTDIR), "check the path"),
    **dict.fromkeys((errno.EEXIST, errno.EISDIR), "move the existing one away"),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "free some space, then run the same command again"),
    errno.ENAMETOOLONG: "choose a shorter name",
}
"""What to do when the system refuses a file, by the number of the error."""


NO_MEMORY = "allocate memory|not enough memory|out of memory|Storage size calculation overflowed"
"""What torch's errors of memory say; most have no type of their own."""


def _printer() -> Printer:
    """The console of every command. A size in the environment that is no valid number is ignored."""
    for name in ("COLUMNS", "LINES"):
        if not re.fullmatch(r"0*[1-9][0-9]{0,4}", os.environ.get(name, "")):
            os.environ.pop(name, None)
    is_terminal = sys.stdout is not None and sys.stdout.isatty()
    return Printer(width=None if is_terminal or "COLUMNS" in os.environ else WIDTH)


console = _printer()


def ensure_utf8() -> None:
    """Restart in Python's UTF-8 mode if the locale has another encoding (PEP 540).

    Otherwise a file named β could not be opened, and libraries would read text in the wrong encoding. Child processes
    inherit the mode.
    """
    if sys.getfilesystemencoding() != "utf-8" and os.environ.get("PYTHONUTF8") != "1":
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def make_streams_safe() -> None:
    """Make the standard streams and the folder for temporary files safe to use, however this process was started.

    A closed stream is opened on /dev/null. Otherwise the next file that is opened would get its number, and output
    would be written into that file. A character that the terminal's encoding lacks is shown as an escape.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    os.environ["TMPDIR"] = tempfile.gettempdir()  # a writable one; libraries do not search for it
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it warns at length about a home that cannot be written
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        if isinstance(stream := getattr(sys, name), io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def with_plain_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Wrap a command: user errors print one line each and exit 1; others keep their traceback."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except (ValueError, LookupError, OSError, FloatingPointError) as error:
            _print_error(_message(error))
            raise typer.Exit(1) from None
        except (MemoryError, RuntimeError) as error:
            if not isinstance(error, MemoryError) and not re.search(NO_MEMORY, str(error)):
                raise
            _print_error("the numbers asked for do not fit into memory; ask for fewer draws, samples or steps")
            raise typer.Exit(1) from None
        if console.exit_code:
            if console.lost is not None and not isinstance(console.lost, BrokenPipeError):
                _print_error(f"the output could not be written ({console.lost.strerror})")
            raise typer.Exit(console.exit_code)

    return wrapped


def counted(items: Sized, noun: str) -> str:
    """The number of items with their noun.

    >>> counted([1], "run"), counted([1, 2], "run")
    ('1 run', '2 runs')
    """
    return f"{len(items)} {noun}{'s' * (len(items) != 1)}"


def print_json(value: Any) -> None:
    """Print a value as JSON for another program: never wrapped, never coloured. A number that is not finite is null."""
    text = json.dumps(finite(value), ensure_ascii=False, indent=1)
    text = CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)  # as JSON has them
    console.print(line(text), soft_wrap=True)


def _print_error(text: str) -> None:
    Printer(stderr=True, soft_wrap=True).print(line(("error:", "red"), f" {text}"))


def _message(error: Exception) -> str:
    """The message of an error. If the system raised it: the path, the reason, and what to do."""
    if "set_int_max_str_digits" in str(error):  # Python's own advice is about its source
        return "a whole number has thousands of digits; write fewer digits"
    if not isinstance(error, OSError) or not error.errno or not error.strerror:
        return str(error)
    text = error.strerror if error.filename is None else f"{error.filename}: {error.strerror.lower()}"
    return f"{text}; {REMEDIES[error.errno]}" if error.errno in REMEDIES else text
