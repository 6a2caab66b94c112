"""A study's W&B workspace as code: which runs, grouped by what, and which panels. What is measured names the panels."""

import json
from collections.abc import Iterator, Mapping, Sequence
from math import inf
from typing import Any, NamedTuple

from vaebench.config import Study
from vaebench.records.record import Record
from vaebench.reporting.figures import FIGURES
from vaebench.reporting.tables.labels import SEED, canonical
from vaebench.reporting.tables.quantities import BOUNDS, HIGHER, PANELS, Fact, Quantity, quantities
from vaebench.reporting.tables.reliability import MARK, RESTS
from vaebench.reporting.wandb.names import AGGREGATE, BEST, EPOCH, PICTURES, PROJECT, TRAIN, UNIT_CURVE, figure_key, key

EXPECTED = ("elbo", "rate", "distortion", "active_units", "collapsed_units", "squared_error")
"""Numbers that stand beside the axes; the panels are of these alone before any run is measured."""

CURVES = (*BEST, "val/rate", "val/active_units")

WIDE = 100.0
"""The ratio of an axis' ends from which it is drawn by its logarithm."""

UNFINISHED = ("failed", "crashed", "killed")
"""States of attempts that stay out of means over seeds."""


class Measured(NamedTuple):
    """A number of the tables, as a summary has it."""

    quantity: Quantity
    key: str
    mark: str = ""
    """What stands behind its heading where some runs' number rests on collapsed importance weights."""

    @property
    def title(self) -> str:
        """What stands above its panel."""
        return self.quantity.heading + self.mark

    @property
    def is_bound(self) -> bool:
        """Whether it is a bound of which more is better."""
        return (self.quantity.description.panel, self.quantity.description.better) == (BOUNDS, HIGHER)


def workspace(study: Study, records: Sequence[Record] = (), entity: str = "") -> Any:
    """The workspace of a study; runs of one configuration are a group, so that panels show means over seeds.

    Args:
        study: whose axes the runs are compared along.
        records: of its runs, as many as there are; they say what is measured.
        entity: whose workspace it is.

    Raises:
        ValueError: if the library that builds it is not installed.
    """
    ws, _ = _library()
    along = axes(study)
    splits = {split: _measured(split, records) for split in sorted({run.evaluate.split for run in study.runs})}
    shown = [m.key for measured in splits.values() for m in _beside_axes(measured)]
    return ws.Workspace(
        entity=entity,
        project=PROJECT,
        name=study.name,
        sections=[
            _figures(),
            _curves(),
            *(s for split, measured in splits.items() for s in _sections(split, along, measured)),
        ],
        runset_settings=ws.RunsetSettings(
            filters=f"Group = '{study.name}' and JobType in {[TRAIN, AGGREGATE]} and State not in {list(UNFINISHED)}",
            groupby=[ws.Config(path) for path in along if path != SEED],
            pinned_columns=[*map(_column, along), *(f"summary:{name}" for name in shown)],
        ),
    )


def axes(study: Study) -> dict[str, bool]:
    """The paths of a configuration by which the study's runs differ, and whether each is drawn by its logarithm."""
    seen: dict[str, list[Any]] = {}
    for run in study.runs:
        for path, value in _leaves(run.config):
            seen.setdefault(path, []).append(value)
    return {path: _is_wide(values) for path, values in seen.items() if len({canonical(v) for v in values}) > 1}


def outline(found: Any) -> list[tuple[str, list[str]]]:
    """Every section of a workspace with its panels, in words."""
    return [(section.name, [_described(panel) for panel in section.panels]) for section in found.sections]


def encoded(found: Any) -> bytes:
    """The workspace as JSON, as W&B is given it."""
    model = found._to_model().model_dump(mode="json", by_alias=True, exclude_none=True)
    return (json.dumps(model, indent=1, ensure_ascii=False) + "\n").encode()


def save(study: Study, records: Sequence[Record], entity: str | None) -> str:
    """Saves the workspace of a study as a new view, and gives its address.

    Raises:
        ValueError: if nobody is logged in, or the library is not installed.
    """
    _library()
    import wandb

    try:
        api = wandb.Api()
    except wandb.errors.UsageError:
        raise ValueError(
            "nobody is logged in to W&B: run `wandb login`, or leave out --save for the JSON alone"
        ) from None
    return str(workspace(study, records, entity or api.default_entity or "").save().url)


