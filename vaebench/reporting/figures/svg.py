"""A panel as inline SVG; the same drawing always gives the same bytes.

A panel is plotted in the placeholder colours below. In the SVG each becomes a CSS variable, so that one drawing serves
a light and a dark page. What matplotlib repeats at every mark becomes a class of `RULES`. The SVG says where its axes
lie (`data-x`, `data-y`), so that the script of the page can read the values of its points.
"""

import io
import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from vaebench.reporting.tables.escaping import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes as Axes
    from matplotlib.lines import Line2D
else:
    Axes = Line2D = Any  # so that importing a figure does not import matplotlib


INK, FAINT, ACCENT, WARNING, GROUND = "#010101", "#010102", "#010103", "#010104", "#010105"
CATEGORIES = tuple(f"#0102{i:02x}" for i in range(10))
"""Colours for values without an order."""

RAMP = tuple(f"#0103{i:02x}" for i in range(8))
"""Colours for values with an order, from small to large."""

VARIABLES = {INK: "currentColor", FAINT: "var(--faint)", ACCENT: "var(--accent)", WARNING: "var(--warning)"}
VARIABLES |= {GROUND: "var(--ground)"}
VARIABLES |= {colour: f"var(--c{i})" for i, colour in enumerate(CATEGORIES)}
VARIABLES |= {colour: f"var(--r{i})" for i, colour in enumerate(RAMP)}

WIDTH, HEIGHT, POINTS = 3.7, 2.6, 72  # size of a panel in inches, and points per inch; a point is one unit of the SVG
BOTTOM = 0.17  # the share of the height below the horizontal axis

LEFT, TOP, LINE = 65, 24, 11
"""Where the legend of a picture that is a file stands, between lines of the grid; and the height of a line."""

LIGHT = {"--c0": "#2f6db5", "--c2": "#17806b", "--c4": "#8a6d00", "--c5": "#bb3b55", "--c6": "#4d5a6b"}
"""The colours of `style.css`, which a picture on its own cannot read."""

STYLE: dict[str, object] = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",  # matplotlib brings it, so that text has the same width on every machine
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
    "xtick.major.size": 0,  # the grid shows where a label belongs
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "xtick.major.pad": 5,
    "ytick.major.pad": 5,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.5,
    "path.simplify": False,
    "axes.formatter.useoffset": False,
}

_TEXT = "font-size: 8.5px; font-family: 'DejaVu Sans'; {}fill: currentColor"

CLASSES = {
    "fill: none; stroke: var(--faint); stroke-opacity: 0.4; stroke-width: 0.6; stroke-linecap: square": "grid",
    "fill: none; stroke: var(--faint); stroke-width: 0.8; stroke-linejoin: miter; stroke-linecap: square": "axis",
    _TEXT.format(""): "at",
    _TEXT.format("text-anchor: middle; "): "at mid",
    _TEXT.format("text-anchor: end; "): "at end",
}
"""The styles that matplotlib writes at every label and line of a grid, and the class that says the same."""

RULES = """\
svg .grid { fill: none; stroke: var(--faint); stroke-opacity: 0.4; stroke-width: 0.6; }
svg .axis { fill: none; stroke: var(--faint); stroke-width: 0.8; }
svg .at { font-size: 8.5px; fill: currentColor; }
svg .mid { text-anchor: middle; }
svg .end { text-anchor: end; }
svg .line { fill: none; stroke-width: 1.4; }
"""
"""What these classes mean; a page has it once."""


class Panel(NamedTuple):
    """One SVG, and the title above it."""

    title: str
    svg: str


class Asked(NamedTuple):
    """The arguments of `panel`."""

    figure: str
    title: str
    plot: Callable[[Axes], None]


