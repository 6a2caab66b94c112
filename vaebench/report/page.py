"""A study on one page that loads nothing: question, answer, tables, charts, failures, provenance.

A function of the records and the question, byte for byte, for given versions of matplotlib and Jinja
(`constraints.txt`).
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from vaebench.record import Record
from vaebench.report.answer import answer
from vaebench.report.arrangement import arrange
from vaebench.report.figures import altered, bounds, collapse, curves, forecast, phase, plane, units, units_by_beta
from vaebench.report.gallery import gallery
from vaebench.report.origin import conditions, origins
from vaebench.tables import table as tables
from vaebench.tables.rendering import legend
from vaebench.tables.sheets import page as laid_out

CHARTS = (
    *(altered.chart, phase.chart, forecast.chart, plane.chart, bounds.chart),
    *(units_by_beta.chart, units.chart, collapse.chart, curves.chart),
)
"""In the order of the page."""


def render(records: Sequence[Record], question: str, folder: Path | None = None) -> str:
    """The page of a study.

    Args:
        records: of one study.
        question: what the study asks; empty if nobody knows.
        folder: where pictures are looked for, `runs/<study>` or `results/<study>`.

    Raises:
        ValueError: if there is no record.
    """
    table = tables.table(records)
    arrangement = arrange(table)
    charts = [made for chart in CHARTS if (made := chart(table, arrangement)) is not None]
    return (
        environment()
        .get_template("study.html.jinja")
        .render(
            title=table.title,
            question=question,
            answer=answer(table),
            page=laid_out(table),
            blocks=len(table.blocks),
            legend=legend(table),
            charts=charts,
            gallery=gallery(table, folder),
            failures=table.failures,
            conditions=conditions(records),
            origins=origins(table),
        )
    )


@cache
def environment() -> Environment:
    """The templates: what comes from a record is text, whatever it looks like."""
    made = Environment(
        loader=PackageLoader("vaebench.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters["picture"] = Markup  # an SVG that `drawing` made
    return made
