"""A study's W&B workspace and report as code, with a panel for every number that was measured."""

import json
from collections.abc import Iterator, Mapping, Sequence
from math import inf
from types import MappingProxyType
from typing import Any, NamedTuple

from vaebench.config import Study
from vaebench.records.description import Description, Panel, Role
from vaebench.records.record import UNIT_CURVE, Record
from vaebench.reporting.answer import answer
from vaebench.reporting.figures import FIGURES
from vaebench.reporting.select import leaves_of
from vaebench.reporting.tables import table as tables
from vaebench.reporting.tables.labels import SEED, canonical
from vaebench.reporting.tables.layout import page
from vaebench.reporting.tables.quantities import MARK, RESTS, Fact, Quantity, quantities
from vaebench.reporting.tables.rendering import grid
from vaebench.reporting.wandb import AGGREGATE, EPOCH, EPOCH_PICTURES, FIGURE, PICTURES, TRAIN, VAL, key, project

BESIDE_AXES = (*(Role.RATE, Role.DISTORTION, Role.RECONSTRUCTION_ERROR), *(Role.ACTIVE_UNITS, Role.COLLAPSED_UNITS))
"""Numbers that stand beside the axes, with the loosest and the tightest bound."""

WIDE = 100.0  # an axis is logarithmic if its last value is at least so many times the first
UNFINISHED = ("failed", "crashed", "killed")  # states of runs that do not count in means over seeds
FIGURES_SECTION = "Figures of the sweep"  # the section that shows the run of the sweep; the others show its runs


class Measured(NamedTuple):
    """A number of the tables, and its key in a run's summary."""

    quantity: Quantity
    key: str
    mark: str = ""  # what stands behind its heading where some runs' number rests on collapsed importance weights

    @property
    def title(self) -> str:
        return self.quantity.heading + self.mark

    @property
    def role(self) -> Role | None:
        return self.quantity.description.role


def workspace(
    study: Study,
    records: Sequence[Record] = (),
    entity: str = "",
    expected: Mapping[str, Description] = MappingProxyType({}),
) -> Any:
    """The workspace of a study. Runs of one configuration form a group, so that panels show means over seeds.

    Args:
        study: its axes become columns and groups.
        records: of its runs, as far as there are any; each number in them gets a panel.
        entity: user or team that owns the workspace.
        expected: what the runs will measure, by name. It is used only if there is no record.

    Raises:
        ValueError: if the library that builds it is not installed.
    """
    ws, wr = library()
    along, names = axes(study), sorted({run.evaluate.split for run in study.runs})
    splits = {split: _measured(split, records, expected) for split in names}
    figures = wr.MediaBrowser(title="Figures", media_keys=[key(FIGURE, name) for name in FIGURES])
    shown = [m.key for measured in splits.values() for m in _beside_axes(measured)]
    return ws.Workspace(
        entity=entity,
        project=project(),
        name=study.name,
        sections=[
            ws.Section(FIGURES_SECTION, panels=[figures], is_open=True),
            _curves(records, expected),
            *(s for split, measured in splits.items() for s in _sections(split, along, measured)),
        ],
        runset_settings=ws.RunsetSettings(
            filters=chosen(study, [TRAIN, AGGREGATE]),
            groupby=[ws.Config(path) for path in along if path != SEED],
            pinned_columns=[*map(_column, along), *(f"summary:{name}" for name in shown)],
        ),
    )


def chosen(study: Study, kinds: list[str]) -> str:
    """The filter for the finished runs of a study, of these job types."""
    return f"Group = {study.name!r} and JobType in {kinds} and State not in {list(UNFINISHED)}"


def axes(study: Study) -> dict[str, bool]:
    """The paths of a configuration in which the study's runs differ, and whether each gets a logarithmic axis."""
    seen: dict[str, list[Any]] = {}
    for run in study.runs:
        for path, value in leaves_of(run.config):
            seen.setdefault(path, []).append(value)
    return {path: _is_wide(values) for path, values in seen.items() if len({canonical(v) for v in values}) > 1}


