"""Shows one run: its numbers, the KL of every unit, and why units collapsed; and a number that is measured again."""

import math
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from vaebench.records.description import Description, Panel, Role
from vaebench.records.record import DUPLICATES, UNIT_RATES, Estimate, Record
from vaebench.reporting.tables.escaping import visible
from vaebench.reporting.tables.layout import figure
from vaebench.reporting.tables.quantities import MARK, Fact, caution, observations, quantities, with_role

BAR = 30
"""Length of the longest bar, in characters."""

LEAST = 0.01
"""Nats that the longest bar stands for at least: where all units collapsed, none has a long bar."""

MOST_BARS = 40
EIGHTHS = " ▏▎▍▌▋▊▉█"

LINES = {"collapse": "", "forecast_note": "the forecast: ", "stationary_verdict": "where training ended: "}
"""Facts of a record that explain collapse, and the words before each."""


def show(record: Record) -> RenderableType:
    """A run on one screen."""
    record = replace(record, **{f.name: _visible(getattr(record, f.name)) for f in fields(record)})
    parts = [
        _head(record),
        *_numbers(record),
        *_units(record),
        *_collapse(record),
        *_not_applicable(record),
        *_origin(record),
    ]
    return Group(*parts)


def _head(record: Record) -> RenderableType:
    config = record.config
    model, data = config.get("model", {}), config.get("data", {})
    words = [record.study, model.get("name"), data.get("name"), f"seed {config.get('seed')}"]
    head = Text.assemble((record.id, "bold"), "  ", ", ".join(str(w) for w in words if w))
    return head if record.status == "done" else Text.assemble(head, "\n", (f"failed: {record.reason}", "red"))


def _numbers(record: Record) -> Iterator[RenderableType]:
    """A grid for each panel of the table."""
    for panel in Panel:
        shown = [q for q in quantities([record]) if q.description.panel is panel and q.read(record).value is not None]
        if not shown:
            continue
        grid = _grid()
        for quantity in shown:
            reading = quantity.read(record)
            assert reading.value is not None
            error = None if isinstance(quantity, Fact) else _error(record.estimate(quantity.name))
            mark = reading.caution(quantity.description)
            said = [
                text for text in (mark, reading.over and f"over {observations(reading.over)}", reading.remark) if text
            ]
            value = f"{reading.value + 0.0:.6g}{MARK if mark else ''}"  # 0.0 takes the sign from -0.0
            remarks = "" if isinstance(quantity, Fact) else "; ".join(said)
            grid.add_row(Text(quantity.heading), value, error or "", Text(remarks, style="dim"))
        yield _section(panel.heading, grid)


def _visible(value: Any) -> Any:
    """A value of a record in which every text is safe for a terminal."""
    match value:
        case str():
            return visible(value)
        case dict():
            return {_visible(k): _visible(v) for k, v in value.items()}
        case Estimate():
            return Estimate(*map(_visible, value))
        case list():
            return [_visible(v) for v in value]
    return value


def _error(estimate: Estimate | None) -> str | None:
    """The standard error over observations, and the Monte-Carlo error of the draws."""
    if estimate is None or estimate.standard_error is None:
        return None
    noise = estimate.monte_carlo_error
    drawn = "" if noise is None else f", Monte Carlo ± {noise:.2g}"
    return f"± {estimate.standard_error:.2g} (n = {estimate.n}){drawn}"


def _units(record: Record) -> Iterator[RenderableType]:
    """A bar for each unit, the largest first."""
    estimate = record.estimate(UNIT_RATES)
    if estimate is None or not isinstance(estimate.value, list) or not all(map(math.isfinite, estimate.value)):
        return
    ranked = sorted(enumerate(estimate.value, 1), key=lambda pair: -pair[1])
    most = max(ranked[0][1], LEAST) if ranked else 1.0
    grid = _grid()
    for unit, nats in ranked[:MOST_BARS]:
        grid.add_row(f"unit {unit}", f"{nats:.4f}", Text(bar(nats / most), style="blue"), "")
    rest = ranked[MOST_BARS:]
    if rest:
        grid.add_row(f"{len(rest)} more", f"{sum(nats for _, nats in rest):.4f}", Text("together", style="dim"), "")
    yield _section("KL per unit in nats", grid)


def bar(share: float) -> str:
    """A bar for a share of the longest, to an eighth of a character; a share above zero is always visible.

    >>> bar(0.1)
    '███'
    """
    eighths = round(max(share, 0.0) * BAR * 8)
    full, part = divmod(max(eighths, 1 if share > 0 else 0), 8)
    return "█" * full + (EIGHTHS[part] if part else "")


def _collapse(record: Record) -> Iterator[RenderableType]:
    """How many units collapsed, and why, as the record's facts say."""
    said = [f"{before}{record.facts[name]}" for name, before in LINES.items() if record.facts.get(name)]
    counts = [q.read(record).value for q in with_role(quantities([record]), Role.COLLAPSED_UNITS)]
    for count in [c for c in counts if c is not None]:
        said.insert(0, f"{count:g} of {record.facts.get('latent_dim', '?')} units collapsed")
    if said:
        yield _section("Collapse", Text("\n".join(said)))
    if duplicates := record.facts.get(DUPLICATES):
        split = record.comparability.get("split", "measured")
        yield _section(
            "Data", Text(f"{duplicates} observations of the {split} split are in the training split as well")
        )


def _not_applicable(record: Record) -> Iterator[RenderableType]:
    """The metrics without a number, by reason."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in record.not_applicable.items():
        by_reason.setdefault(reason, []).append(name)
    if by_reason:
        lines = [f"{', '.join(names)}: {reason}" for reason, names in by_reason.items()]
        yield _section("No number", Text("\n".join(lines), style="dim"))


def _origin(record: Record) -> Iterator[RenderableType]:
    origin = record.provenance
    commit = (
        f"commit {str(origin['commit'])[:12]}{' with changes' * bool(origin.get('dirty'))}"
        if origin.get("commit")
        else ""
    )
    seconds = sum((origin.get("seconds") or {}).values())
    words = [origin.get("command"), commit, origin.get("device"), f"{seconds:.1f} s" if seconds else None]
    if known := [str(word) for word in words if word]:
        yield _section("Origin", Text("\n".join(known)))


def _grid() -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_column(overflow="fold")
    return grid


def _section(title: str, body: RenderableType) -> RenderableType:
    return Group(Text(f"\n{title}", style="bold"), Padding(body, (0, 0, 0, 2)))


PLACES = 4


def measured(estimate: Estimate, description: Description) -> str:
    """An estimate with its mark, unit, standard error over observations, Monte-Carlo error, and all remarks."""
    assert not isinstance(estimate.value, list)
    said = caution(description, [estimate.weights]) if estimate.weights and estimate.unreliable else None
    unit = f" {description.unit}" if description.unit else ""
    number = f"{figure(estimate.value, PLACES):>12}{MARK if said else ''}{unit}"
    errors = {"standard error": estimate.standard_error, "Monte-Carlo error": estimate.monte_carlo_error}
    spread = "".join(f" ± {error:.{PLACES}f} ({name})" for name, error in errors.items() if error is not None)
    over = f"over {observations(estimate.over)}" if estimate.over else None
    remarks = "; ".join(text for text in (said, over, estimate.note) if text)
    return f"{estimate.name:30} {number}{spread}" + (f"  [{remarks}]" if remarks else "")
