"""A table before it is rendered: rows, and the blocks of rows that may be ranked together.

Bounds compare only on the same pixels under the same measure, so rows stand in one block exactly where the records'
comparability is equal.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from vaebench.tables.grouping import Cell, Group
from vaebench.tables.labels import canonical, natural
from vaebench.tables.quantities import UNRANKED, Quantity


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

    def best(self, column: int, quantity: Quantity) -> float | None:
        """The best mean of a column, where there are several and better has a meaning."""
        better = quantity.description.better
        intervals = [i for row in self.rows if (i := row.cells[column].interval) is not None]
        if better == UNRANKED or len(intervals) < 2:
            return None
        return max((i.mean for i in intervals), key=lambda mean: mean * better)


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
    """

    title: str
    axes: tuple[str, ...]
    headings: tuple[str, ...]
    quantities: tuple[Quantity, ...]
    blocks: tuple[Block, ...]
    failures: tuple[tuple[str, str], ...]
    commits: tuple[str, ...]


def blocks(rows: Sequence[Row]) -> list[Block]:
    """The rows by comparability, in the natural order of their labels; last those of which nothing was measured."""
    by_key: defaultdict[str, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: [natural(text) for text in row.labels]):
        by_key[canonical(row.group.comparability)].append(row)
    found = [Block(by_key[k][0].group.comparability, tuple(by_key[k])) for k in sorted(by_key)]
    return sorted(found, key=lambda block: not block.comparability)
