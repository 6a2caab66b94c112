"""Records in a terminal: one run, two configurations side by side, the headline of a sweep, one number."""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import fields, replace
from typing import Any, Literal

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from vaebench.records.description import Description, Panel, Role
from vaebench.records.provenance import commit
from vaebench.records.record import DUPLICATES, UNIT_RATES, Estimate, Record
from vaebench.reporting.answer import answer
from vaebench.reporting.comparison import Difference, differences, obstacle
from vaebench.reporting.select import Chosen, leaves_of
from vaebench.reporting.tables.escaping import visible
from vaebench.reporting.tables.labels import ABSENT, canonical, plain
from vaebench.reporting.tables.layout import Entry, Sheet, decimals, figure, page, worded
from vaebench.reporting.tables.quantities import MARK, Fact, caution, explanation, observations, quantities, with_role
from vaebench.reporting.tables.table import Table

BAR = 30  # length of the longest bar, in characters
LEAST = 0.01  # nats that the longest bar stands for at least: where all units collapsed, none has a long bar

MOST_BARS = 40
EIGHTHS = " ▏▎▍▌▋▊▉█"

LINES = {"collapse": "", "forecast_note": "the forecast: ", "stationary_verdict": "where training ended: "}
"""Facts of a record that explain collapse, and the words before each."""


def show(record: Record) -> RenderableType:
    """A run on one screen."""
    record = replace(record, **{f.name: _visible(getattr(record, f.name)) for f in fields(record)})
    blanks = [_section("No number", Text("\n".join(record.blanks), style="dim"))] if record.blanks else []
    return Group(_head(record), *_numbers(record), *_units(record), *_collapse(record), *blanks, *_origin(record))


def _head(record: Record) -> RenderableType:
    config = record.config
    model, data = config.get("model", {}), config.get("data", {})
    words = [record.study, model.get("name"), data.get("name"), f"seed {config.get('seed')}"]
    head = Text.assemble((record.id, "bold"), "  ", ", ".join(str(w) for w in words if w))
    return head if record.status == "done" else Text.assemble(head, "\n", (f"failed: {record.reason}", "red"))


def _numbers(record: Record) -> Iterator[RenderableType]:
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
    if estimate is None or estimate.standard_error is None:
        return None
    error = estimate.monte_carlo_error
    drawn = "" if error is None else f", Monte Carlo ± {error:.2g}"
    return f"± {estimate.standard_error:.2g} (n = {estimate.n}){drawn}"


def _units(record: Record) -> Iterator[RenderableType]:
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


def _origin(record: Record) -> Iterator[RenderableType]:
    origin = record.provenance
    code = commit(origin, 12)
    seconds = sum((origin.get("seconds") or {}).values())
    words = [
        origin.get("command"),
        code and f"commit {code}",
        origin.get("device"),
        f"{seconds:.1f} s" if seconds else None,
    ]
    if known := [str(word) for word in words if word]:
        yield _section("Origin", Text("\n".join(known)))


def _grid() -> Grid:
    grid = Grid.grid(padding=(0, 2))
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
    number = f"{_fixed(estimate.value):>12}{MARK if said else ''}{unit}"
    errors = {"standard error": estimate.standard_error, "Monte-Carlo error": estimate.monte_carlo_error}
    spread = "".join(f" ± {_fixed(error)} ({name})" for name, error in errors.items() if error is not None)
    over = f"over {observations(estimate.over)}" if estimate.over else None
    remarks = "; ".join(text for text in (said, over, estimate.note) if text)
    return f"{estimate.name:30} {number}{spread}" + (f"  [{remarks}]" if remarks else "")


def _fixed(value: float) -> str:
    """A number with four decimal places; with two digits where these would show none."""
    text = figure(value, PLACES)
    return f"{value:.2g}" if value and not float(text) else text


LEGEND = (
    "Means over the seeds that both have, with 95 % Student-t intervals; of two seeds both values, [a, b]. The "
    "difference, first minus second, is paired by seed; one seed has no interval, and pairs that agree to the digits "
    "shown have none. Bold: the interval excludes zero. Without any true difference, one in twenty does so by chance."
)


