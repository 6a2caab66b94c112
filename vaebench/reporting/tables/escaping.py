"""Text that somebody else wrote (a label from YAML, a reason in a record), made safe for what it is written into."""

import re
from functools import reduce
from unicodedata import category, normalize

from vaebench.reporting.tables.labels import is_number

INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Categories of characters that a terminal or a page obeys instead of showing them."""

FORMULA = "=+-@＝＋－＠"  # what a spreadsheet takes for the beginning of a formula

MARKUP = str.maketrans({c: f"\\{c}" for c in "\\`*|~$"} | {"<": "&lt;", "&": "&amp;"})
"""Characters that Markdown or HTML would read as markup wherever they stand."""


MATHEMATICS = (
    {"±": "pm", "×": "times", "≤": "leq", "≥": "geq", "≠": "neq", "≈": "approx", "∞": "infty", "·": "cdot"}
    | {"→": "rightarrow", "∣": "mid", "‖": "Vert", "Σ": "Sigma", "∈": "in", "α": "alpha", "β": "beta", "γ": "gamma"}
    | {"δ": "delta", "ε": "epsilon", "η": "eta", "θ": "theta", "κ": "kappa", "λ": "lambda", "μ": "mu", "ρ": "rho"}
    | {"∂": "partial", "σ": "sigma", "τ": "tau", "φ": "varphi", "ω": "omega", "\u2212": "-"}
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


def visible(text: str) -> str:
    """Text on one line; characters that control a terminal or the direction of writing are written as their codes."""
    if text.isprintable() and "  " not in text:
        return text
    return "".join(
        c.encode("unicode_escape", "surrogatepass").decode() if category(c) in INVISIBLE else c
        for c in " ".join(text.split())
    )


def markdown(text: str) -> str:
    """Text that Markdown shows as it stands, in a cell of a grid too: no tag, link, footnote, emphasis or formula."""
    text = visible(text).translate(MARKUP)
    text = re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\\_", text)  # inside a word it is no emphasis
    text = re.sub(r"\[(?=\^)", r"\\[", text)
    return re.sub(r"\](?=[(\[:])", r"\\]", text)


def line(text: str) -> str:
    """The same at the beginning of a line, where it could begin a list, a heading or a quotation."""
    return re.sub(r"^(?=[-+>#=])|^(\d+)(?=[.)] )", r"\1\\", markdown(text))


def field(text: str) -> str:
    """Text for a CSV: an apostrophe keeps a spreadsheet from carrying out what looks like a formula."""
    text = visible(text)
    return f"'{text}" if text.startswith(tuple(FORMULA)) and not is_number(text) else text


def in_latex(text: str) -> str:
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