def panel(figure: str, title: str, plot: Callable[[Axes], None]) -> Panel:
    """Draws a panel of a figure.

    Args:
        figure: what the figure shows, for people who hear the page.
        title: of the panel; empty if it is the only one.
        plot: puts the marks on the axes. A line with a label of its own has it at its end, where there is room.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    # The salt makes the ids of clip paths and markers a function of the titles.
    style: Any = {**STYLE, "svg.hashsalt": f"{figure}/{title}"}  # matplotlib's stubs list every key
    with rc_context(style):
        canvas = Figure(figsize=(WIDTH, HEIGHT), dpi=POINTS)
        axes = canvas.add_axes((0.2, BOTTOM, 0.78, 0.97 - BOTTOM))
        plot(axes)
        for text in (axes.xaxis.label, axes.yaxis.label, *axes.texts):
            text.set(text=visible(text.get_text()), parse_math=False)  # a $ is a $
        _write_powers(axes)
        _fit_edges(axes)
        label_ends(axes)
        _hide_what_touches(axes)
        out = io.StringIO()
        FigureCanvasSVG(canvas).print_svg(out, metadata={"Date": None})
        scales = _scale(axes, "x"), _scale(axes, "y")
    return Panel(title, _inline(out.getvalue(), ": ".join(filter(None, [figure, title])), scales))


def _write_powers(axes: Axes) -> None:
    """Writes the power of ten of very large or small numbers at each tick; matplotlib writes it outside the panel."""
    from matplotlib.ticker import ScalarFormatter

    for axis in (axes.xaxis, axes.yaxis):
        ticks, formatter = [float(v) for v in axis.get_majorticklocs()], axis.get_major_formatter()
        if isinstance(formatter, ScalarFormatter):
            formatter.format_ticks(ticks)
            if formatter.get_offset():
                near = 1e-3 * min((b - a for a, b in pairwise(ticks)), default=0.0)
                digits = next((n for n in range(1, 17) if all(abs(float(f"{v:.{n}g}") - v) <= near for v in ticks)), 17)
                axis.set_major_formatter(partial(_tick, digits))


def _tick(digits: int, value: float, position: float) -> str:
    return f"{value:.{digits}g}".replace("-", "−")


def _hide_what_touches(axes: Axes) -> None:
    """Hides labels of ticks that would touch another one; those of powers of ten stay before those between them."""
    for axis, horizontal in ((axes.xaxis, True), (axes.yaxis, False)):
        taken: list[tuple[float, float]] = []
        axis.get_ticklabels(which="both")  # matplotlib writes them now
        first, last = sorted(axis.get_view_interval())
        ticks = (*axis.get_major_ticks(), *axis.get_minor_ticks())
        for label in (tick.label1 for tick in ticks if first <= tick.get_loc() <= last):
            box = label.get_window_extent()
            low, high = (box.x0, box.x1) if horizontal else (box.y0 + 1, box.y1 - 1)
            if any(low < end and start < high for start, end in taken):
                label.set_visible(False)
            elif label.get_text():
                taken.append((low, high))


def _fit_edges(axes: Axes) -> None:
    """Moves the left edge so that the vertical labels just have room, and the right edge so that the last tick has."""
    labels = axes.yaxis.get_tightbbox()
    left = 0.02 if labels is None else (axes.bbox.x0 - labels.x0 + 3) / (WIDTH * POINTS)
    axes.set_position((left, BOTTOM, 0.98 - left, 0.97 - BOTTOM))
    below = axes.xaxis.get_tightbbox()
    over = 0.0 if below is None else max(below.x1 / (WIDTH * POINTS) - 0.995, 0.0)
    axes.set_position((left, BOTTOM, 0.98 - left - over, 0.97 - BOTTOM))


def standalone(panel: Panel, legend: Iterable[tuple[str, str]], left: int = LEFT) -> str:
    """A picture as a file of its own, readable on a light and on a dark page, with its legend inside.

    Args:
        legend: colour, as `variable` names it, and text of every entry.
        left: where the legend begins, in points.
    """
    svg = panel.svg.removesuffix("</svg>")
    for row, (colour, text) in enumerate(legend):
        svg += f'<text x="{left}" y="{TOP + LINE * row}" font-size="8.5" style="fill: var(--{colour})">{text}</text>\n'
    svg += "</svg>"
    svg = svg.replace(">\n", f">\n<style>{RULES}</style>\n", 1)
    svg = re.sub(r"var\((--c\d)\)", lambda found: LIGHT.get(found[1], "#777"), svg)
    svg = re.sub(r"var\(--[a-z]+\)", "#8a909b", svg).replace("currentColor", "#777d88")
    svg = svg.replace("<text ", '<text fill="#777d88" font-family="sans-serif" ')
    return svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1) + "\n"


def _scale(axes: Axes, which: str) -> str:
    """An axis for the script of the page: `linear` or `log`, label, and place in the SVG and value of both its ends."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axes.get_xlim() if which == "x" else axes.get_ylim()
    box = axes.bbox
    first, last = (box.x0, box.x1) if which == "x" else (HEIGHT * POINTS - box.y0, HEIGHT * POINTS - box.y1)
    label = axis.get_label_text().replace(";", ",")
    return f"{axis.get_scale()};{label};{first:.2f};{low:.9g};{last:.2f};{high:.9g}"


