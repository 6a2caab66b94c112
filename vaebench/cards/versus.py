"""Two configurations side by side, paired by seed."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from vaebench.pairing import Difference, differences, obstacle
from vaebench.selection import Chosen
from vaebench.tables.intervals import Interval
from vaebench.tables.labels import ABSENT, plain
from vaebench.tables.quantities import UNRANKED
from vaebench.tables.sheets import decimals, figure

LEGEND = (
    "Means over the seeds that both have; the difference, first minus second, is paired by seed, with its 95 % "
    "Student-t interval. Bold: it excludes zero, as one in twenty does by chance where there is no difference."
)


def pairs(first: Sequence[Chosen], second: Sequence[Chosen]) -> list[tuple[Chosen, Chosen]]:
    """Which rows stand against each other: one against one, or all that have the same configuration.

    Raises:
        ValueError: if it is not clear, or there are none.
    """
    if len(first) == len(second) == 1:
        return [(first[0], second[0])]
    found = [(a, b) for a in first for b in second if a.row.group.config == b.row.group.config]
    if not found:
        many = first if len(first) > 1 else second
        names = "; ".join(chosen.name for chosen in many[:12])
        raise ValueError(f"{len(first)} rows against {len(second)}, none of one configuration; choose one: {names}")
    return found


def versus(rows: Sequence[tuple[Chosen, Chosen]]) -> RenderableType:
    """Of every pair what is set differently, and every quantity of both; of one that does not compare, why.

    Raises:
        ValueError: if none compares, with the reason of the first.
    """
    refusals = [_refusal(*row) for row in rows]
    if refusals[0] is not None and all(refusals):
        raise ValueError(refusals[0])
    shown = [_pair(*row) if text is None else Text(f"{text}\n") for row, text in zip(rows, refusals, strict=True)]
    return Group(*shown, Text(LEGEND, style="dim"))


def _refusal(first: Chosen, second: Chosen) -> str | None:
    reason = obstacle(first.row.group, second.row.group)
    return None if reason is None else f"{first.name} and {second.name}: {reason}"


def _pair(first: Chosen, second: Chosen) -> RenderableType:
    found = differences(first.row.group, second.row.group)
    head = Text.assemble((first.name, "bold"), "\n", "against ", (second.name, "bold"))
    return Group(head, *_settings(first, second), Text(), _numbers(found), Text())


def _settings(first: Chosen, second: Chosen) -> Iterator[Text]:
    """The leaves at which the configurations differ."""
    ours, theirs = (dict(_leaves(chosen.row.group.config)) for chosen in (first, second))
    for path in dict.fromkeys((*ours, *theirs)):
        if (a := ours.get(path, ABSENT)) != (b := theirs.get(path, ABSENT)):
            yield Text(f"  {path}: {plain(a)} against {plain(b)}")


def _leaves(config: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every path of a configuration that ends in a value, and the value."""
    if not isinstance(config, Mapping):
        yield path, config
        return
    for key, value in config.items():
        yield from _leaves(value, f"{path}.{key}".removeprefix("."))


def _numbers(found: Sequence[Difference]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "first", "second", "difference", "seeds"):
        table.add_column(heading, justify="left" if not heading else "right", no_wrap=True)
    for each in found:
        places = decimals([each.first, each.second, each.difference])
        shown = [Text(_interval(i, places)) for i in (each.first, each.second, each.difference)]
        if each.is_clear:
            shown[2].stylize(_style(each))
        table.add_row(Text(each.quantity.heading), *shown, str(each.difference.n))
    return table


def _style(each: Difference) -> str:
    """Green where the first is better, red where it is worse, where better has a meaning."""
    better = each.quantity.description.better
    if better == UNRANKED:
        return "bold"
    return "bold green" if each.difference.mean * better > 0 else "bold red"


def _interval(interval: Interval, places: int | None) -> str:
    spread = "" if interval.half_width is None else f" ± {figure(interval.half_width, places)}"
    return figure(interval.mean, places) + spread
