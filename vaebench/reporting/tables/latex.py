"""A table as LaTeX, for booktabs: a tabular a sheet, notes below."""

from functools import reduce
from unicodedata import normalize

from vaebench.reporting.tables.escaping import visible
from vaebench.reporting.tables.layout import Entry, Page, Sheet
from vaebench.reporting.tables.rankings import Table

MATHEMATICS = (
    {"±": "pm", "×": "times", "≤": "leq", "≥": "geq", "≠": "neq", "≈": "approx", "∞": "infty", "·": "cdot"}
    | {"→": "rightarrow", "∣": "mid", "‖": "Vert", "Σ": "Sigma", "∈": "in", "α": "alpha", "β": "beta", "γ": "gamma"}
    | {"δ": "delta", "ε": "epsilon", "η": "eta", "θ": "theta", "κ": "kappa", "λ": "lambda", "μ": "mu", "ρ": "rho"}
    | {"σ": "sigma", "τ": "tau", "φ": "varphi", "ω": "omega", "\u2212": "-"}
)
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
    "²": r"\textsuperscript{2}",
    "ᵀ": r"\textsuperscript{T}",
    "†": r"\dag{}",
    "–": "--",
    "—": "---",
    "…": r"\dots{}",
    "’": "'",
    **{symbol: f"$\\{name}$" if name != "-" else "$-$" for symbol, name in MATHEMATICS.items()},
}


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
    notes = rf"\textsuperscript{{{','.join(map(str, entry.notes))}}}" if entry.notes else ""
    if not entry.is_number:
        return escape(entry.text) + notes
    mean = rf"\mathbf{{{entry.text}}}" if entry.best else entry.text
    mark = r"^{\dagger}" if entry.marked else ""
    return f"${mean}{mark}$" + notes if entry.half_width is None else rf"${mean}{mark} \pm {entry.half_width}$" + notes
