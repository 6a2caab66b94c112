"""A table as text: CSV for machines, Markdown for readers, LaTeX for papers, and `runs.csv` with a line for each run.

In LaTeX, a float has at most seven columns, and its caption, label and notes. It never leaves the text block: if its
tabular is wider than a line, it is scaled down to the line.
"""

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from tabulate import tabulate

from vaebench.config.presentation import PLAIN, Presentation
from vaebench.records.collection import without_collection
from vaebench.records.files import write_all
from vaebench.records.record import DUPLICATES, Record, by_reason
from vaebench.reporting.tables import table as tables
from vaebench.reporting.tables.escaping import field, in_latex, line
from vaebench.reporting.tables.escaping import markdown as safe
from vaebench.reporting.tables.intervals import Interval
from vaebench.reporting.tables.labels import ABSENT, SEED, canonical, labels, merged_axes
from vaebench.reporting.tables.layout import Entry, Page, Sheet, comparability, page, without_key
from vaebench.reporting.tables.quantities import MARK, Fact, Quantity, Reading, explanation, observations, quantities
from vaebench.reporting.tables.table import Cell, Row, Table, distinct

LEGEND = (
    "Mean ± half-width of the 95 % Student-t interval over three or more seeds; of two seeds both values, [a, b]. One "
    "seed has no interval, nor have seeds that agree to the digits shown. Bold: the best of the rows that compare, and "
    "every row that a t-test at 95 % a pair (paired by seed, without a correction for their number) does not tell from "
    "it; a single seed is never bold. –: no number; a note says why."
)
APART = (
    "The parts of this table were measured on other pixels, or under another measure, so rows of different parts are "
    "not ranked together."
)


def comma_separated(table: Table) -> str:
    """One line a row: means in full precision, the key of its block, and the reason of each blank cell."""
    rows, columns = table.rows, list[_Column]()
    columns += [(axis, [field(row.labels[i]) for row in rows]) for i, axis in enumerate(table.axes)]
    columns += [("seeds", [str(len(row.group.done)) for row in rows])]
    columns += [("failed", [str(len(row.group.failed)) for row in rows])]
    for i, quantity in enumerate(table.quantities):
        best = [k in found for b in table.blocks for found in [b.best(i, quantity)] for k in range(len(b.rows))]
        columns += _columns(quantity, [row.cells[i] for row in rows], best)
    for key in dict.fromkeys(k for block in table.blocks for k in block.comparability):
        values = [row.group.comparability.get(key) for row in rows]
        columns += [(key, [field(value if isinstance(value, str) else canonical(value)) for value in values])]
    blanks = [_blanks(table, row) for row in rows]
    columns += [("blank", [field(text) for text in blanks])] if any(blanks) else []
    # Remarks are a column, the same in every row: a line of its own would be none of the grid.
    columns += [("remarks", [field(" ".join(table.remarks))] * len(rows))] if table.remarks else []
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([field(heading) for heading, _ in columns])
    writer.writerows(zip(*(texts for _, texts in columns), strict=True))
    return out.getvalue()


def _blanks(table: Table, row: Row) -> str:
    """The columns of a row without a number or label, and why: `elbo, rate: AE has no posterior q(z|x)`."""
    labels = {axis: without_key(axis) for axis, text in zip(table.axes, row.labels, strict=True) if text == ABSENT}
    cells = zip(table.quantities, row.cells, strict=True)
    return "; ".join(by_reason(labels | {q.name: "; ".join(c.remarks) for q, c in cells if c.interval is None}))


_Column = tuple[str, list[str]]  # the heading, and a text for each row


def _columns(quantity: Quantity, cells: Sequence[Cell], best: Sequence[bool]) -> list[_Column]:
    """What the CSV says of a quantity: beside the number, only what some row of it has."""
    there = [cell.interval is not None for cell in cells]
    mean, half_width, n = zip(*(_numbers(cell.interval) for cell in cells), strict=True)
    found: dict[str, Sequence[str]] = {"": mean, "_half_width": half_width, "_n": n}
    if quantity.description.sign != 0:
        found["_best"] = [str(int(b)) if t else "" for b, t in zip(best, there, strict=True)]
    if any(cell.over is not None for cell in cells):
        texts = [field(cell.over or observations(None)) for cell in cells]
        found["_over"] = [text if t else "" for text, t in zip(texts, there, strict=True)]
    if any(cell.unreliable is not None for cell in cells):
        found["_unreliable_seeds"] = ["" if c.unreliable is None else str(c.unreliable) for c in cells]
    return [(quantity.name + suffix, list(texts)) for suffix, texts in found.items()]