def outline(found: Any) -> list[tuple[str, list[str]]]:
    """The name of every section of a workspace, and a line for each of its panels."""
    return [(s.name, [f"{panel.title} ({type(panel).__name__})" for panel in s.panels]) for s in found.sections]


def encoded(found: Any) -> bytes:
    """A workspace or a report as the JSON that W&B receives."""
    model = found._to_model().model_dump(mode="json", by_alias=True, exclude_none=True)
    return (json.dumps(model, indent=1, ensure_ascii=False) + "\n").encode()


def logged_in() -> Any:
    """W&B's interface for the user who is logged in.

    Raises:
        ValueError: if nobody is logged in, or if wandb-workspaces is not installed.
    """
    library()
    import wandb

    try:
        return wandb.Api()
    except wandb.errors.UsageError:
        raise ValueError(
            "nobody is logged in to W&B: run `wandb login`, or leave out --save for the JSON alone"
        ) from None


def _curves(records: Sequence[Record], expected: Mapping[str, Description]) -> Any:
    ws, wr = library()
    names = {name: record.description(name) for record in records for name in record.curve} or expected
    curves = sorted((d.place, name) for name, d in names.items() if d.panel is Panel.TRAINING)
    lines = [wr.LinePlot(title=name, x=EPOCH, y=[name], title_x=EPOCH) for _, name in curves]
    units = wr.LinePlot(title="KL per unit in nats", x=EPOCH, metric_regex=f"{UNIT_CURVE}.*", title_x=EPOCH)
    shown = [wr.MediaBrowser(title=f"{name} over epochs", media_keys=[key(VAL, name)]) for name in EPOCH_PICTURES]
    return ws.Section("Curves", panels=[*lines, units, *shown], is_open=True)


def _sections(split: str, along: Mapping[str, bool], measured: Sequence[Measured]) -> Iterator[Any]:
    """What was measured on a split: all runs at once, the numbers by the panels of the tables, and images."""
    ws, wr = library()
    yield ws.Section(f"Runs, {split}", panels=_overview(along, measured), is_open=True)
    for panel in Panel:
        inside = [m for m in measured if m.quantity.description.panel is panel]
        bars = [wr.BarPlot(title=m.title, metrics=[wr.SummaryMetric(m.key)]) for m in inside]
        if bars:
            yield ws.Section(f"{panel.heading}, {split}", panels=bars, is_open=panel is Panel.BOUNDS)
    sheets = [wr.MediaBrowser(title=name, media_keys=[key(split, name)], num_columns=1) for name in PICTURES]
    yield ws.Section(f"Pictures, {split}", panels=sheets, is_open=True)


def _overview(along: Mapping[str, bool], measured: Sequence[Measured]) -> list[Any]:
    """Parallel coordinates of axes and numbers, rate against distortion, and the highest value of the last bound."""
    _, wr = library()
    column, number = wr.ParallelCoordinatesPlotColumn, wr.SummaryMetric
    columns = [column(wr.Config(path), path, log=wide or None) for path, wide in along.items()]
    columns += [column(number(m.key), m.title) for m in _beside_axes(measured)]
    rates, distortions = ([m for m in measured if m.role is role] for role in (Role.RATE, Role.DISTORTION))
    planes = [
        wr.ScatterPlot(title="Rate and distortion", x=number(x.key), y=number(y.key))
        for x, y in zip(rates, distortions, strict=False)
    ]
    highest = [
        wr.ScalarChart(title=f"Highest {m.title}", metric=number(m.key), groupby_aggfunc="max")
        for m in _bounds(measured)[-1:]
    ]
    return [wr.ParallelCoordinatesPlot(title="Axes and numbers", columns=columns), *planes, *highest]


