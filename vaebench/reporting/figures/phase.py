"""The phase diagram: active units over σ² × β."""

from collections import defaultdict
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from vaebench.reporting.figures.facets import Arrangement
from vaebench.reporting.figures.forecast import pairs
from vaebench.reporting.figures.svg import ACCENT, INK, WARNING, Chart, Panel, panel
from vaebench.reporting.tables.labels import plain
from vaebench.reporting.tables.layout import comparability
from vaebench.reporting.tables.rankings import Row, Table

PLANE = ("model.beta", "model.likelihood", "model.likelihood.variance")
"""The axes of a study that span the plane."""

FEWEST = 2
"""Values of σ², and of β, that make a diagram."""


class Place(NamedTuple):
    """One configuration in the plane: its noise, its β, its units, and (forecast, active units) of every run."""

    variance: float
    beta: float
    units: int
    runs: list[tuple[float, float]]


def chart(table: Table, arrangement: Arrangement) -> Chart | None:
    """The plane, where the study spans one."""
    planes = {title: places for title, places in _planes(table).items() if _is_plane(places)}
    if not planes:
        return None
    caption = (
        "Active units, the darker the more; where a run differs from the forecast, the cell is framed and the forecast "
        "follows in brackets."
    )
    panels = tuple(_panel(title, places) for title, places in planes.items())
    return Chart("phase", "Active units over σ² × β", caption, panels)


def _place(row: Row) -> Place | None:
    """Where a row stands; None if σ² was learned, or nothing was counted."""
    facts = row.group.done[0].facts if row.group.done else {}
    fixed = row.group.config["model"].get("likelihood") or {}
    if fixed.get("name") != "Gaussian" or "beta" not in facts or "variance" not in facts or not (found := pairs(row)):
        return None
    return Place(facts["variance"], facts["beta"], facts["latent_dim"], found)


def _planes(table: Table) -> dict[str, list[Place]]:
    """The places by all that sets their rows apart but σ² and β."""
    others = [i for i, path in enumerate(table.axes) if path not in PLANE]
    planes: defaultdict[str, list[Place]] = defaultdict(list)
    for block in table.blocks:
        measured = [comparability(block, table.blocks)] if len(table.blocks) > 1 else []
        for row in block.rows:
            if (place := _place(row)) is not None:
                planes[", ".join([*(row.labels[i] for i in others), *measured])].append(place)
    return planes


def _is_plane(places: list[Place]) -> bool:
    """Whether there are several σ² and several β, and one row a cell."""
    cells = {(p.variance, p.beta) for p in places}
    return len(cells) == len(places) and min(len({c[i] for c in cells}) for i in (0, 1)) >= FEWEST


def _panel(title: str, places: list[Place]) -> Panel:
    variances, betas = sorted({p.variance for p in places}), sorted({p.beta for p in places})

    def draw(axes: Axes) -> None:
        for place in places:
            _cell(axes, betas.index(place.beta), variances.index(place.variance), place)
        axes.set_xticks(range(len(betas)), labels=[plain(float(b)) for b in betas])
        axes.set_yticks(range(len(variances)), labels=[plain(float(v)) for v in variances])
        axes.set_xlim(-0.5, len(betas) - 0.5)
        axes.set_ylim(-0.5, len(variances) - 0.5)
        axes.grid(False)
        axes.tick_params(length=0)
        axes.set_xlabel("β")
        axes.set_ylabel("σ²")

    return panel("Active units over σ² × β", title, draw)


def _cell(axes: Axes, x: int, y: int, place: Place) -> None:
    """A cell: shaded by the mean count; its text is every count found, and the forecast where one differs."""
    counts, forecast = sorted({active for _, active in place.runs}), place.runs[0][0]
    mean = sum(active for _, active in place.runs) / len(place.runs)
    differs = any(active != expected for expected, active in place.runs)
    corner, side = (x - 0.47, y - 0.47), 0.94
    axes.add_patch(Rectangle(corner, side, side, color=ACCENT, alpha=0.6 * mean / place.units, linewidth=0))
    if differs:
        axes.add_patch(Rectangle(corner, side, side, fill=False, edgecolor=WARNING, linewidth=1.4))
    text = "–".join(f"{count:g}" for count in dict.fromkeys((counts[0], counts[-1])))
    axes.text(x, y, f"{text} ({forecast:g})" if differs else text, ha="center", va="center", color=INK)
