"""What people read in a terminal or a pipe: text as it stands, and no reader stops the work by going away.

Whatever is printed may hold a user's words: a label, a path, a reason. Rich reads `[red]` as a colour and `[/]` as the
end of one. So nothing here reads markup, and a style is given beside the text, never inside it.
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

BROKEN_PIPE = 141
"""The status that a shell shows for a program which wrote into a closed pipe: 128 + SIGPIPE."""

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Characters by which text could command a terminal; tab and line feed stay."""


def line(*parts: str | tuple[str, str]) -> Text:
    """Parts one after the other: words as they stand, or (words, style). A control character is shown as an escape."""
    return Text.assemble(*(_shown(p) if isinstance(p, str) else (_shown(p[0]), p[1]) for p in parts))


class Printer(Console):
    """A console that takes text as it stands, and falls silent where nobody can read it any longer.

    Attributes:
        lost: why nothing can be written any longer; None while it can.
    """

    def __init__(self, **keywords: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **keywords)
        self.lost: OSError | None = None

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=_shown(segment.text))

    def on_broken_pipe(self) -> None:
        """Rich would end the process here, and with it a sweep that has hours to go."""
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
        """What a command ends with whose output was cut off; 0 where it was not."""
        if self.lost is None:
            return 0
        return BROKEN_PIPE if isinstance(self.lost, BrokenPipeError) else 1

    def _lose(self, why: OSError) -> None:
        self.lost, self.quiet = self.lost or why, True
        with suppress(OSError, ValueError):  # Python writes what is left when it ends, and would complain
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


def _shown(text: str) -> str:
    return CONTROL.sub(lambda found: repr(found[0])[1:-1], text)
