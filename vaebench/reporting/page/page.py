"""A study on one page that loads nothing: question, answer, tables, charts, failures, provenance.

A function of the records and the question, byte for byte, for given versions of matplotlib and Jinja
(`constraints.txt`).
"""

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from vaebench.records.record import Record
from vaebench.reporting.figures import (
    altered,
    bounds,
    collapse,
    curves,
    forecast,
    phase,
    units,
    units_by_beta,
)
from vaebench.reporting.figures import (
    rate_distortion as plane,
)
from vaebench.reporting.figures.facets import arrange
from vaebench.reporting.page.gallery import gallery
from vaebench.reporting.page.provenance import conditions, origins
from vaebench.reporting.page.summary import answer
from vaebench.reporting.tables import table as tables
from vaebench.reporting.tables.escaping import visible
from vaebench.reporting.tables.layout import page as laid_out
from vaebench.reporting.tables.reliability import MARK
from vaebench.reporting.tables.rendering import legend

CHARTS = (
    *(altered.chart, phase.chart, forecast.chart, plane.chart, bounds.chart),
    *(units_by_beta.chart, units.chart, collapse.chart, curves.chart),
)
"""In the order of the page."""


def render(records: Sequence[Record], question: str, folder: Path | None = None, remarks: Sequence[str] = ()) -> str:
    """The page of a study.

    Args:
        records: of one study.
        question: what the study asks; empty if nobody knows.
        folder: where pictures are looked for, `runs/<study>` or `results/<study>`.
        remarks: what is said at the head of the tables.

    Raises:
        ValueError: if there is no record.
    """
    table = tables.table(records, remarks)
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
        loader=PackageLoader("vaebench.reporting.page"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters["picture"] = Markup  # an SVG that `drawing` made
    made.globals |= {"script": Markup(_script()), "digest": _digest(_script()), "mark": MARK}
    return made


@cache
def _script() -> str:
    """The page's one script: the page names it by its hash, and a browser carries out no other."""
    return resources.files("vaebench.reporting.page").joinpath("templates", "sort.js").read_text(encoding="utf-8")


def _digest(script: str) -> str:
    """SHA-256 in base64, as a content security policy wants it."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _shown(value: Any) -> Any:
    """What a template prints: of text, nothing that a browser or a terminal would obey; markup of ours stays."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value
