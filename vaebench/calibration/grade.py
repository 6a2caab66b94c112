"""A number that was measured beside what it had to be."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from vaebench.records.files import write_atomically
from vaebench.records.record import RecordError

FILE = "calibration.json"
"""Where a study's grades stand in its folder."""


class Grade(NamedTuple):
    """One instrument on one problem.

    Attributes:
        problem: what was measured.
        instrument: the registered class.
        quantity: the column; of an array, the largest difference of an entry.
        measured: what the instrument says.
        low: the exact answer, or the exact lower end where it is known to lie between two.
        high: the exact answer, or the exact upper end.
        allowed: by how much the measured number may miss it.
        basis: what the allowance is made of.
        n: number of observations.
    """

    problem: str
    instrument: str
    quantity: str
    measured: float
    low: float
    high: float
    allowed: float
    basis: str
    n: int

    @property
    def difference(self) -> float:
        """Measured less exact; 0 between two ends."""
        return self.measured - min(max(self.measured, self.low), self.high)

    @property
    def is_within(self) -> bool:
        """Whether the instrument is right; what is no number is not."""
        return math.isfinite(self.measured) and abs(self.difference) <= self.allowed

    def __str__(self) -> str:
        exact = f"{self.low:.6g}" if self.low == self.high else f"{self.low:.6g} … {self.high:.6g}"
        off = f"{self.difference:.2g} off, {self.allowed:.2g} allowed ({self.basis})"
        return f"{self.problem}: {self.instrument} {self.quantity} {self.measured:.6g}, exact {exact}: {off}"


def write(grades: Sequence[Grade], folder: Path) -> Path:
    """Keep the grades in a folder, one a line."""
    path = folder / FILE
    lines = ",\n".join(json.dumps(grade._asdict(), ensure_ascii=False) for grade in grades)
    write_atomically(path, f"[\n{lines}\n]\n".encode())
    return path


def read(folder: Path) -> list[Grade]:
    """The grades in a folder; none where there is no such file.

    Raises:
        RecordError: if the file is not what `write` writes.
    """
    path = folder / FILE
    if not path.is_file():
        return []
    try:
        return [Grade(**entry) for entry in json.loads(path.read_bytes())]
    except (ValueError, TypeError) as error:
        raise RecordError(f"{path}: expected grades, got something else ({error}); calibrate again") from None
