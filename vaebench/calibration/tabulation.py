"""Tables of grades in CSV, Markdown and LaTeX. They depend on the grades only."""

import csv
import re
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

from tabulate import tabulate

from vaebench.calibration.grade import Grade
from vaebench.records.files import stale, write_all
from vaebench.reporting.tables.latex import escape

NAME = "calibration"

RIGHT, WRONG = "yes", "NO"

HEADINGS = ("metric or estimator", "quantity", "measured", "exact", "difference", "allowed", "right", "allowed for")
WIDTHS = (0.1, 0.12, 0.12, None, None, None, None, None, 0.09)
"""Of the columns in LaTeX with long texts, as parts of a line; the other columns are as wide as their numbers."""

BREAKS = re.compile(r"\\_|/|,|\(|=|-(?=[A-Za-z])|(?<=[a-z])(?=[A-Z])")
"""Where a long name may be broken in LaTeX."""

COLUMNS = "".join("r" if w is None else rf">{{\raggedright\arraybackslash}}p{{{w}\linewidth}}" for w in WIDTHS)

ALIGNMENT = ("left", "left", "right", "right", "right", "right", "left", "left")


def write(grades: Sequence[Grade], folder: Path) -> list[Path]:
    """Write `calibration.csv`, `.md` and `.tex` into the folder; nothing if there are no grades."""
    return write_all(_files(grades, folder))


def check(grades: Sequence[Grade], folder: Path) -> list[Path]:
    """The table files in the folder that are missing or differ from what `write` would write."""
    return stale(_files(grades, folder))


def outcome(grades: Sequence[Grade]) -> str:
    """Say in one line how many grades are right."""
    wrong = sum(not grade.is_within for grade in grades)
    measured = len({grade.instrument for grade in grades})
    right = "all right" if not wrong else f"{wrong} WRONG"
    return f"{len(grades)} exact answers, {measured} metrics and estimators: {right}"


def markdown(grades: Sequence[Grade]) -> str:
    """All grades, with one table for each problem."""
    parts = ["# Calibration", outcome(grades) + "."]
    parts.append(
        "Log-densities are in nats per observation. Where `exact` has two numbers, the measured number must lie "
        "between them: a bound lies between the ELBO and the evidence, and an estimate of the evidence is at most 0.1 "
        "nats wrong on its own side. The allowed difference is the sum of the errors in the last column, as the metric "
        "or estimator claims them. These claims are graded too: the standard deviation over seeds divided by the "
        "claimed error must be 1, or at least 0.8 where the claim is cautious."
    )
    for problem in dict.fromkeys(grade.problem for grade in grades):
        rows = [_cells(grade) for grade in grades if grade.problem == problem]
        table = tabulate(rows, HEADINGS, tablefmt="pipe", disable_numparse=True, colalign=ALIGNMENT)
        parts += [f"## {problem}", table]
    return "\n\n".join(parts) + "\n"


def _files(grades: Sequence[Grade], folder: Path) -> dict[Path, bytes]:
    if not grades:
        return {}
    texts = {".csv": _csv(grades), ".md": markdown(grades), ".tex": _latex(grades)}
    return {folder / f"{NAME}{suffix}": text.encode() for suffix, text in texts.items()}


def _cells(grade: Grade) -> tuple[str, ...]:
    low, high = _figure(grade.low), _figure(grade.high)
    exact = low if grade.low == grade.high else f"{low} … {high}"
    numbers = _figure(grade.measured), exact, _small(grade.difference), _small(grade.allowed)
    return grade.instrument, grade.quantity, *numbers, RIGHT if grade.is_within else WRONG, grade.basis


def _csv(grades: Sequence[Grade]) -> str:
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((*Grade._fields, "difference", "right"))
    writer.writerows((*grade, grade.difference, grade.is_within) for grade in grades)
    return text.getvalue()


def _latex(grades: Sequence[Grade]) -> str:
    """A table of many pages; its long texts break, so that it is as wide as a line."""
    lines = [r"% \usepackage{booktabs,longtable,array}; written by vaebench, not by hand"]
    lines += [r"{\tiny\setlength{\tabcolsep}{1.5pt}", rf"\begin{{longtable}}{{{COLUMNS}}}"]
    lines += [r"\toprule", _line(("problem", *HEADINGS)), r"\midrule", r"\endhead"]
    lines += [_line((grade.problem, *_cells(grade))) for grade in grades]
    return "\n".join([*lines, r"\bottomrule", r"\end{longtable}}"]) + "\n"


def _line(cells: Sequence[str]) -> str:
    return " & ".join(BREAKS.sub(r"\g<0>\\hspace{0pt}", escape(cell)) for cell in cells) + r" \\"


def _figure(value: float) -> str:
    return f"{value:.0f}" if value.is_integer() and abs(value) < 1e9 else f"{value:.5f}"


def _small(value: float) -> str:
    return f"{value:.1g}" if value else "0"
