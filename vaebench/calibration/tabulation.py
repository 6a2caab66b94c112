"""Grades as CSV, Markdown and LaTeX; a function of the grades alone."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from vaebench.atomic import write_atomically
from vaebench.calibration.grade import Grade
from vaebench.latex import escape

NAME = "calibration"

RIGHT, WRONG = "yes", "NO"


def write(grades: Sequence[Grade], folder: Path) -> list[Path]:
    """Writes `calibration.csv`, `.md` and `.tex` into the folder; nothing where there are no grades."""
    files = _files(grades, folder)
    for path, content in files.items():
        write_atomically(path, content)
    return list(files)


def check(grades: Sequence[Grade], folder: Path) -> list[Path]:
    """The tables in the folder that are missing or are not what the grades say."""
    return [p for p, content in _files(grades, folder).items() if not p.is_file() or p.read_bytes() != content]


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
        "Nats per observation where it is a density. An interval is exact at both ends. What is allowed is made of "
        "what the last column names: errors are those that the instrument itself states."
    )
    for problem in dict.fromkeys(grade.problem for grade in grades):
        frame = _frame([grade for grade in grades if grade.problem == problem])
        right = ("right",) * 4
        table = frame.to_markdown(index=False, disable_numparse=True, colalign=("left", "left", *right, "left", "left"))
        parts += [f"## {problem}", table]
    return "\n\n".join(parts) + "\n"


def _files(grades: Sequence[Grade], folder: Path) -> dict[Path, bytes]:
    if not grades:
        return {}
    rows = pd.DataFrame([{**g._asdict(), "difference": g.difference, "right": g.is_within} for g in grades])
    texts = {".csv": rows.to_csv(index=False), ".md": markdown(grades), ".tex": _latex(grades)}
    return {folder / f"{NAME}{suffix}": text.encode() for suffix, text in texts.items()}


def _frame(grades: Sequence[Grade]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "instrument": [g.instrument for g in grades],
            "quantity": [g.quantity for g in grades],
            "measured": [_figure(g.measured) for g in grades],
            "exact": [_figure(g.low) if g.low == g.high else f"{_figure(g.low)} … {_figure(g.high)}" for g in grades],
            "difference": [_small(g.difference) for g in grades],
            "allowed": [_small(g.allowed) for g in grades],
            "right": [RIGHT if g.is_within else WRONG for g in grades],
            "allowed for": [g.basis for g in grades],
        }
    )


def _latex(grades: Sequence[Grade]) -> str:
    frame = _frame(grades).map(escape)
    frame.insert(0, "problem", [escape(g.problem) for g in grades])
    return frame.to_latex(index=False, column_format="lllrrrrll")


def _figure(value: float) -> str:
    return f"{value:.0f}" if value.is_integer() and abs(value) < 1e9 else f"{value:.5f}"


def _small(value: float) -> str:
    return f"{value:.1g}" if value else "0"
