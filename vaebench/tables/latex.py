"""A table as LaTeX, for booktabs: a tabular a sheet, notes below."""

from vaebench.tables.blocks import Table
from vaebench.tables.sheets import Entry, Page, Sheet

MATHEMATICS = {"±": "pm", "×": "times", "≤": "leq", "≥": "geq", "β": "beta", "δ": "delta", "ε": "epsilon"} | {
    "λ": "lambda",
    "μ": "mu",
    "σ": "sigma",
    "τ": "tau",
}
SYMBOLS = str.maketrans(
    {
        **{c: f"\\{c}" for c in "&%$#_{}"},
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "\\": r"\textbackslash{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "²": r"\textsuperscript{2}",
        "–": "--",
        "\u2212": r"$-$",
        **{symbol: f"$\\{name}$" for symbol, name in MATHEMATICS.items()},
    }
)


def latex(table: Table, page: Page, legend: list[str]) -> str:
    """The whole file; it wants `\\usepackage{booktabs}`."""
    lines = [r"% \usepackage{booktabs}; written by vaebench from the records, not by hand", ""]
    for sheet in page.sheets:
        lines += _tabular(sheet)
    lines += [rf"\noindent {escape(line)}\par" for line in legend]
    lines += [rf"\noindent\textsuperscript{{{i}}}~{escape(note)}\par" for i, note in enumerate(page.notes, 1)]
    lines += [rf"\noindent Failed: {escape(run)}: {escape(reason)}\par" for run, reason in table.failures]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """Text as LaTeX prints it."""
    return text.translate(SYMBOLS)


def _tabular(sheet: Sheet) -> list[str]:
    return [
        rf"\noindent\textbf{{{escape(sheet.caption)}}} ({escape(sheet.block)})\par\smallskip",
        rf"\noindent\begin{{tabular}}{{{'l' * sheet.labels}{'r' * (len(sheet.headings) - sheet.labels)}}}",
        r"\toprule",
        _line([_entry(h) for h in sheet.headings]),
        r"\midrule",
        *(_line([_entry(e) for e in row]) for row in sheet.rows),
        r"\bottomrule",
        r"\end{tabular}\par\medskip",
        "",
    ]


def _line(cells: list[str]) -> str:
    return " & ".join(cells) + r" \\"


def _entry(entry: Entry) -> str:
    marks = rf"\textsuperscript{{{','.join(map(str, entry.notes))}}}" if entry.notes else ""
    if not entry.is_number:
        return escape(entry.text) + marks
    mean = rf"\mathbf{{{entry.text}}}" if entry.best else entry.text
    return f"${mean}$" + marks if entry.half_width is None else rf"${mean} \pm {entry.half_width}$" + marks
