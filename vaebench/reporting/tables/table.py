"""Tables: a function of the records alone, byte for byte, whatever order they come in.

Nothing here imports torch. Mean ± half-width of the 95 % Student-t interval over seeds; a blank has its reason under
the table; rows that are not comparable stand in blocks of their own and are never ranked together.
"""

from collections.abc import Sequence
from pathlib import Path

from vaebench.config.presentation import PLAIN, Presentation
from vaebench.records.collection import without_collection
from vaebench.records.files import write_all
from vaebench.records.provenance import commit
from vaebench.records.record import Record
from vaebench.reporting.tables.labels import SEED, labels, merged_axes, slug
from vaebench.reporting.tables.quantities import quantities
from vaebench.reporting.tables.rendering import RENDERINGS, RUNS_FILE, runs_csv
from vaebench.reporting.tables.rows import Row, Table, blocks, distinct, groups


def table(records: Sequence[Record], remarks: Sequence[str] = (), presentation: Presentation = PLAIN) -> Table:
    """The records of a study in rows, blocks and columns, with what is to be said at the head.

    Raises:
        ValueError: if there is no record, or one run is there twice with different content.
    """
    if not records:
        raise ValueError("no records to tabulate; run the sweep first")
    records = distinct(records)
    found = groups(records)
    columns = quantities(records)
    named = labels([g.config for g in found], merged_axes([r.axes for r in records]))
    rows = [Row(tuple(c.texts[i] for c in named), g, tuple(map(g.cell, columns))) for i, g in enumerate(found)]
    arranged = blocks(rows)
    return Table(
        title=", ".join(sorted({r.study for r in records})),
        axes=tuple(c.path for c in named),
        headings=tuple(c.heading for c in named),
        quantities=tuple(columns),
        blocks=tuple(arranged),
        failures=tuple(f for b in arranged for row in b.rows for f in _failures([c.heading for c in named], row)),
        commits=tuple(sorted({commit(r.provenance, 12) for r in records} - {""})),
        remarks=tuple(remarks),
        presentation=presentation,
    )


def write(
    records: Sequence[Record], folder: Path, remarks: Sequence[str] = (), presentation: Presentation = PLAIN
) -> list[Path]:
    """Write `table.csv`, `table.md`, `table.tex` and `runs.csv` into the folder, with the remarks at the head."""
    return write_all(files(records, folder, remarks, presentation))


@without_collection()
def files(
    records: Sequence[Record], folder: Path, remarks: Sequence[str] = (), presentation: Presentation = PLAIN
) -> dict[Path, bytes]:
    """The content of each file of the tables in a folder."""
    return files_of(table(records, remarks, presentation), records, folder)


@without_collection()
def files_of(one: Table, records: Sequence[Record], folder: Path) -> dict[Path, bytes]:
    """The same from a table that was made of these records."""
    tables = {folder / name: render(one).encode() for name, render in RENDERINGS.items()}
    return {**tables, folder / RUNS_FILE: runs_csv(distinct(records)).encode()}


def _failures(headings: Sequence[str], row: Row) -> list[tuple[str, str]]:
    failed = sorted(row.group.failed, key=lambda r: r.config[SEED])
    names = [slug([*headings, SEED], [*row.labels, str(r.config[SEED])]) for r in failed]
    return [(name, " ".join((r.reason or "no reason").split())) for name, r in zip(names, failed, strict=True)]
