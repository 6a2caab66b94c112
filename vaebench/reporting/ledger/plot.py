"""Published against measured: one plot of all numbers that have both, on the diagonal where they agree."""

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vaebench.reporting.figures.base import Drawn
from vaebench.reporting.figures.svg import CATEGORIES, FAINT, INK, panel, variable
from vaebench.reporting.ledger.verdict import Judgement, Measured, Verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TITLE = "Published against measured"

COLOURS = {
    Verdict.REPRODUCED: CATEGORIES[2],
    Verdict.DIFFERS: CATEGORIES[5],
    Verdict.OTHER_SAMPLE: CATEGORIES[0],
    Verdict.SMALLER_BUDGET: CATEGORIES[4],
    Verdict.NOT_COMPARABLE: CATEGORIES[6],
}

LEFT, TOP, LINE = 65, 24, 11
"""Where the legend stands, far above the diagonal and between lines of the grid; and the height of a line."""

LIGHT = {"--c0": "#2f6db5", "--c2": "#17806b", "--c4": "#8a6d00", "--c5": "#bb3b55", "--c6": "#4d5a6b"}
"""The colours of `style.css`, which a picture on its own cannot read."""


def plot(judgements: Sequence[Judgement]) -> Drawn | None:
    """The plot; None if nothing was measured."""
    shown = [(j, m) for j in judgements for m in j.points if _is_shown(m)]
    if not shown:
        return None
    absent = sum(m.value is not None for j in judgements for m in j.points) - len(shown)
    caption = f"{len(shown)} numbers on logarithmic axes; a bar is the 95 % interval over seeds, or what is allowed."
    if absent:
        caption += f" {absent} more have a published value of 0 (a difference that must vanish) and stand in the table."
    verdicts = dict.fromkeys(j.verdict for j, _ in shown)
    legend = tuple((variable(COLOURS[v]), str(v)) for v in Verdict if v in verdicts)
    return Drawn("ledger", TITLE, caption, (panel(TITLE, "", lambda axes: _draw(axes, shown)),), legend)


def standalone(drawn: Drawn) -> str:
    """The picture as a file of its own, readable on a light and on a dark page, with its legend inside."""
    svg = drawn.panels[0].svg.removesuffix("</svg>")
    for row, (colour, text) in enumerate(drawn.legend):
        svg += f'<text x="{LEFT}" y="{TOP + LINE * row}" font-size="8.5" style="fill: var(--{colour})">{text}</text>\n'
    svg += "</svg>"
    svg = re.sub(r"var\((--c\d)\)", lambda found: LIGHT.get(found[1], "#777"), svg)
    svg = re.sub(r"var\(--[a-z]+\)", "#8a909b", svg).replace("currentColor", "#777d88")
    svg = svg.replace("<text ", '<text fill="#777d88" font-family="sans-serif" ')
    return svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1) + "\n"


def _is_shown(measured: Measured) -> bool:
    """Whether both numbers have a place on logarithmic axes."""
    value = measured.value
    return value is not None and math.isfinite(value) and min(measured.published, value) > 0


def _draw(axes: "Axes", shown: Sequence[tuple[Judgement, Measured]]) -> None:
    both = [number for _, m in shown for number in (m.published, m.value or m.published)]
    low, high = min(both) / 1.5, max(both) * 1.5
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.plot([low, high], [low, high], color=FAINT, linewidth=1)
    for judgement, measured in shown:
        value = measured.value or math.nan
        error = min(measured.half_width or measured.allowed or 0.0, 0.9 * value)
        colour = COLOURS.get(judgement.verdict, INK)
        axes.errorbar(
            measured.published, value, yerr=error, xerr=min(measured.point.error, 0.9 * measured.published) or None,
            fmt="o", color=colour, markersize=3.5, elinewidth=1, capsize=2,
        )  # fmt: skip
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.set_xlabel("published")
    axes.set_ylabel("measured")
