"""Shows two configurations side by side, paired by seed."""

from collections.abc import Collection, Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from vaebench.reporting.paired import Difference, Incomparable, differences, obstacle
from vaebench.reporting.select import Chosen, leaves_of
from vaebench.reporting.tables.escaping import visible
from vaebench.reporting.tables.labels import ABSENT, canonical, plain
from vaebench.reporting.tables.layout import decimals, worded
from vaebench.reporting.tables.quantities import MARK

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
    return Group(head, *_settings(first, second), Text(), _numbers(found), *_remarks(found), Text())


def _settings(first: Chosen, second: Chosen) -> Iterator[Text]:
    """The settings in which the configurations differ."""
    ours, theirs = (dict(leaves_of(chosen.row.group.config)) for chosen in (first, second))
    for path in dict.fromkeys((*ours, *theirs)):
        if (a := ours.get(path, ABSENT)) != (b := theirs.get(path, ABSENT)):
            yield Text("  " + visible(f"{path}: {plain(a)} against {plain(b)}"))


def _numbers(found: Sequence[Difference | Incomparable]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "first", "second", "difference", "seeds"):
        table.add_column(heading, justify="left" if not heading else "right", no_wrap=True)
    for each in found:
        name = Text(visible(each.quantity.heading))
        if isinstance(each, Incomparable):
            places = decimals([each.first, each.second])
            first, second = (Text(worded(i, places)) for i in (each.first, each.second))
            table.add_row(name, first, second, ABSENT, ABSENT)
        else:
            table.add_row(name, *_entries(each), str(each.difference.n))
    return table


def _entries(each: Difference) -> list[Text]:
    """Both values and the difference; a difference of a marked number is marked too."""
    places = decimals([each.first, each.second, each.difference])
    marks = [MARK if caution else "" for caution in each.cautions]
    sides = zip((each.first, each.second, each.difference), (*marks, max(marks)), strict=True)
    shown = [Text(worded(interval, places, mark)) for interval, mark in sides]
    if each.is_clear:
        shown[-1].stylize(_style(each))
    return shown


def _remarks(found: Sequence[Difference | Incomparable]) -> Iterator[Text]:
    """What the marks say, and why a difference is empty."""
    for each in found:
        name = each.quantity.heading
        if isinstance(each, Incomparable):
            yield Text(visible(f"{name}: no difference, for {each.reason}"), style="dim")
            continue
        for side, caution in zip(("first", "second"), each.cautions, strict=True):
            if caution is not None:
                yield Text(visible(f"{name}, {side}: {caution}"), style="dim")


def _style(each: Difference) -> str:
    """Green if the first is better, red if it is worse, neither if no direction is better."""
    sign = each.quantity.description.sign
    if not sign:
        return "bold"
    return "bold green" if each.difference.mean * sign > 0 else "bold red"
