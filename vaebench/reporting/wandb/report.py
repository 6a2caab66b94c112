"""A study's W&B report as code: its question, its answer, its headline, and the panels of its workspace in an order."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from vaebench.config import Study
from vaebench.records.description import Description
from vaebench.records.record import Record
from vaebench.reporting.page.summary import answer
from vaebench.reporting.tables import table as tables
from vaebench.reporting.tables.labels import SEED
from vaebench.reporting.tables.layout import page
from vaebench.reporting.tables.rendering import grid
from vaebench.reporting.wandb.names import AGGREGATE, TRAIN, project
from vaebench.reporting.wandb.workspace import FIGURES_SECTION, axes, chosen, library, workspace

LONGEST_TITLE = 128
"""Characters of a title, the most that W&B allows."""


def report(
    study: Study,
    records: Sequence[Record] = (),
    entity: str = "",
    expected: Mapping[str, Description] = MappingProxyType({}),
) -> Any:
    """The report of a study. Its panels read W&B's runs, so they show what was synchronised.

    Args:
        study: its question is the title.
        records: of its runs; without any, the report has no answer and no table.
        entity: user or team that owns the report.
        expected: what the runs will measure, by name. It is used only if there is no record.

    Raises:
        ValueError: if the library that builds it is not installed.
    """
    _, wr = library()
    blocks = [wr.TableOfContents(), *_findings(study, records), *_panels(study, records, entity, expected)]
    title = f"{study.name}: {study.question}"[:LONGEST_TITLE]
    return wr.Report(project=project(), entity=entity, title=title, blocks=blocks, width="fluid")


def _findings(study: Study, records: Sequence[Record]) -> Iterator[Any]:
    """The answer in sentences, and the headline of each block."""
    _, wr = library()
    if not records:
        return
    table = tables.table(records, (), study.presentation)
    yield wr.H1("Answer")
    yield from (wr.P(sentence) for sentence in answer(table))
    for sheet in (sheet for sheet in page(table).sheets if sheet.is_headline):
        yield wr.H2(sheet.caption if len(table.blocks) == 1 else f"{sheet.caption}: {sheet.block}")
        yield wr.MarkdownBlock("\n\n".join(filter(None, [grid(sheet, notes=False), sheet.constants])))


def _panels(study: Study, records: Sequence[Record], entity: str, expected: Mapping[str, Description]) -> Iterator[Any]:
    """The sections of the workspace: the figures of the run of the sweep, all others of the runs in groups of seeds."""
    _, wr = library()
    groups = [f"config.{path}" for path in axes(study) if path != SEED]
    for section in workspace(study, records, entity, expected).sections:
        is_figures = section.name == FIGURES_SECTION
        runs = wr.Runset(  # of the report's project: W&B would ask its server for one that is named here
            name="The sweep" if is_figures else "Its runs",
            filters=chosen(study, [AGGREGATE if is_figures else TRAIN]),
            groupby=[] if is_figures else groups,
        )
        yield wr.H1(section.name)
        yield wr.PanelGrid(runsets=[runs], panels=list(section.panels))
