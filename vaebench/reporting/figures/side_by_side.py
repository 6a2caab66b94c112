"""Panels drawn on two cores: a copy of this process draws every second one.

Matplotlib draws with Python code, which runs on one core at a time, so threads would save nothing. A copy (a fork) has
all that this process has read, so nothing is sent to it. A fork is safe where the process has one thread and no torch,
which has threads of its own; elsewhere all panels are drawn here.
"""

import multiprocessing
import signal
import sys
import threading
from collections.abc import Sequence
from importlib import import_module
from multiprocessing.connection import Connection

from vaebench.records import provenance
from vaebench.reporting.figures.svg import Asked, Panel, panel

LEAST = 4
"""Panels. Fewer are drawn before a process would have started."""


def may_fork() -> bool:
    """Whether this process may be copied, and a second core is there."""
    alone = threading.active_count() == 1 and "torch" not in sys.modules
    return sys.platform == "linux" and alone and provenance.cores() > 1


def panels(asked: Sequence[Asked]) -> list[Panel]:
    """Draw panels; the order of the results is that of the panels."""
    if len(asked) < LEAST or not may_fork():
        return [panel(*each) for each in asked]
    import_module("matplotlib.figure")  # once, for both
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_draw, args=(theirs, asked[1::2]))
    process.start()
    theirs.close()
    made: list[Panel | None] = [None] * len(asked)
    try:
        made[::2] = [panel(*each) for each in asked[::2]]
        made[1::2] = ours.recv()
    except EOFError:  # it was killed, or a panel cannot be drawn: then the error is raised here
        made[1::2] = [panel(*each) for each in asked[1::2]]
    finally:
        process.kill()
        process.join()
        ours.close()
    return [each for each in made if each is not None]


def _draw(pipe: Connection, asked: Sequence[Asked]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C reaches both processes; only the other one answers
    try:
        pipe.send([panel(*each) for each in asked])
    except Exception:
        pipe.close()
