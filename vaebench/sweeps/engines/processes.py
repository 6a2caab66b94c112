"""Packs side by side in processes of this machine: the default on a CPU with several cores.

Each process has one core and one thread, so a run has the same bits as in a sweep on one core. Threads of one process
were tried as well: small operations spend their time waiting for Python's lock, and two threads took twice the
processor time of one. On Linux the processes are forks of this one, so nothing is imported a second time.
"""

import gc
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from vaebench.records import provenance
from vaebench.sweeps.engines import Engine, Item, Outcomes, Result
from vaebench.training import memory
from vaebench.training.signals import NOTICE, exit_with_parent

RETRIES = 5  # how often a pack is tried again after its process died. It continues from its last snapshot

METHOD = "fork" if sys.platform == "linux" else "spawn"
"""How a process is started. The system libraries of macOS do not survive a fork."""

NEXT = ("vaebench.reporting.comparison", "vaebench.reporting.terminal", "vaebench.reporting.page.site")
"""What a sweep needs after its last pack, but matplotlib (`page.ahead`). It is imported while the first packs train."""

PATIENCE = 10.0  # seconds in which a process must end after it was asked twice to stop, or after its last pack


@dataclass
class Child:
    """A process and this end of the pipe to it."""

    process: BaseProcess  # the process
    pipe: Connection  # takes a function and an item, and gives the result or the exception
    function: Any = None  # the function that the process knows; it is sent once, not with every item
    item: Any = None  # what it works on; None if it is idle


class Processes(Engine):
    """Maps a function over items in several processes of this machine.

    Args:
        workers: the number of processes, one thread each.
        method: how they are started.
    """

    def __init__(self, workers: int, method: str = METHOD) -> None:
        self.workers, self.forks, self._context = workers, method == "fork", multiprocessing.get_context(method)
        self._children: list[Child] = []

    def __str__(self) -> str:
        cores, load = provenance.cores(), os.getloadavg()[0]
        return (
            f"{self.workers} packs at a time on {self.workers} of {cores} cores, each in a process with one thread "
            f"(--workers 1 takes one core); load of the machine now: {load:.1f}"
        )

    def __enter__(self) -> None:
        # Before any other thread is started here: a fork copies locks in the state in which other threads hold them.
        gc.freeze()  # so that no garbage collection writes to memory that the processes share
        self._children = [self._start() for _ in range(self.workers)]

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            for child in self._children:
                if kind is None:
                    with suppress(OSError):
                        child.pipe.send(None)
                else:
                    _tell_to_stop(child)
            if kind is not None and any(child.item is not None for child in self._children):
                os.write(2, NOTICE)
            self._wait_for_end(None if kind else PATIENCE)
        finally:
            for child in self._children:
                child.process.kill()
                child.process.join()
                child.pipe.close()
            self._children = []

    def _wait_for_end(self, seconds: float | None) -> None:
        """Wait for the processes; each may have a snapshot to write. Another Ctrl-C tells them to stop at once."""
        try:
            for child in self._children:
                child.process.join(seconds)
        except KeyboardInterrupt:
            for child in self._children:
                _tell_to_stop(child)
            for child in self._children:
                child.process.join(PATIENCE)
            raise

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Outcomes[Item, Result]:
        left = deque((item, 0) for item in items)  # each with how often a process died while it worked on it
        deaths: dict[int, int] = {}  # of the packs that processes work on now, by the process
        while left or deaths:
            for child in self._children:
                if left and child.item is None:
                    child.item, deaths[id(child)] = left.popleft()
                    self._give(child, function)
            for name in NEXT:
                import_module(name)
            ready = wait([end for m in self._children if m.item is not None for end in (m.pipe, m.process.sentinel)])
            for child in [m for m in self._children if m.pipe in ready or m.process.sentinel in ready]:
                item, died = child.item, deaths.pop(id(child))
                try:
                    child.item, result = None, child.pipe.recv()
                except (EOFError, OSError):
                    child.process.join()
                    result = _death(child.process.exitcode, died + 1)
                    child.pipe.close()
                    self._children[self._children.index(child)] = self._start()
                    if died < RETRIES:
                        left.appendleft((item, died + 1))
                        continue
                yield item, result

    def _give(self, child: Child, function: Any) -> None:
        known = child.function is function
        child.function = function
        with suppress(OSError):  # the process has died; `map` sees that when it waits
            child.pipe.send((None if known else function, child.item))

    def _start(self) -> Child:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_work, args=(theirs, os.getpid(), self.workers))  # type: ignore[attr-defined]
        with warnings.catch_warnings():
            # Python 3.12 warns of a fork beside threads. Those of NumPy's library wait for work and hold no lock.
            warnings.simplefilter("ignore", DeprecationWarning)
            process.start()
        theirs.close()  # so that the pipe ends when the process does
        return Child(process, ours)


def _work(pipe: Connection, parent: int, workers: int) -> None:
    """A process: execute what the parent sends, until it sends None or tells this process to stop.

    Ctrl-C reaches all processes of a terminal, and so may SIGTERM. Therefore only the parent listens to them, and tells
    this process to stop by SIGUSR1. A training that runs then writes its snapshot first.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=exit_with_parent, args=(parent,), daemon=True).start()
    memory.sharers = workers
    function: Any = None
    try:
        signal.signal(signal.SIGUSR1, signal.default_int_handler)
        while (task := pipe.recv()) is not None:
            function = task[0] or function
            pipe.send(_outcome(function, task[1]))
    except KeyboardInterrupt:
        pass
    finally:
        if (wandb := sys.modules.get("wandb")) is not None:
            with suppress(Exception):  # what only the parent has set up cannot be ended here
                wandb.teardown()  # a process of multiprocessing does not call what was registered for its end


def _outcome(function: Callable[[Item], Result], item: Item) -> Result | Exception:
    try:
        return function(item)
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            return RuntimeError(f"{type(error).__name__}: {error}")  # the error itself cannot travel
        return error


def _death(status: int | None, times: int) -> RuntimeError:
    reason = f"signal {-status}" if status is not None and status < 0 else f"status {status}"
    advice = "with too little memory, the system kills the largest process; --workers 1 needs less"
    return RuntimeError(f"the process of this pack died, {times} times in a row ({reason}); {advice}")


def _tell_to_stop(child: Child) -> None:
    with suppress(ProcessLookupError, TypeError):  # it has ended
        os.kill(child.process.pid, signal.SIGUSR1)  # type: ignore[arg-type]
