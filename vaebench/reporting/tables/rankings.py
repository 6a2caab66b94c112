"""A table before it is rendered: rows, and the blocks of rows that may be ranked together.

Bounds compare only on the same pixels under the same measure, so rows stand in one block exactly where the records'
comparability is equal. Within a block, a column ranks only rows whose numbers were taken over the same observations.

The best of a column are the row of the best mean and every row that a test does not tell from it, at 95 % a pair: of
rows that are equal in truth, about one in twenty is left out by chance. There is no correction for the number of rows:
the set of the best would be larger, and so say less.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, NamedTuple

from vaebench.config.presentation import PLAIN, Presentation
from vaebench.reporting.tables.grouping import Cell, Group
from vaebench.reporting.tables.labels import canonical, natural
from vaebench.reporting.tables.quantities import Quantity
from vaebench.reporting.tables.separation import gap


class Row(NamedTuple):
    """A line of the table: what it is called, the runs behind it, and a cell a quantity."""

    labels: tuple[str, ...]
    group: Group
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Block:
    """Rows that may be ranked together."""

    comparability: Mapping[str, Any]
    rows: tuple[Row, ...]

    def contenders(self, column: int) -> dict[str | None, list[int]]:
        """The rows that are ranked in a column, by the observations that it was taken over.

        A marked number is not ranked, and neither is one of a single seed, of which no test can say anything.
        """
        found: defaultdict[str | None, list[int]] = defaultdict(list)
        for i, row in enumerate(self.rows):
            cell = row.cells[column]
            if cell.interval is not None and cell.interval.n > 1 and cell.caution is None:
                found[cell.over].append(i)
        return {over: rows for over, rows in found.items() if len(rows) > 1}

    def best(self, column: int, quantity: Quantity) -> frozenset[int]:
        """The rows that are the best of a column, or that no test tells from it; none where better has no meaning."""
        sign = quantity.description.sign
        if not sign:
            return frozenset()
        values = {i: row.group.values(quantity) for i, row in enumerate(self.rows)}
        return frozenset(i for rows in self.contenders(column).values() for i in _leading(rows, values, sign))


def _leading(rows: Sequence[int], values: Mapping[int, Mapping[int, float]], sign: int) -> list[int]:
    """The row of the best mean, and those that are not clearly worse."""
    best = max(rows, key=lambda i: sign * fmean(values[i].values()))
    gaps = {i: gap(values[best], values[i]) for i in rows if i != best}
    return [
        best,
        *(i for i, each in gaps.items() if each is None or not (each.is_clear and each.interval.mean * sign > 0)),
    ]


@dataclass(frozen=True)
class Table:
    """Everything that a rendering shows.

    Attributes:
        title: the study.
        axes: the path of every column of labels, and `headings`: what stands above it.
        quantities: the columns of numbers.
        blocks: the rows.
        failures: run and reason of every run that failed.
        commits: of the code that wrote the records.
        remarks: what is said at the head, e.g. of runs that the study's file does not ask for.
        presentation: how the study wants to be shown.
    """

    title: str
    axes: tuple[str, ...]
    headings: tuple[str, ...]
    quantities: tuple[Quantity, ...]
    blocks: tuple[Block, ...]
    failures: tuple[tuple[str, str], ...]
    commits: tuple[str, ...]
    remarks: tuple[str, ...] = ()
    presentation: Presentation = PLAIN

    @property
    def rows(self) -> tuple[Row, ...]:
        """The rows of all blocks, from top to bottom."""
        return tuple(row for block in self.blocks for row in block.rows)


def blocks(rows: Sequence[Row]) -> list[Block]:
    """The rows by comparability, in the natural order of their labels; last those of which nothing was measured."""
    by_key: defaultdict[str, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: [natural(text) for text in row.labels]):
        by_key[canonical(row.group.comparability)].append(row)
    found = [Block(by_key[k][0].group.comparability, tuple(by_key[k])) for k in sorted(by_key)]
    return sorted(found, key=lambda block: not block.comparability)
