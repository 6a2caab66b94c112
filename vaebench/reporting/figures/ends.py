"""Labels at the ends of lines, beside the last point, so that a reader need not go to the legend and back."""

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

LONGEST = 16
"""Characters of a label that has room beside a panel."""

NEAREST, FARTHEST = 9.5, 24.0
"""Points between two labels, and the most by which a label may stand above or below the end of its line."""

LEADER = 7.0
"""Length in points of the stroke from a line to its label."""


def label_ends(axes: "Axes") -> None:
    """Puts the label of every line at its right end.

    It does nothing unless all have room: each label is short, stands for one line, and need not move far so that no
    two overlap. The legend then says alone which line is which.
    """
    lines = [line for line in axes.get_lines() if not str(line.get_label()).startswith("_")]
    names = [str(line.get_label()) for line in lines]
    if not 1 < len(lines) == len(set(names)) or max(map(len, names)) > LONGEST:
        return
    width = _narrow(axes, names)
    ends = [_end(axes, line) for line in lines]
    box = axes.bbox
    reach_the_edge = min(x for x, _ in ends) > box.x1 - 0.2 * box.width
    places = spread([y for _, y in ends], box.y0 + NEAREST / 2, box.y1 - NEAREST / 2) if reach_the_edge else None
    if places is None:
        _widen(axes, width)
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


def _narrow(axes: "Axes", names: Sequence[str]) -> float:
    """Makes room for the labels right of the axes; returns the width that the axes had."""
    texts = [axes.text(0, 0, name) for name in names]
    room = max(text.get_window_extent().width for text in texts) + LEADER + 2
    for text in texts:
        text.remove()
    left, bottom, width, height = axes.get_position().bounds
    axes.set_position((left, bottom, width - room / axes.figure.bbox.width, height))
    return width


def _widen(axes: "Axes", width: float) -> None:
    left, bottom, _, height = axes.get_position().bounds
    axes.set_position((left, bottom, width, height))


def _end(axes: "Axes", line: "Line2D") -> tuple[float, float]:
    """The last point of a line, in points of the picture, not above or below the axes."""
    x, y = axes.transData.transform(line.get_xydata())[-1]
    return float(x), min(max(float(y), axes.bbox.y0), axes.bbox.y1)


def _write(axes: "Axes", line: "Line2D", name: str, end: tuple[float, float], place: float) -> None:
    """The label, and a stroke in the colour of the line that leads to it."""
    edge = axes.bbox.x1
    to_data = axes.transData.inverted().transform
    stroke = to_data([(max(end[0], edge - 4), end[1]), (edge + LEADER - 1, place)])
    axes.set(xlim=axes.get_xlim(), ylim=axes.get_ylim())
    axes.plot(*stroke.T, color=line.get_color(), linewidth=0.8, clip_on=False)
    x, y = to_data([(edge + LEADER + 1, place)])[0]
    axes.text(float(x), float(y), name, va="center")