def pairs(first: Sequence[Chosen], second: Sequence[Chosen]) -> list[tuple[Chosen, Chosen]]:
    """Which rows are compared: one with one, or all rows that differ only in what the user named.

    A study may hold runs of several command lines. Then `beta:beta=1` against `beta:beta=4` gives one pair for each
    combination of the other settings. A row is compared with itself only if there is no other pair.

    Raises:
        ValueError: if there are no pairs.
    """
    if len(first) == len(second) == 1:
        return [(first[0], second[0])]
    asked = {path for chosen in (*first, *second) for path in chosen.asked}
    alike = [(a, b) for a in first for b in second if _rest(a, asked) == _rest(b, asked)]
    found = [(a, b) for a, b in alike if a.name != b.name] or alike
    if not found:
        many = first if len(first) > 1 else second
        names = "; ".join(chosen.name for chosen in many[:12])
        raise ValueError(f"{len(first)} rows against {len(second)}, none of one configuration; choose one: {names}")
    return found


def _rest(chosen: Chosen, asked: Collection[str]) -> dict[str, str]:
    """A row's configuration without what the user named."""
    leaves = leaves_of(chosen.row.group.config)
    return {path: canonical(v) for path, v in leaves if not any(path == a or path.startswith(f"{a}.") for a in asked)}


def compare(rows: Sequence[tuple[Chosen, Chosen]]) -> RenderableType:
    """For each pair: the settings that differ, and every quantity of both; or why the two cannot be compared.

    Raises:
        ValueError: if no pair can be compared, with the reason of the first.
    """
    refusals = [_refusal(*row) for row in rows]
    if refusals[0] is not None and all(refusals):
        raise ValueError(refusals[0])
    sections = [_pair(*row) if text is None else Text(f"{text}\n") for row, text in zip(rows, refusals, strict=True)]
    return Group(*sections, Text(LEGEND, style="dim"))


def _refusal(first: Chosen, second: Chosen) -> str | None:
    reason = obstacle(first.row.group, second.row.group)
    return None if reason is None else visible(f"{first.name} and {second.name}: {reason}")


def _pair(first: Chosen, second: Chosen) -> RenderableType:
    found = differences(first.row.group, second.row.group)
    head = Text.assemble((visible(first.name), "bold"), "\n", "against ", (visible(second.name), "bold"))
    return Group(head, *_settings(first, second), Text(), _compared(found), *_said_of(found), Text())


def _settings(first: Chosen, second: Chosen) -> Iterator[Text]:
    ours, theirs = (dict(leaves_of(chosen.row.group.config)) for chosen in (first, second))
    for path in dict.fromkeys((*ours, *theirs)):
        if (a := ours.get(path, ABSENT)) != (b := theirs.get(path, ABSENT)):
            yield Text("  " + visible(f"{path}: {plain(a)} against {plain(b)}"))


def _compared(found: Sequence[Difference]) -> Grid:
    table = Grid(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "first", "second", "difference", "seeds"):
        table.add_column(heading, justify="left" if not heading else "right", no_wrap=True)
    for each in found:
        count = ABSENT if each.gap is None else str(each.gap.interval.n)
        table.add_row(Text(visible(each.quantity.heading)), *_entries(each), count)
    return table


def _entries(each: Difference) -> list[Text]:
    """Both values and the difference, which has digits of its own; that of a marked number is marked too."""
    there, marks = [each.first, each.second], [MARK if caution else "" for caution in each.cautions]
    places = decimals(there)
    shown = [Text(worded(interval, places, mark)) for interval, mark in zip(there, marks, strict=True)]
    if each.gap is None:
        return [*shown, Text(ABSENT)]
    found = each.gap.interval
    is_rounding = max(abs(found.mean), found.spread or 0.0) <= each.gap.rounding
    shown.append(Text(worded(found, places if is_rounding else decimals([found]), max(marks))))
    if each.is_clear:  # green if the first is better, red if it is worse, neither if no direction is better
        sign = each.quantity.description.sign * each.gap.interval.mean
        shown[-1].stylize(f"bold {'green' if sign > 0 else 'red'}" if sign else "bold")
    return shown


def _said_of(found: Sequence[Difference]) -> Iterator[Text]:
    """What the marks say, and why a difference is empty."""
    for each in found:
        sides = zip(("first", "second"), each.cautions, strict=True)
        texts = [f", {side}: {said}" for side, said in sides if said is not None]
        for text in [f": no difference, for {each.reason}"] if each.reason else texts:
            yield Text(visible(each.quantity.heading + text), style="dim")


