"""The pages in their places: `results/<study>/report.html`, and `results/index.html`, which lists all studies."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from vaebench.config import presentation
from vaebench.config.presentation import Presentation
from vaebench.records import record
from vaebench.records.files import stale, write_all, write_atomically
from vaebench.records.record import Record
from vaebench.records.run_folder import published_studies
from vaebench.reporting.figures.base import Drawn
from vaebench.reporting.page import page
from vaebench.reporting.page.summary import answer
from vaebench.reporting.tables import table as tables

PAGE = "report.html"
"""The page of a study, in its folder."""


class Entry(NamedTuple):
    """A study of the index: its records, and how it wants to be shown."""

    study: str
    asked: Presentation
    records: Sequence[Record]


def index(entries: Sequence[Entry]) -> str:
    """The page that lists all studies, each with its question and the first sentence of its summary."""
    made = [(e, tables.table(e.records, (), e.asked)) for e in sorted(entries, key=lambda e: e.study)]
    studies = [
        {
            "name": e.study,
            "question": e.asked.question,
            "answer": answer(table)[0],
            "link": quote(f"{e.study}/{PAGE}"),
            "runs": len(e.records),
            "failed": len(table.failures),
        }
        for e, table in made
    ]
    return page.environment().get_template("index.html.jinja").render(title="vaebench", studies=studies)


def pages(results: Path, conf: Path, studies: Sequence[str] | None = None) -> dict[Path, bytes]:
    """The pages of the named studies (of all with results if none is named), and always the index of all studies.

    Raises:
        FileNotFoundError: if a named study has no records.
    """
    found = {path.relative_to(results).as_posix(): record.read_all(path) for path in published_studies(results)}
    entries = {name: Entry(name, presentation.read(conf / f"{name}.yaml"), records) for name, records in found.items()}
    entries = {name: entry for name, entry in entries.items() if entry.records}
    made = {}
    for name in entries if studies is None else studies:
        if name not in entries:
            raise FileNotFoundError(
                f"{results / name}: no records; run `python -m vaebench sweep conf/{name}.yaml`, then `publish`"
            )
        html = page.render(entries[name].records, entries[name].asked, results / name)
        made[results / name / PAGE] = html.encode()
    return {**made, results / "index.html": index(list(entries.values())).encode()}


def write(results: Path, conf: Path, studies: Sequence[str] | None = None) -> list[Path]:
    """Writes the pages."""
    return write_all(pages(results, conf, studies))


def check(results: Path, conf: Path, studies: Sequence[str] | None = None) -> list[Path]:
    """The pages that are missing, or that differ from what the records say."""
    return stale(pages(results, conf, studies))


def write_one(
    records: Sequence[Record], folder: Path, asked: Presentation, remarks: Sequence[str] = ()
) -> tuple[Path, Sequence[Drawn]]:
    """Writes the page of one study into any folder; returns its path, and the figures that were drawn for it."""
    path, made = folder / PAGE, page.make(records, asked, folder, remarks)
    write_atomically(path, made.html.encode())
    return path, made.figures
