"""Prints text as it is, and goes on working when nobody can read it any more.

A printed text may come from a user: a label, a path, a reason. Rich would read `[red]` in it as a colour. So nothing
here reads markup; a style is given beside the text, never inside it.
"""

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

BROKEN_PIPE = 141  # exit status for writing into a closed pipe, as in a shell: 128 + SIGPIPE

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Control characters, by which a text could command a terminal; tab and line feed are allowed."""


def line(*parts: str | tuple[str, str]) -> Text:
    r"""Joins parts, each a text or a (text, style). A control character is shown as an escape sequence.

    >>> print(line("red: \x1b[31m", ("!", "bold")))
    red: \x1b[31m!
    """
    return Text.assemble(*(_shown(p) if isinstance(p, str) else (_shown(p[0]), p[1]) for p in parts))


class Printer(Console):
    """A console that prints text as it is, and stops printing when its output is closed or full.

    Attributes:
        lost: the error after which nothing can be written; None before.
    """

    def __init__(self, **keywords: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **keywords)
        self.lost: OSError | None = None

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=_shown(segment.text))

    def entry(self, head: str, about: str, style: str = "") -> None:
        """Prints a name and what is said of it. In a terminal, what finds no room goes on below where it began.

        Args:
            head: with the blanks after it.
            about: in the style, and never wrapped where the output is not a terminal: other programs read it by line.
        """
        if not self.is_terminal:
            self.print(line(head, (about, style)), soft_wrap=True)
            return
        from rich.table import Table  # only where there is a terminal

        grid = Table.grid()
        grid.add_column(no_wrap=True)
        grid.add_row(line(head), line((about, style)))
        self.print(grid)

    def sentence(self, text: str) -> None:
        """Prints a sentence; a terminal ends its lines between words."""
        self.print(line(text), soft_wrap=not self.is_terminal)

    def on_broken_pipe(self) -> None:
        """Stops printing. Rich would end the process here, and with it a sweep that may need more hours."""
        self._lose(BrokenPipeError())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            super().__exit__(kind, error, trace)  # where rich writes
        except OSError as full:
            self._lose(full)

    @property
    def exit_code(self) -> int:
        """Exit status of a command: not 0 if its output was cut off."""
        if self.lost is None:
            return 0
        return BROKEN_PIPE if isinstance(self.lost, BrokenPipeError) else 1

    def _lose(self, why: OSError) -> None:
        self.lost, self.quiet = self.lost or why, True
        with suppress(OSError, ValueError):  # Python writes what is left when it ends, and would complain
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


def _shown(text: str) -> str:
    return CONTROL.sub(lambda found: repr(found[0])[1:-1], text)