def _measured(split: str, records: Sequence[Record], expected: Mapping[str, Description]) -> list[Measured]:
    awaited = [Quantity(name, d) for name, d in expected.items() if d.panel is not Panel.TRAINING]
    found = [q for q in quantities(records) if not isinstance(q, Fact)] or sorted(awaited, key=lambda q: q.order)
    return [Measured(q, key(split, q.name), _mark(q, records)) for q in found]


def _mark(quantity: Quantity, records: Sequence[Record]) -> str:
    """The mark, and of how many runs it is: W&B draws the number of each all the same."""
    readings = [quantity.read(record) for record in records]
    marked = sum(reading.caution(quantity.description) is not None for reading in readings)
    of = sum(reading.value is not None for reading in readings)
    return f" ({MARK} {marked} of {of} runs: {RESTS})" if marked else ""


def _beside_axes(measured: Sequence[Measured]) -> list[Measured]:
    bounds = _bounds(measured)
    return [m for m in measured if m.role in BESIDE_AXES or m in (*bounds[:1], *bounds[-1:])]


def _bounds(measured: Sequence[Measured]) -> list[Measured]:
    return [m for m in measured if m.role is Role.BOUND]


def _is_wide(values: Sequence[Any]) -> bool:
    numbers = [v if isinstance(v, int | float) and not isinstance(v, bool) else -inf for v in values]
    return min(numbers) > 0 and max(numbers) >= WIDE * min(numbers)


def _column(path: str) -> str:
    """A path of the configuration as a column of W&B's table of runs: W&B puts every section under `value`.

    >>> _column("model.beta")
    'config:model.value.beta'
    """
    section, *rest = path.split(".")
    return ".".join([f"config:{section}", "value", *rest])


def library() -> tuple[Any, Any]:
    """The two modules of wandb-workspaces: one for workspaces, one for panels."""
    try:
        from wandb_workspaces import workspaces
        from wandb_workspaces.reports import v2
    except ImportError:
        raise ValueError("a dashboard is built by wandb-workspaces: pip install 'vaebench[dash]'") from None
    return workspaces, v2


LONGEST_TITLE = 128  # characters of a title, the most that W&B allows


def report(study: Study, records: Sequence[Record], shown: Any) -> Any:
    """The report of a study. Its panels read W&B's runs, so they show what was synchronised.

    Args:
        records: of its runs; without any, the report has no answer and no table.
        shown: the workspace, whose panels it has too.
    """
    _, wr = library()
    blocks = [wr.TableOfContents(), *_findings(study, records), *_report_panels(study, shown)]
    title = f"{study.name}: {study.question}"[:LONGEST_TITLE]
    return wr.Report(project=project(), entity=shown.entity, title=title, blocks=blocks, width="fluid")


def _findings(study: Study, records: Sequence[Record]) -> Iterator[Any]:
    _, wr = library()
    if not records:
        return
    table = tables.table(records, (), study.presentation)
    yield wr.H1("Answer")
    yield from (wr.P(sentence) for sentence in answer(table))
    for sheet in (sheet for sheet in page(table).sheets if sheet.is_headline):
        yield wr.H2(sheet.caption if len(table.measured) == 1 else f"{sheet.caption}: {sheet.block}")
        yield wr.MarkdownBlock("\n\n".join(filter(None, [grid(sheet, notes=False), sheet.constants])))


def _report_panels(study: Study, shown: Any) -> Iterator[Any]:
    """The sections of the workspace: the figures of the run of the sweep, all others of the runs in groups of seeds."""
    _, wr = library()
    groups = [f"config.{path}" for path in axes(study) if path != SEED]
    for section in shown.sections:
        is_figures = section.name == FIGURES_SECTION
        runs = wr.Runset(  # of the report's project: W&B would ask its server for one that is named here
            name="The sweep" if is_figures else "Its runs",
            filters=chosen(study, [AGGREGATE if is_figures else TRAIN]),
            groupby=[] if is_figures else groups,
        )
        yield wr.H1(section.name)
        yield wr.PanelGrid(runsets=[runs], panels=list(section.panels))
