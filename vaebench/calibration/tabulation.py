"""Grades as CSV, Markdown and LaTeX; a function of the grades alone."""

import csv
from collections.abc import Sequence
from io import StringIO
from pathlib import Path

from tabulate import tabulate

from vaebench.calibration.grade import Grade
from vaebench.records.files import stale, write_all
from vaebench.reporting.tables.latex import escape

NAME = "calibration"

RIGHT, WRONG = "yes", "NO"

HEADINGS = ("instrument", "quantity", "measured", "exact", "difference", "allowed", "right", "allowed for")
ALIGNMENT = ("left", "left", "right", "right", "right", "right", "left", "left")


def write(grades: Sequence[Grade], folder: Path) -> list[Path]:
    """Writes `calibration.csv`, `.md` and `.tex` into the folder; nothing where there are no grades."""
    return write_all(_files(grades, folder))


def check(grades: Sequence[Grade], folder: Path) -> list[Path]:
    """The tables in the folder that are missing or are not what the grades say."""
    return stale(_files(grades, folder))


def verdict(grades: Sequence[Grade]) -> str:
    """The outcome in a line."""
    wrong = sum(not grade.is_within for grade in grades)
    instruments = len({grade.instrument for grade in grades})
    outcome = "all right" if not wrong else f"{wrong} WRONG"
    return f"{len(grades)} exact answers, {instruments} instruments: {outcome}"


def markdown(grades: Sequence[Grade]) -> str:
    """A table a problem."""
    parts = ["# Calibration", verdict(grades) + "."]
    parts.append(
        "Nats per observation where it is a density. Between two ends the number has to lie: a bound between the ELBO "
        "and the evidence, an estimate of the evidence at most 0.1 nats off on its own side. What is allowed beyond is "
        "made of what the last column names: errors are those that the instrument itself states. These are graded as "
        "well: the spread from seed to seed, divided by the claimed error, has to be 1, or down to 0.8 where the claim "
        "is cautious."
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
    lines = [r"% \usepackage{booktabs,longtable}; written by vaebench, not by hand", r"\begin{longtable}{lllrrrrll}"]
    lines += [r"\toprule", _line(("problem", *HEADINGS)), r"\midrule", r"\endhead"]
    lines += [_line((grade.problem, *_cells(grade))) for grade in grades]
    return "\n".join([*lines, r"\bottomrule", r"\end{longtable}"]) + "\n"


def _line(cells: Sequence[str]) -> str:
    return " & ".join(map(escape, cells)) + r" \\"


def _figure(value: float) -> str:
    return f"{value:.0f}" if value.is_integer() and abs(value) < 1e9 else f"{value:.5f}"


def _small(value: float) -> str:
    return f"{value:.1g}" if value else "0"
