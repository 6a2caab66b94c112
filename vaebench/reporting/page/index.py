"""A page over the pages: every study with results, its question and the first sentence of its answer."""

from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import quote

from vaebench.records.record import Record
from vaebench.reporting.page.page import environment
from vaebench.reporting.page.summary import answer
from vaebench.reporting.tables import table as tables

PAGE = "report.html"
"""The page of a study, in its folder."""


class Entry(NamedTuple):
    """A study: its records and the question it asks."""

    study: str
    question: str
    records: Sequence[Record]


def render(entries: Sequence[Entry]) -> str:
    """The page over the studies."""
    made = [(e, tables.table(e.records)) for e in sorted(entries)]
    studies = [
        {
            "name": e.study,
            "question": e.question,
            "answer": answer(table)[0],
            "link": quote(f"{e.study}/{PAGE}"),
            "runs": len(e.records),
            "failed": len(table.failures),
        }
        for e, table in made
    ]
    return environment().get_template("index.html.jinja").render(title="vaebench", studies=studies)
