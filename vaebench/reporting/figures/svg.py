"""A chart as inline SVG: its colours are the page's, its bytes a function of what is drawn.

What is drawn in the colours named here leaves as CSS variables, so that one chart serves a light and a dark page.
"""

import io
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from vaebench.reporting.tables.escaping import visible

INK, FAINT, ACCENT, WARNING, GROUND = "#010101", "#010102", "#010103", "#010104", "#010105"
CATEGORIES = tuple(f"#0102{i:02x}" for i in range(10))
"""Colours of things that have no order."""

RAMP = tuple(f"#0103{i:02x}" for i in range(8))
"""Colours of things that have one, from little to much."""

VARIABLES = {INK: "currentColor", FAINT: "var(--faint)", ACCENT: "var(--accent)", WARNING: "var(--warning)"}
VARIABLES |= {GROUND: "var(--ground)"}
VARIABLES |= {colour: f"var(--c{i})" for i, colour in enumerate(CATEGORIES)}
VARIABLES |= {colour: f"var(--r{i})" for i, colour in enumerate(RAMP)}

WIDTH, HEIGHT, POINTS = 3.7, 2.6, 72
"""Inches, and points an inch; a point is a unit of the picture, on a telephone a little more than a pixel."""

BOTTOM = 0.17
"""The share of the height below the horizontal axis."""

STYLE: dict[str, object] = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",  # comes with matplotlib, so that text is measured alike everywhere
    "font.size": 8.5,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.alpha": 0.4,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.5,
    "path.simplify": False,
    "axes.formatter.useoffset": False,
}


class Panel(NamedTuple):
    """One picture, and what stands above it."""

    title: str
    svg: str


class Chart(NamedTuple):
    """Panels that show one thing, under one legend.

    Attributes:
        name: a word for links.
        title: what is shown.
        caption: how to read it.
        panels: the pictures.
        legend: colour (the number of its CSS variable, `c0` or `r0`) and text of every entry.
    """

    name: str
    title: str
    caption: str
    panels: tuple[Panel, ...]
    legend: tuple[tuple[str, str], ...] = ()


def panel(chart: str, title: str, draw: Callable[[Axes], None]) -> Panel:
    """A picture of a chart.

    Args:
        chart: what the chart shows, for those who do not see it.
        title: of the panel; empty if it is the only one.
        draw: what puts the marks on the axes.
    """
    style: Any = {**STYLE, "svg.hashsalt": f"{chart}/{title}"}  # matplotlib's stubs know every key by name
    with rc_context(style):
        figure = Figure(figsize=(WIDTH, HEIGHT), dpi=POINTS)
        axes = figure.add_axes((0.2, BOTTOM, 0.78, 0.97 - BOTTOM))
        draw(axes)
        _make_room(axes)
        out = io.StringIO()
        FigureCanvasSVG(figure).print_svg(out, metadata={"Date": None})
    return Panel(title, _inline(out.getvalue(), ": ".join(filter(None, [chart, title]))))


def _make_room(axes: Axes) -> None:
    """Moves the left edge to where the labels of the vertical axis need it, and no farther."""
    labels = axes.yaxis.get_tightbbox()
    left = 0.02 if labels is None else (axes.bbox.x0 - labels.x0 + 3) / (WIDTH * POINTS)
    axes.set_position((left, BOTTOM, 0.98 - left, 0.97 - BOTTOM))


def variable(colour: str) -> str:
    """The short name of a colour's CSS variable."""
    return VARIABLES[colour].removeprefix("var(--").removesuffix(")")


def _inline(svg: str, label: str) -> str:
    """The picture without what a page has no use for; two decimals, a hundredth of a pixel, are enough."""
    box = re.search(r'viewBox="([^"]+)"', svg)
    assert box is not None
    body = svg[svg.index("<g ") :]
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, flags=re.S)
    body = re.sub(r'<g id="[^"]*"/>', "", body)  # an empty group, and its id would not be the page's only one
    body = re.sub(r'<g id="[^"]*">', "<g>", body).replace("xlink:href", "href")
    body = re.sub(r"<!--.*?-->", "", body, flags=re.S)
    body = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(?<![\w.#])-?\d+\.\d{3,}", _short, tag[0]), body)
    body = re.sub(r"#010[123][0-9a-f]{2}", lambda found: VARIABLES[found[0]], body)
    body = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", body)
    body = re.sub(r"<[^>]*>", lambda tag: " ".join(tag[0].split()), body)
    text = re.sub(r"\s*\n\s*", "\n", body).strip()
    return f'<svg role="img" aria-label="{_attribute(label)}" viewBox="{box[1]}">\n{text}'


def _short(found: re.Match[str]) -> str:
    text = f"{float(found[0]):.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _attribute(text: str) -> str:
    return visible(text).replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