def markdown(table: Table) -> str:
    """A page that reads well as it is and on a forge, with footnotes."""
    laid_out = page(table)
    parts = [f"# {safe(table.title)}", *map(line, legend(table))]
    parts += [f"The ids, and every number of each run, stand in {RUNS_FILE}."]
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
    """The whole file; it needs `\\usepackage{booktabs,graphicx}`."""
    laid_out = page(table)
    lines = [r"% \usepackage{booktabs,graphicx}; written by vaebench from the records, not by hand", ""]
    parts = [part for sheet in laid_out.sheets if sheet.rows for part in _tex_parts(sheet)]
    for number, part in enumerate(parts, 1):
        lines += _tex_float(part, f"tab:{_tex_label(table.title)}-{number}", table, laid_out)
    lines += [rf"\noindent {in_latex(rule)}\par" for rule in legend(table)]
    lines += [rf"\noindent Failed: {in_latex(run)}: {in_latex(reason)}\par" for run, reason in table.failures]
    return "\n".join(lines) + "\n"


def legend(table: Table) -> list[str]:
    """How the table is to be read, a line a rule."""
    return [
        *table.remarks,
        LEGEND,
        *([explanation(table.marked)] if table.marked else []),
        APART if len(table.measured) > 1 else _compared(table),
        *_duplicates(table),
        *([f"Records of commit {', '.join(table.commits)}."] if table.commits else []),
    ]


def _compared(table: Table) -> str:
    """What the numbers of a table were measured on, where all of them compare."""
    rows = "All rows" if table.blocks[0].rows == table.rows else "All rows with numbers"
    return f"{rows} compare: {comparability(table, table.blocks[0])}."


def _duplicates(table: Table) -> list[str]:
    """How many observations that are measured were seen in training, where there are any."""
    done = (r for row in table.rows for r in row.group.done)
    found = {
        (f"{r.comparability.get('dataset')}, {r.comparability.get('split')}", r.facts[DUPLICATES])
        for r in done
        if r.facts.get(DUPLICATES)
    }
    return [f"{name}: {n} observations are in the training split as well." for name, n in sorted(found)]


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


MOST_COLUMNS = 7  # columns of a float, labels and seeds included


