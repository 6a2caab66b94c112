"""Text that somebody else wrote (a label from YAML, a reason in a record), made safe for what it is written into."""

import re
from unicodedata import category

from vaebench.reporting.tables.labels import is_number

INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Categories of characters that a terminal or a page obeys instead of showing them."""

FORMULA = "=+-@＝＋－＠"
"""What a spreadsheet takes for the beginning of a formula."""

MARKUP = str.maketrans({c: f"\\{c}" for c in "\\`*|~$"} | {"<": "&lt;", "&": "&amp;"})
"""Characters that Markdown or HTML would read as markup wherever they stand."""


def visible(text: str) -> str:
    """Text on one line; characters that control a terminal or the direction of writing are written as their codes."""
    if text.isprintable() and "  " not in text:
        return text
    return "".join(_code(c) if category(c) in INVISIBLE else c for c in " ".join(text.split()))


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


def _code(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode()
