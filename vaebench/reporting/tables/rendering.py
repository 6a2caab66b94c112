"""A table as text: CSV for machines, Markdown for readers, LaTeX for papers."""

import csv
import io
from collections.abc import Callable, Mapping

from tabulate import tabulate

from vaebench.records.record import DUPLICATES
from vaebench.reporting.tables import runs
from vaebench.reporting.tables.escaping import field, line
from vaebench.reporting.tables.escaping import markdown as safe
from vaebench.reporting.tables.intervals import Interval
from vaebench.reporting.tables.labels import canonical
from vaebench.reporting.tables.latex import latex
from vaebench.reporting.tables.layout import Entry, Sheet, comparability, page
from vaebench.reporting.tables.quantities import EXPLANATION, MARK, Quantity, observations
from vaebench.reporting.tables.rows import Row, Table

LEGEND = (
    "Mean ± half-width of the 95 % Student-t interval over three or more seeds; of two seeds both values, [a, b]. One "
    "seed has no interval, nor have seeds that agree to the digits shown. Bold: the best of its block, with every row "
    "that a t-test at 95 % a pair (paired by seed, without a correction for their number) does not tell from it; a "
    "single seed is never bold."
)
APART = "Rows of different blocks were measured on other pixels, or under another measure, and are not ranked together."


def comma_separated(table: Table) -> str:
    """One line a row: means in full precision, what is to be said of each, the block's key."""
    keys = list(dict.fromkeys(k for b in table.blocks for k in b.comparability))
    columns = [_Column(table, i, quantity) for i, quantity in enumerate(table.quantities)]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    headings = [heading for column in columns for heading in column.headings]
    # Remarks are a column, the same in every row: a line of its own would be none of the grid.
    said = {"remarks": field(" ".join(table.remarks))} if table.remarks else {}
    writer.writerow([*map(field, table.axes), "seeds", "failed", *headings, *map(field, keys), *said])
    for block in table.blocks:
        key = [value if isinstance(value := block.comparability.get(k), str) else canonical(value) for k in keys]
        best = [block.best(column.index, column.quantity) for column in columns]
        for i, row in enumerate(block.rows):
            fields = [f for column, rows in zip(columns, best, strict=True) for f in column.fields(row, i in rows)]
            counts = len(row.group.done), len(row.group.failed)
            writer.writerow([*map(field, row.labels), *counts, *fields, *map(field, key), *said.values()])
    return out.getvalue()


class _Column:
    """What the CSV says of a quantity: beside the number, only what some row of it has."""

    def __init__(self, table: Table, index: int, quantity: Quantity) -> None:
        self.index, self.quantity = index, quantity
        cells = [row.cells[index] for row in table.rows]
        self.is_ranked = quantity.description.sign != 0
        self.is_apart = any(cell.over is not None for cell in cells)
        self.is_weighted = any(cell.unreliable is not None for cell in cells)

    @property
    def headings(self) -> list[str]:
        """The mean, its half-width and n; whether it is bold, its observations, how many seeds are marked."""
        optional = {"_best": self.is_ranked, "_over": self.is_apart, "_unreliable_seeds": self.is_weighted}
        suffixes = ("", "_half_width", "_n", *(suffix for suffix, has in optional.items() if has))
        return [field(self.quantity.name + suffix) for suffix in suffixes]

    def fields(self, row: Row, best: bool) -> list[str]:
        """The entries of a row."""
        cell = row.cells[self.index]
        there = cell.interval is not None
        return [
            *_numbers(cell.interval),
            *([str(int(best)) if there else ""] if self.is_ranked else []),
            *([field(cell.over or observations(None)) if there else ""] if self.is_apart else []),
            *(["" if cell.unreliable is None else str(cell.unreliable)] if self.is_weighted else []),
        ]


def markdown(table: Table) -> str:
    """A page that reads well as it is and on a forge, with footnotes."""
    laid_out = page(table)
    parts = [f"# {safe(table.title)}", *map(safe, legend(table))]
    parts += [f"The ids, and every number of each run, stand in {runs.NAME}."]
    block = ""
    for sheet in laid_out.sheets:
        parts += [f"## {safe(sheet.block)}"] if sheet.block != block and len(table.blocks) > 1 else []
        block = sheet.block
        parts += [f"**{sheet.caption}**", *([grid(sheet)] if sheet.rows else [])]
        parts += [safe(sheet.constants)] if sheet.constants else []
    failures = [f"- {line(run)}: {safe(reason)}" for run, reason in table.failures]
    parts += ["Runs that failed:", "\n".join(failures)] if failures else []
    notes = [f"[^{i}]: {line(note)}" for i, note in enumerate(laid_out.notes, 1)]
    return "\n\n".join([*parts, *["\n".join(notes)] * bool(notes)]) + "\n"


def tex(table: Table) -> str:
    """A tabular a sheet."""
    return latex(table, page(table), legend(table))


def legend(table: Table) -> list[str]:
    """How the table is to be read, a line a rule."""
    return [
        *table.remarks,
        LEGEND,
        *([EXPLANATION] if any(cell.caution for row in table.rows for cell in row.cells) else []),
        APART if len(table.blocks) > 1 else f"All rows compare: {comparability(table, table.blocks[0])}.",
        *_duplicates(table),
        *([f"Records of commit {', '.join(table.commits)}."] if table.commits else []),
    ]


def _duplicates(table: Table) -> list[str]:
    """How many observations that are measured were seen in training, where there are any."""
    done = (r for row in table.rows for r in row.group.done)
    found = {
        (f"{r.comparability.get('dataset')}, {r.comparability.get('split')}", r.facts[DUPLICATES])
        for r in done
        if r.facts.get(DUPLICATES)
    }
    return [f"{line(name)}: {n} observations are in the training split as well." for name, n in sorted(found)]


RENDERINGS: Mapping[str, Callable[[Table], str]] = {
    "table.csv": comma_separated,
    "table.md": markdown,
    "table.tex": tex,
}


def _numbers(interval: Interval | None) -> tuple[str, str, str]:
    """Mean, half-width and n; the half-width to ten digits, which do not depend on the machine, 0 if it is rounding."""
    if interval is None:
        return "", "", ""
    half_width = "" if interval.half_width is None else f"{interval.spread or 0:.10g}"
    return repr(interval.mean + 0.0), half_width, str(interval.n)  # 0.0 takes the sign from -0.0


def grid(sheet: Sheet, notes: bool = True) -> str:
    """A sheet as a grid of Markdown, with the marks of its footnotes if `notes`."""
    headings = [_text(heading, notes) for heading in sheet.headings]
    align = ["left"] * sheet.labels + ["right"] * (len(headings) - sheet.labels)
    rows = [[_text(entry, notes) for entry in row] for row in sheet.rows]
    return tabulate(rows, headings, tablefmt="pipe", colalign=align, disable_numparse=True)


def _text(entry: Entry, notes: bool) -> str:
    text = entry.text if entry.is_number else safe(entry.text)
    text = f"**{text}**" if entry.best else text
    mark = MARK if entry.marked else ""
    spread = "" if entry.spread is None else f" {entry.spread}"
    return text + mark + spread + "".join(f"[^{i}]" for i in entry.notes if notes)