def _curves() -> Any:
    ws, wr = _library()
    lines = [wr.LinePlot(title=name, x=EPOCH, y=[name], title_x=EPOCH) for name in CURVES]
    units = wr.LinePlot(title="KL per unit in nats", x=EPOCH, metric_regex=f"{UNIT_CURVE}.*", title_x=EPOCH)
    return ws.Section("Curves", panels=[*lines, units], is_open=True)


def _figures() -> Any:
    """The figures of the study's page, which the run of the sweep holds."""
    ws, wr = _library()
    keys = [figure_key(figure.name) for figure in FIGURES]
    return ws.Section("Figures of the sweep", panels=[wr.MediaBrowser(title="Figures", media_keys=keys)], is_open=True)


def _sections(split: str, along: Mapping[str, bool], measured: Sequence[Measured]) -> Iterator[Any]:
    """What was measured on a split: all runs at once, the numbers by the panels of the tables, and images."""
    ws, wr = _library()
    yield ws.Section(f"Runs, {split}", panels=_overview(split, along, measured), is_open=True)
    for panel in PANELS:
        inside = [m for m in measured if m.quantity.description.panel == panel]
        bars = [wr.BarPlot(title=m.title, metrics=[wr.SummaryMetric(m.key)]) for m in inside]
        if bars:
            yield ws.Section(f"{panel}, {split}", panels=bars, is_open=panel == BOUNDS)
    sheets = [wr.MediaBrowser(title=name, media_keys=[key(split, name)], num_columns=1) for name in PICTURES]
    yield ws.Section(f"Pictures, {split}", panels=sheets, is_open=True)


def _overview(split: str, along: Mapping[str, bool], measured: Sequence[Measured]) -> list[Any]:
    """Axes beside numbers in parallel coordinates, the plane of rate and distortion, the highest of the last bound."""
    _, wr = _library()
    column, number = wr.ParallelCoordinatesPlotColumn, wr.SummaryMetric
    columns = [column(wr.Config(path), path, log=wide or None) for path, wide in along.items()]
    columns += [column(number(m.key), m.title) for m in _beside_axes(measured)]
    x, y = (number(key(split, name)) for name in ("rate", "distortion"))
    highest = [
        wr.ScalarChart(title=f"Highest {m.title}", metric=number(m.key), groupby_aggfunc="max")
        for m in _bounds(measured)[-1:]
    ]
    return [
        wr.ParallelCoordinatesPlot(title="Axes and numbers", columns=columns),
        wr.ScatterPlot(title="Rate and distortion", x=x, y=y),
        *highest,
    ]


def _measured(split: str, records: Sequence[Record]) -> list[Measured]:
    """What the records have measured, in the order of tables."""
    found = [q for q in quantities(records) if not isinstance(q, Fact)] or [Quantity(name) for name in EXPECTED]
    return [Measured(q, key(split, q.name), _mark(q, records)) for q in found]


def _mark(quantity: Quantity, records: Sequence[Record]) -> str:
    """The mark, and of how many runs it is: W&B draws the number of each all the same."""
    readings = [quantity.read(record) for record in records]
    marked = sum(reading.caution(quantity.name) is not None for reading in readings)
    of = sum(reading.value is not None for reading in readings)
    return f" ({MARK} {marked} of {of} runs: {RESTS})" if marked else ""


def _beside_axes(measured: Sequence[Measured]) -> list[Measured]:
    return [m for m in measured if m.quantity.name in EXPECTED or m in _bounds(measured)[-1:]]


def _bounds(measured: Sequence[Measured]) -> list[Measured]:
    return [m for m in measured if m.is_bound]


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(inner, f"{path}.{name}".removeprefix("."))
    else:
        yield path, value


def _is_wide(values: Sequence[Any]) -> bool:
    numbers = [v if isinstance(v, int | float) and not isinstance(v, bool) else -inf for v in values]
    return min(numbers) > 0 and max(numbers) >= WIDE * min(numbers)


def _column(path: str) -> str:
    """A path of the configuration as the table of runs knows it: W&B keeps every section under `value`."""
    section, *rest = path.split(".")
    return ".".join([f"config:{section}", "value", *rest])


def _described(panel: Any) -> str:
    return f"{panel.title} ({type(panel).__name__})"


def _library() -> tuple[Any, Any]:
    """The two modules of wandb-workspaces: of workspaces, and of panels."""
    try:
        from wandb_workspaces import workspaces
        from wandb_workspaces.reports import v2
    except ImportError:
        raise ValueError("a dashboard is built by wandb-workspaces: pip install 'vaebench[dash]'") from None
    return workspaces, v2
