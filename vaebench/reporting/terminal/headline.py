"""The end of a sweep in a terminal: the headline of its table, and its answer in a sentence."""

from collections.abc import Iterator, Sequence
from typing import Literal

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from vaebench.reporting.page.summary import answer
from vaebench.reporting.tables.escaping import visible
from vaebench.reporting.tables.layout import Entry, Sheet, page
from vaebench.reporting.tables.quantities import EXPLANATION, MARK
from vaebench.reporting.tables.rows import Table

GAP = 2
"""Blanks between two columns."""

LABELS = 18
"""Characters that a column of labels keeps at least, unless all its words are shorter. Longer labels go on in lines."""


def headline(table: Table) -> RenderableType:
    """The headline of each block, what its mark means, and the answer; 80 columns are enough."""
    return Group(*_parts(table))


def _parts(table: Table) -> Iterator[RenderableType]:
    sheets = [sheet for sheet in page(table).sheets if sheet.is_headline]
    for sheet in sheets:
        yield Text(f"\n{visible(table.title)}{f': {visible(sheet.block)}' if len(table.blocks) > 1 else ''}", "bold")
        yield _Headline(sheet)
        if sheet.constants:
            yield Text(visible(sheet.constants), "dim")
    if any(entry.marked for sheet in sheets for row in sheet.rows for entry in row):
        yield Text(EXPLANATION, "dim")
    for remark in table.remarks:
        yield Text(visible(remark), "dim")
    for run, reason in table.failures:
        yield Text(f"failed: {visible(run)}: {visible(reason)}", "red")
    yield Text(f"\n{visible(answer(table)[0])}\n")


class _Headline:
    """A sheet that fits the width of the terminal: a number is never broken, and never parted from its sign.

    In a narrow terminal, headings go on in lines, then intervals stand below their means. What still finds no room is
    left out, from the right, and a line says so.
    """

    def __init__(self, sheet: Sheet) -> None:
        self.sheet = sheet

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        count = len(self.sheet.headings)
        tries = [(False, count), (False, count), *((True, shown) for shown in range(count, self.sheet.labels - 1, -1))]
        for number, (below, shown) in enumerate(tries):
            widths = [self._width(i, below, wrapped=number > 0) for i in range(shown)]
            if sum(widths) + GAP * (shown - 1) <= options.max_width:
                break
        yield self._grid(console, below, widths)
        if left := [visible(heading.text) for heading in self.sheet.headings[shown:]]:
            yield Text(f"no room here for {', '.join(left)}; table.md has every column", "dim")

    def _width(self, column: int, below: bool, wrapped: bool) -> int:
        """Characters that a column needs. Headings and labels may go on in further lines if `wrapped`."""
        heading = visible(self.sheet.headings[column].text)
        entries = [_cell(row[column], below).plain for row in self.sheet.rows]
        if wrapped and column < self.sheet.labels:
            longest = max((cell_len(word) for text in (heading, *entries) for word in text.split()), default=0)
            return min(longest, LABELS)
        lines = [text for entry in entries for text in entry.split("\n")]
        return max(map(cell_len, [*lines, *(heading.split() if wrapped else [heading])]))

    def _grid(self, console: Console, below: bool, widths: Sequence[int]) -> Grid:
        grid = Grid(box=None, padding=(0, GAP, 0, 0), pad_edge=False)
        headings = [Text(visible(heading.text)) for heading in self.sheet.headings[: len(widths)]]
        lines = [len(heading.wrap(console, width)) for heading, width in zip(headings, widths, strict=True)]
        for i, (heading, width) in enumerate(zip(headings, widths, strict=True)):
            is_label = i < self.sheet.labels
            above = Text(
                "\n" * (0 if is_label else max(lines[self.sheet.labels :]) - lines[i])
            )  # headings end on one line
            most = None if is_label else width
            justify: Literal["left", "right"] = "left" if is_label else "right"
            grid.add_column(above + heading, justify=justify, overflow="fold", min_width=width, max_width=most)
        for row in self.sheet.rows:
            grid.add_row(*(_cell(entry, below) for entry in row[: len(widths)]))
        return grid


def _cell(entry: Entry, below: bool) -> Text:
    """A number with its interval beside it, or below it."""
    text = Text(visible(entry.text), "bold" if entry.best else "")
    text.append(MARK if entry.marked else "")
    return text.append(f"{chr(10) if below else ' '}{entry.spread}" if entry.spread else "", "dim")
