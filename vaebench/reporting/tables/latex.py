"""A table as LaTeX: floats of at most seven columns, each with caption, label and its notes.

A float never leaves the text block: if its tabular is wider than a line, it is scaled down to the line.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from itertools import pairwise
from unicodedata import normalize

from vaebench.reporting.tables.escaping import visible
from vaebench.reporting.tables.layout import Entry, Page, Sheet
from vaebench.reporting.tables.rows import Table

MATHEMATICS = (
    {"±": "pm", "×": "times", "≤": "leq", "≥": "geq", "≠": "neq", "≈": "approx", "∞": "infty", "·": "cdot"}
    | {"→": "rightarrow", "∣": "mid", "‖": "Vert", "Σ": "Sigma", "∈": "in", "α": "alpha", "β": "beta", "γ": "gamma"}
    | {"δ": "delta", "ε": "epsilon", "η": "eta", "θ": "theta", "κ": "kappa", "λ": "lambda", "μ": "mu", "ρ": "rho"}
    | {"∂": "partial", "σ": "sigma", "τ": "tau", "φ": "varphi", "ω": "omega", "\u2212": "-"}
)
MOST = 7
"""Columns of a float, labels and seeds included."""

ACCENTS = dict(zip("\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030b\u030c\u0327", "`'^~=u.\"Hvc", strict=True))
"""Combining characters, and the command that sets each above or below a letter."""

SYMBOLS = {
    **{c: f"\\{c}" for c in "&%$#_{}"},
    **{c: f"{{{c}}}" for c in "[]*"},  # at the start of a line they would be taken for an option of the line break
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "¹": r"\textsuperscript{1}",
    "²": r"\textsuperscript{2}",
    "⁻": r"\textsuperscript{$-$}",
    "°": r"$^{\circ}$",
    "ᵀ": r"\textsuperscript{T}",
    "†": r"\dag{}",
    "–": "--",
    "—": "---",
    "…": r"\dots{}",
    "’": "'",
    **{symbol: f"$\\{name}$" if name != "-" else "$-$" for symbol, name in MATHEMATICS.items()},
}


def latex(table: Table, page: Page, legend: list[str]) -> str:
    """The whole file; it needs `\\usepackage{booktabs,graphicx}`."""
    lines = [r"% \usepackage{booktabs,graphicx}; written by vaebench from the records, not by hand", ""]
    parts = [part for sheet in page.sheets if sheet.rows for part in _parts(sheet)]
    for number, part in enumerate(parts, 1):
        lines += _float(part, f"tab:{_slug(table.title)}-{number}", table, page)
    lines += [rf"\noindent {escape(line)}\par" for line in legend]
    lines += [rf"\noindent Failed: {escape(run)}: {escape(reason)}\par" for run, reason in table.failures]
    return "\n".join(lines) + "\n"


def _parts(sheet: Sheet) -> list[Sheet]:
    """A sheet in parts of at most `MOST` columns of about the same number; each part repeats the labels and seeds."""
    fixed, numbers = sheet.fixed, len(sheet.headings) - sheet.fixed
    count = max(1, -(-numbers // max(1, MOST - fixed)))
    borders = [fixed + numbers * i // count for i in range(count + 1)]

    def between(entries: Sequence[Entry], a: int, b: int) -> tuple[Entry, ...]:
        return (*entries[:fixed], *entries[a:b])

    return [
        replace(sheet, headings=between(sheet.headings, a, b), rows=tuple(between(row, a, b) for row in sheet.rows))
        for a, b in pairwise(borders)
    ]


def _slug(title: str) -> str:
    """A title as a part of a label, in which LaTeX allows few characters."""
    return re.sub(r"[^A-Za-z0-9]+", "-", title).strip("-") or "table"


def escape(text: str) -> str:
    """Text as LaTeX prints it, with any engine; a character that it may not know is written as its number."""
    whole: list[str] = []
    for character in visible(text):
        if character in ACCENTS and whole:  # it belongs to the letter before
            whole[-1] = _accented(whole[-1], character)
        else:
            whole.append(_printed(character))
    return "".join(whole)


def _printed(character: str) -> str:
    if character in SYMBOLS or character.isascii():
        return SYMBOLS.get(character, character)
    base, *accents = list(normalize("NFD", character))
    if not accents or any(accent not in ACCENTS for accent in accents):
        return f"U+{ord(character):04X}"
    return reduce(_accented, accents, _printed(base))


def _accented(letter: str, accent: str) -> str:
    return rf"\{ACCENTS[accent]}{{{letter}}}"


def _float(sheet: Sheet, label: str, table: Table, page: Page) -> list[str]:
    block = f" ({escape(sheet.block)})" if len(table.blocks) > 1 else ""
    columns = "l" * sheet.labels + "r" * (len(sheet.headings) - sheet.labels)
    used = sorted({note for row in (sheet.headings, *sheet.rows) for entry in row for note in entry.notes})
    said = [rf"\textsuperscript{{{i}}}~{escape(page.notes[i - 1])}" for i in used]
    said += [escape(sheet.constants)] if sheet.constants else []
    return [
        r"\begin{table}[htbp]",
        r"\centering\footnotesize",
        rf"\caption{{{escape(table.title)}: {escape(sheet.caption)}{block}.}}",
        rf"\label{{{label}}}",
        rf"\sbox0{{\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        _line([_entry(h) for h in sheet.headings]),
        r"\midrule",
        *(_line([_entry(e) for e in row]) for row in sheet.rows),
        r"\bottomrule",
        r"\end{tabular}}",
        r"\ifdim\wd0>\linewidth\resizebox{\linewidth}{!}{\usebox0}\else\usebox0\fi",
        *(rf"\par\smallskip{{\raggedright\scriptsize {line}\par}}" for line in said),
        r"\end{table}",
        "",
    ]


def _line(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"


def _entry(entry: Entry) -> str:
    notes = rf"\textsuperscript{{{','.join(map(str, entry.notes))}}}" if entry.notes else ""
    if not entry.is_number:
        return escape(entry.text) + notes
    mean = rf"\mathbf{{{entry.text}}}" if entry.best else entry.text
    mark = r"^{\dagger}" if entry.marked else ""
    spread = "" if entry.spread is None else rf" {entry.spread}".replace("±", r"\pm").replace("[", r"\ [")
    return f"${mean}{mark}{spread}$" + notes