GAP = 2  # blanks between two columns

LABELS = 18
"""Characters that a column of labels keeps at least, unless all its words are shorter. Longer labels go on in lines."""


def headline(table: Table) -> RenderableType:
    """The headline of each block, what its mark means, and the answer; 80 columns are enough."""
    return Group(*_headline_parts(table))


def _headline_parts(table: Table) -> Iterator[RenderableType]:
    sheets = [sheet for sheet in page(table).sheets if sheet.is_headline]
    for sheet in sheets:
        yield Text(f"\n{visible(table.title)}{f': {visible(sheet.block)}' if len(table.measured) > 1 else ''}", "bold")
        yield _Headline(sheet)
        if sheet.constants:
            yield Text(visible(sheet.constants), "dim")
    if any(entry.marked for sheet in sheets for row in sheet.rows for entry in row):
        yield Text(explanation(table.marked), "dim")
    if any(entry.text == ABSENT for sheet in sheets for row in sheet.rows for entry in row):
        yield Text(f"{ABSENT}: the reason stands in a note of table.md", "dim")
    for remark in table.remarks:
        yield Text(visible(remark), "dim")
    for run, reason in table.failures:
        yield Text(f"failed: {visible(run)}: {visible(reason)}", "red")
    yield Text(f"\n{visible(answer(table)[0])}\n")


class _Headline:
    """A sheet that fits the width of the terminal: a number is never broken, and never parted from its sign.

    In a narrow terminal, headings go on in lines, then intervals stand below their means. What still finds no room is
    left out, from the right, and a line says so.
    """

    def __init__(self, sheet: Sheet) -> None:
        self.sheet = sheet

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        count = len(self.sheet.headings)
        tries = [(False, count), (False, count), *((True, shown) for shown in range(count, self.sheet.labels - 1, -1))]
        for number, (below, shown) in enumerate(tries):
            widths = [self._width(i, below, wrapped=number > 0) for i in range(shown)]
            if sum(widths) + GAP * (shown - 1) <= options.max_width:
                break
        yield self._grid(console, below, widths)
        if left := [visible(heading.text) for heading in self.sheet.headings[shown:]]:
            yield Text(f"no room here for {', '.join(left)}; table.md has every column", "dim")

    def _width(self, column: int, below: bool, wrapped: bool) -> int:
        """Characters that a column needs. Headings and labels may go on in further lines if `wrapped`."""
        heading = visible(self.sheet.headings[column].text)
        entries = [_entry_text(row[column], below).plain for row in self.sheet.rows]
        if wrapped and column < self.sheet.labels:
            longest = max((cell_len(word) for text in (heading, *entries) for word in text.split()), default=0)
            return min(longest, LABELS)
        lines = [text for entry in entries for text in entry.split("\n")]
        return max(map(cell_len, [*lines, *(heading.split() if wrapped else [heading])]))

    def _grid(self, console: Console, below: bool, widths: Sequence[int]) -> Grid:
        grid = Grid(box=None, padding=(0, GAP, 0, 0), pad_edge=False)
        headings = [Text(visible(heading.text)) for heading in self.sheet.headings[: len(widths)]]
        lines = [len(heading.wrap(console, width)) for heading, width in zip(headings, widths, strict=True)]
        for i, (heading, width) in enumerate(zip(headings, widths, strict=True)):
            is_label = i < self.sheet.labels
            above = Text(
                "\n" * (0 if is_label else max(lines[self.sheet.labels :]) - lines[i])
            )  # headings end on one line
            most = None if is_label else width
            justify: Literal["left", "right"] = "left" if is_label else "right"
            grid.add_column(above + heading, justify=justify, overflow="fold", min_width=width, max_width=most)
        for row in self.sheet.rows:
            grid.add_row(*(_entry_text(entry, below) for entry in row[: len(widths)]))
        return grid


def _entry_text(entry: Entry, below: bool) -> Text:
    """A number with its interval beside it, or below it."""
    text = Text(visible(entry.text), "bold" if entry.best else "")
    text.append(MARK if entry.marked else "")
    return text.append(f"{chr(10) if below else ' '}{entry.spread}" if entry.spread else "", "dim")
