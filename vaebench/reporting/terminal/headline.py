"""The end of a sweep in a terminal: the headline of its table, and its answer in a sentence."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from vaebench.reporting.page.summary import answer
from vaebench.reporting.tables.escaping import visible
from vaebench.reporting.tables.layout import Entry, Sheet, page
from vaebench.reporting.tables.rankings import Table
from vaebench.reporting.tables.reliability import EXPLANATION, MARK


def headline(table: Table) -> RenderableType:
    """The headline of each block, what its mark means, and the answer; 80 columns are enough."""
    return Group(*_parts(table))


def _parts(table: Table) -> Iterator[RenderableType]:
    sheets = [sheet for sheet in page(table).sheets if sheet.is_headline]
    for sheet in sheets:
        yield Text(f"\n{visible(table.title)}{f': {visible(sheet.block)}' if len(table.blocks) > 1 else ''}", "bold")
        yield _grid(sheet)
    if any(entry.marked for sheet in sheets for row in sheet.rows for entry in row):
        yield Text(EXPLANATION, "dim")
    for remark in table.remarks:
        yield Text(visible(remark), "dim")
    for run, reason in table.failures:
        yield Text(f"failed: {visible(run)}: {visible(reason)}", "red")
    yield Text(f"\n{visible(answer(table)[0])}\n")


def _grid(sheet: Sheet) -> Grid:
    grid = Grid(box=None, padding=(0, 1), pad_edge=False)
    for i, heading in enumerate(sheet.headings):
        grid.add_column(Text(visible(heading.text)), justify="left" if i < sheet.labels else "right", overflow="fold")
    for row in sheet.rows:
        grid.add_row(*map(_cell, row))
    return grid


def _cell(entry: Entry) -> Text:
    text = Text(visible(entry.text), "bold" if entry.best else "")
    text.append(MARK if entry.marked else "")
    return text.append(f" {entry.spread}" if entry.spread else "", "dim")