def renamed(panel: Panel, prefix: str) -> str:
    """The SVG with its ids under a prefix, for a page with the same panel of several studies."""
    return re.sub(r'(<[^>]*?\bid="|url\(#|href="#)', rf"\g<1>{prefix}", panel.svg)


def variable(colour: str) -> str:
    """The name of a colour's CSS variable.

    >>> variable(RAMP[2])
    'r2'
    """
    return VARIABLES[colour].removeprefix("var(--").removesuffix(")")


def _inline(svg: str, label: str, scales: tuple[str, str]) -> str:
    """What a page needs of matplotlib's SVG: with a label, and two decimals (a hundredth of a pixel)."""
    box = re.search(r'viewBox="([^"]+)"', svg)
    assert box is not None
    body = svg[svg.index("<g ") :]
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, flags=re.S)  # the page has a style of its own
    body = re.sub(r'<g id="[^"]*"/>', "", body)  # empty groups
    # Every panel has the same ids of groups, and in a page an id must be unique.
    body = re.sub(r'<g id="[^"]*">', "<g>", body).replace("xlink:href", "href")
    body = re.sub(r"<!--.*?-->", "", body, flags=re.S)
    # Only numbers inside tags are coordinates; σ² = 0.125 in a text keeps its digits.
    body = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(?<![\w.#])-?\d+\.\d{3,}", _short, tag[0]), body)
    body = re.sub(r"#010[123][0-9a-f]{2}", lambda found: VARIABLES[found[0]], body)  # placeholders to CSS variables
    body = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", body)  # the page's own font
    body = re.sub(r"<[^>]*>", lambda tag: " ".join(tag[0].split()), body)
    body = re.sub(r'<path [^>]*style="fill: none"/>', "", _without_plain_groups(body))  # backgrounds that show nothing
    text = re.sub(r"\s*\n\s*", "\n", _terse(body)).strip()
    x, y = (_attribute(scale) for scale in scales)
    return f'<svg role="img" aria-label="{_attribute(label)}" viewBox="{box[1]}" data-x="{x}" data-y="{y}">\n{text}'


def _terse(svg: str) -> str:
    """The same picture in about half of matplotlib's bytes.

    >>> _terse('<path d="M 1 2 L 3 4 L 5 6 " style="fill: none"/>')
    '<path d="M1 2 3 4 5 6" style="fill: none"/>'
    """
    svg = re.sub(r' transform="rotate\(-?0 [^"]*"', "", svg)
    svg = re.sub(r' d="([^"]*)"', lambda found: f' d="{_path(found[1])}"', svg)
    svg = re.sub(r' style="([^"]*)"', _class, svg)
    svg = re.sub(r' clip-path="[^"]*" (class="grid")', r" \1", svg)  # a grid ends where its axes end
    return re.sub(r"; stroke-linejoin: (?:miter|round)|; stroke-linecap: square", "", svg)  # as the page has it


def _class(style: re.Match[str]) -> str:
    """A class where the style is one of many, else the style; a line keeps its colour beside its class."""
    if name := CLASSES.get(style[1]):
        return f' class="{name}"'
    line = re.fullmatch(r"fill: none; stroke: (var\(--\w+\)); stroke-width: 1\.4; stroke-linecap: square", style[1])
    return f' class="line" style="stroke: {line[1]}"' if line else style[0]


def _path(path: str) -> str:
    """A path whose lines follow one another without a letter; one with curves keeps its letters."""
    letters = path if re.search("[CQ]", path) else path.replace("L", "")
    return re.sub(r" *([A-Za-z]) *", r"\1", " ".join(letters.split()))


def _without_plain_groups(svg: str) -> str:
    """The SVG without groups that have no attribute: they change nothing, and are a tenth of matplotlib's text.

    >>> _without_plain_groups('<g><g style="a"><path/></g></g>')
    '<g style="a"><path/></g>'
    """
    is_plain: list[bool] = []

    def kept(tag: re.Match[str]) -> str:
        if tag[0] != "</g>":
            is_plain.append(tag[0] == "<g>")
        plain = is_plain.pop() if tag[0] == "</g>" else is_plain[-1]
        return "" if plain else tag[0]

    return re.sub(r"<g>|<g [^>]*[^/]>|</g>", kept, svg)


def _short(found: re.Match[str]) -> str:
    text = f"{float(found[0]):.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def _attribute(text: str) -> str:
    return visible(text).replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")


LONGEST = 16  # characters of a label that has room beside a panel

NEAREST, FARTHEST = 9.5, 24.0
"""Points between two labels, and the most by which a label may stand above or below the end of its line."""

LEADER = 7.0  # length in points of the stroke from a line to its label


def label_ends(axes: Axes) -> None:
    """Puts the label of every line at its right end.

    It does nothing unless all have room: each label is short, stands for one line, and need not move far so that no
    two overlap. The legend then says alone which line is which.
    """
    lines = [line for line in axes.get_lines() if not str(line.get_label()).startswith("_")]
    names = [visible(str(line.get_label())) for line in lines]
    if not 1 < len(lines) == len(set(names)) or max(map(len, names)) > LONGEST:
        return
    whole = axes.get_position().bounds
    _narrow(axes, names)
    ends = [_end(axes, line) for line in lines]
    box = axes.bbox
    reach_the_edge = min(x for x, _ in ends) > box.x1 - 0.2 * box.width
    places = spread([y for _, y in ends], box.y0 + NEAREST / 2, box.y1 - NEAREST / 2) if reach_the_edge else None
    if places is None:
        axes.set_position(whole)
        return
    for line, name, (x, y), place in zip(lines, names, ends, places, strict=True):
        _write(axes, line, name, (x, y), place)


def spread(wanted: Sequence[float], low: float, high: float) -> list[float] | None:
    """Places as near to the wanted ones as order and distance allow; None if one would have to move too far.

    >>> spread([10.0, 12.0, 50.0], 0.0, 100.0)
    [6.25, 15.75, 50.0]
    >>> spread([10.0] * 20, 0.0, 100.0)
    """
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    groups: list[tuple[float, int]] = []  # centre and number of labels that touch
    for i in order:
        centre, count = wanted[i], 1
        while groups and groups[-1][0] + (groups[-1][1] + count) * NEAREST / 2 > centre:
            before, members = groups.pop()
            centre = (before * members + centre * count) / (members + count)
            count += members
        half = (count - 1) * NEAREST / 2
        groups.append((min(max(centre, low + half), high - half), count))
    placed = [centre + (k - (count - 1) / 2) * NEAREST for centre, count in groups for k in range(count)]
    found = dict(zip(order, placed, strict=True))
    apart = all(b - a > NEAREST - 1e-6 for a, b in pairwise(placed))
    near = all(abs(found[i] - y) <= FARTHEST for i, y in enumerate(wanted))
    return [found[i] for i in range(len(wanted))] if apart and near else None


def _narrow(axes: Axes, names: Sequence[str]) -> None:
    """Makes room for the labels right of the axes."""
    texts = [axes.text(0, 0, name, parse_math=False) for name in names]
    room = max(text.get_window_extent().width for text in texts) + LEADER + 2
    for text in texts:
        text.remove()
    left, bottom, width, height = axes.get_position().bounds
    axes.set_position((left, bottom, width - room / axes.figure.bbox.width, height))


def _end(axes: Axes, line: Line2D) -> tuple[float, float]:
    """The last point of a line, in points of the picture, not above or below the axes."""
    x, y = axes.transData.transform(line.get_xydata())[-1]
    return float(x), min(max(float(y), axes.bbox.y0), axes.bbox.y1)


def _write(axes: Axes, line: Line2D, name: str, end: tuple[float, float], place: float) -> None:
    """The label, and a stroke in the colour of the line that leads to it."""
    edge = axes.bbox.x1
    to_data = axes.transData.inverted().transform
    stroke = to_data([(max(end[0], edge - 4), end[1]), (edge + LEADER - 1, place)])
    axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())
    axes.plot(*stroke.T, color=line.get_color(), linewidth=0.8, clip_on=False)
    x, y = to_data([(edge + LEADER + 1, place)])[0]
    axes.text(float(x), float(y), name, va="center", parse_math=False)