def _tex_parts(sheet: Sheet) -> list[Sheet]:
    """A sheet in parts of at most seven columns, about as many in each; each part repeats the labels and seeds."""
    fixed, numbers = sheet.fixed, len(sheet.headings) - sheet.fixed
    count = max(1, -(-numbers // max(1, MOST_COLUMNS - fixed)))
    borders = [fixed + numbers * i // count for i in range(count + 1)]

    def between(entries: Sequence[Entry], a: int, b: int) -> tuple[Entry, ...]:
        return (*entries[:fixed], *entries[a:b])

    return [
        replace(sheet, headings=between(sheet.headings, a, b), rows=tuple(between(row, a, b) for row in sheet.rows))
        for a, b in pairwise(borders)
    ]


def _tex_label(title: str) -> str:
    """A title as a part of a label, in which LaTeX allows few characters."""
    return re.sub(r"[^A-Za-z0-9]+", "-", title).strip("-") or "table"


def _tex_float(sheet: Sheet, label: str, table: Table, page: Page) -> list[str]:
    block = f" ({in_latex(sheet.block)})" if len(table.blocks) > 1 else ""
    columns = "l" * sheet.labels + "r" * (len(sheet.headings) - sheet.labels)
    used = sorted({note for row in (sheet.headings, *sheet.rows) for entry in row for note in entry.notes})
    said = [rf"\textsuperscript{{{i}}}~{in_latex(page.notes[i - 1])}" for i in used]
    said += [in_latex(sheet.constants)] if sheet.constants else []
    return [
        r"\begin{table}[htbp]",
        r"\centering\footnotesize",
        rf"\caption{{{in_latex(table.title)}: {in_latex(sheet.caption)}{block}.}}",
        rf"\label{{{label}}}",
        rf"\sbox0{{\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        tex_line([_tex_entry(h) for h in sheet.headings]),
        r"\midrule",
        *(tex_line([_tex_entry(e) for e in row]) for row in sheet.rows),
        r"\bottomrule",
        r"\end{tabular}}",
        r"\ifdim\wd0>\linewidth\resizebox{\linewidth}{!}{\usebox0}\else\usebox0\fi",
        *(rf"\par\smallskip{{\raggedright\scriptsize {line}\par}}" for line in said),
        r"\end{table}",
        "",
    ]


def tex_line(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _tex_entry(entry: Entry) -> str:
    notes = rf"\textsuperscript{{{','.join(map(str, entry.notes))}}}" if entry.notes else ""
    if not entry.is_number:
        return in_latex(entry.text) + notes
    text = _tex_powers(entry.text)
    mean = rf"\mathbf{{{text}}}" if entry.best else text
    mark = r"^{\dagger}" if entry.marked else ""
    mean = f"{{{mean}}}" if mark and text != entry.text else mean  # two exponents of one symbol are an error
    spread = "" if entry.spread is None else _tex_powers(f" {entry.spread}")
    spread = spread.replace("±", r"\pm").replace("[", r"\ [")
    return f"${mean}{mark}{spread}$" + notes


def _tex_powers(text: str) -> str:
    """Numbers with a power of ten as mathematics has them.

    >>> print(_tex_powers("-1.2e-05"))
    -1.2\\cdot 10^{-5}
    """
    return re.sub(r"e([+-])0*(\d+)", lambda e: rf"\cdot 10^{{{e[1].strip('+')}{e[2]}}}", text)


RUNS_FILE = "runs.csv"  # the file beside a study's tables


class RunRows(NamedTuple):
    """The runs of a study as a grid. A field without a value is None."""

    headings: list[str]
    rows: list[list[str | int | float | None]]


def run_rows(records: Sequence[Record], errors: bool = False) -> RunRows:
    """A row for each run, sorted by id.

    Args:
        errors: whether the standard error over observations follows each number that has one.
    """
    found, columns = sorted(records, key=lambda r: r.id), quantities(records)
    configs = [{k: v for k, v in r.config.items() if k != SEED} for r in found]
    named = labels(configs, merged_axes([r.axes for r in found]))
    read = [[(quantity, *_reading(quantity, one)) for quantity in columns] for one in found]
    spread = {q.name for row in read for q, _, error in row if errors and error is not None}
    headings = ["id", "status", "reason", *(c.path for c in named), SEED, "marked", "blank"]
    for quantity in columns:
        headings += [quantity.name, *([f"{quantity.name}_standard_error"] if quantity.name in spread else [])]
    rows = []
    for i, (one, numbers) in enumerate(zip(found, read, strict=True)):
        said = {quantity.name: reading.caution(quantity.description) for quantity, reading, _ in numbers}
        marked = "; ".join(f"{name}: {text}" for name, text in said.items() if text) or None
        missing = {q.name: reading.remark or "" for q, reading, _ in numbers if reading.value is None}
        blank = "; ".join(by_reason(missing)) if one.status == "done" else ""
        row = [one.id, one.status, one.reason, *(c.texts[i] for c in named), one.config[SEED], marked, blank or None]
        for quantity, reading, error in numbers:
            row += [reading.value, *([error] if quantity.name in spread else [])]
        rows.append(row)
    return RunRows(headings, rows)


def runs_csv(records: Sequence[Record]) -> str:
    """The text of `runs.csv`; numbers in full precision."""
    found, out = run_rows(records, errors=True), io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(map(field, found.headings))
    writer.writerows([_field(value) for value in row] for row in found.rows)
    return out.getvalue()


def _reading(quantity: Quantity, record: Record) -> tuple[Reading, float | None]:
    """What a run says of a quantity, and the standard error over observations of a value that has one."""
    reading = quantity.read(record)
    estimate = None if isinstance(quantity, Fact) or reading.value is None else record.estimate(quantity.name)
    return reading, None if estimate is None else estimate.standard_error


def _field(value: str | int | float | None) -> str:
    if value is None:
        return ""
    return field(value) if isinstance(value, str) else repr(value)


def write(
    records: Sequence[Record], folder: Path, remarks: Sequence[str] = (), presentation: Presentation = PLAIN
) -> list[Path]:
    """Write `table.csv`, `table.md`, `table.tex` and `runs.csv` into the folder, with the remarks at the head."""
    return write_all(files(records, folder, remarks, presentation))


@without_collection()
def files(
    records: Sequence[Record], folder: Path, remarks: Sequence[str] = (), presentation: Presentation = PLAIN
) -> dict[Path, bytes]:
    """The content of each file of the tables in a folder."""
    return files_of(tables.table(records, remarks, presentation), records, folder)


@without_collection()
def files_of(one: Table, records: Sequence[Record], folder: Path) -> dict[Path, bytes]:
    """The same from a table that was made of these records."""
    tables = {folder / name: render(one).encode() for name, render in RENDERINGS.items()}
    return {**tables, folder / RUNS_FILE: runs_csv(distinct(records)).encode()}
