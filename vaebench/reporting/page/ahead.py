"""A process that gets ready to draw the page of a sweep while the sweep trains.

It is a copy of the sweep's process from before torch is imported. On a second core it imports matplotlib and draws a
first panel, which takes a second. When the runs are done, it gets their records and writes the page. So the sweep does
not wait for that second. While the page is drawn, the sweep logs its tables to W&B.
"""

import multiprocessing
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType

from vaebench.config.presentation import Presentation
from vaebench.records.record import Record
from vaebench.reporting.figures.base import Drawn
from vaebench.reporting.figures.side_by_side import may_fork


class PageAhead:
    """Writes a page in that process, or in this one: if no process was started inside `with`, or if it has died.

    Args:
        wanted: whether there will be a page, as far as this is known.
    """

    def __init__(self, wanted: bool) -> None:
        self.wanted = wanted
        self._pipe: Connection | None = None

    def __enter__(self) -> "PageAhead":
        if self.wanted and may_fork():
            context = multiprocessing.get_context("fork")
            self._pipe, theirs = context.Pipe()
            self._process = context.Process(target=_work, args=(self._pipe, theirs), name="page")
            self._process.start()
            theirs.close()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pipe is not None:
            self._process.kill()
            self._process.join()
            self._pipe.close()

    def begin(
        self, records: Sequence[Record], folder: Path, asked: Presentation, remarks: Sequence[str]
    ) -> Callable[[], Sequence[Drawn]]:
        """Begin to write a page; returns a function that waits for it and gives its figures.

        Args:
            records, folder, asked, remarks: as `site.write_one` takes them.
        """
        from vaebench.reporting.page import site

        pipe, given = self._pipe, (records, folder, asked, remarks)
        if pipe is not None:
            with suppress(OSError):  # it has died
                pipe.send(given)

        @cache
        def figures() -> Sequence[Drawn]:
            if pipe is not None:
                with suppress(EOFError, OSError):
                    return pipe.recv()
            return site.write_one(*given)[1]

        if pipe is None:
            figures()
        return figures


def _work(parents: Connection, pipe: Connection) -> None:
    """The process. If anything fails here, it ends, and its parent does the same again and shows the error."""
    parents.close()  # so that the pipe ends when the parent does
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both; the parent says what is to be done
    with suppress(Exception):
        from vaebench.reporting.figures.svg import panel
        from vaebench.reporting.page import site

        panel("", "", lambda axes: axes.set_xscale("log"))  # the first one takes several times as long as another
        pipe.send(site.write_one(*pipe.recv())[1])
