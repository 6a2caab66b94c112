"""A table as text: CSV for machines, Markdown for readers, LaTeX for papers."""

import csv
import io
from collections.abc import Callable, Mapping

from tabulate import tabulate

from vaebench.tables.blocks import Table
from vaebench.tables.intervals import Interval
from vaebench.tables.labels import canonical
from vaebench.tables.latex import latex
from vaebench.tables.sheets import Entry, Sheet, comparability, page

LEGEND = "Mean ± half-width of the 95 % Student-t interval over seeds; one seed has none. Bold: best of its block."
APART = "Rows of different blocks were measured on other pixels, or under another measure, and are not ranked together."


def comma_separated(table: Table) -> str:
    """One line a row: means in full precision, the half-width and the number of seeds behind each, the block's key."""
    keys = list(dict.fromkeys(k for b in table.blocks for k in b.comparability))
    numbers = [q.name + suffix for q in table.quantities for suffix in ("", "_half_width", "_n")]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*table.axes, "seeds", "failed", *numbers, *keys])
    for block in table.blocks:
        key = [value if isinstance(value := block.comparability.get(k), str) else canonical(value) for k in keys]
        for row in block.rows:
            fields = [field for cell in row.cells for field in _fields(cell.interval)]
            writer.writerow([*row.labels, len(row.group.done), len(row.group.failed), *fields, *key])
    return out.getvalue()


def markdown(table: Table) -> str:
    """A page that reads well as it is and on a forge, with footnotes."""
    laid_out = page(table)
    parts = [f"# {table.title}", *legend(table)]
    block = ""
    for sheet in laid_out.sheets:
        parts += [f"## {sheet.block}"] if sheet.block != block and len(table.blocks) > 1 else []
        block = sheet.block
        parts += [f"**{sheet.caption}**", _grid(sheet)]
    failures = [f"- {run}: {reason}" for run, reason in table.failures]
    parts += ["Runs that failed:", "\n".join(failures)] if failures else []
    notes = [f"[^{i}]: {note}" for i, note in enumerate(laid_out.notes, 1)]
    return "\n\n".join([*parts, *["\n".join(notes)] * bool(notes)]) + "\n"


def tex(table: Table) -> str:
    """A tabular a sheet."""
    return latex(table, page(table), legend(table))


def legend(table: Table) -> list[str]:
    """How the table is to be read, a line a rule."""
    return [
        LEGEND,
        APART if len(table.blocks) > 1 else f"All rows compare: {comparability(table.blocks[0], table.blocks)}.",
        *([f"Records of commit {', '.join(table.commits)}."] if table.commits else []),
    ]


RENDERINGS: Mapping[str, Callable[[Table], str]] = {
    "table.csv": comma_separated,
    "table.md": markdown,
    "table.tex": tex,
}


def _fields(interval: Interval | None) -> tuple[str, str, str]:
    """Mean, half-width and n; the half-width to ten digits, which do not depend on the machine."""
    if interval is None:
        return "", "", ""
    half_width = "" if interval.half_width is None else f"{interval.half_width:.10g}"
    return repr(interval.mean), half_width, str(interval.n)


def _grid(sheet: Sheet) -> str:
    headings = [_text(heading) for heading in sheet.headings]
    align = ["left"] * sheet.labels + ["right"] * (len(headings) - sheet.labels)
    rows = [[_text(entry) for entry in row] for row in sheet.rows]
    return tabulate(rows, headings, tablefmt="pipe", colalign=align, disable_numparse=True)


def _text(entry: Entry) -> str:
    text = f"**{entry.text}**" if entry.best else _safe(entry.text)
    spread = "" if entry.half_width is None else f" ± {entry.half_width}"
    return text + spread + "".join(f"[^{i}]" for i in entry.notes)


def _safe(text: str) -> str:
    """Text that leaves a grid of pipes whole."""
    return " ".join(text.split()).replace("|", "\\|")
