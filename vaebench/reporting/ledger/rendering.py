"""The ledger as files: Markdown, LaTeX, a page with the plot, the plot alone; and as a table for the terminal."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING

from tabulate import tabulate

from vaebench.records.files import stale, write_all
from vaebench.records.run_folder import PAPER
from vaebench.reporting.figures.base import Drawn
from vaebench.reporting.figures.svg import CATEGORIES, FAINT, INK, panel, standalone, variable
from vaebench.reporting.ledger import claims as published
from vaebench.reporting.ledger.verdict import Judgement, Measured, Verdict, evidence, judge
from vaebench.reporting.ledger.words import (
    HEADINGS,
    NONE,
    NUMBER_HEADINGS,
    Details,
    about,
    details,
    legend,
    line,
    summary,
)
from vaebench.reporting.page.page import environment
from vaebench.reporting.tables import escaping
from vaebench.reporting.tables.escaping import in_latex

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# -- the plot: all numbers that have both a published and a measured value, on the diagonal where they agree -----------

TITLE = "Published against measured"

COLOURS = {
    Verdict.REPRODUCED: CATEGORIES[2],
    Verdict.DIFFERS: CATEGORIES[5],
    Verdict.OTHER_SAMPLE: CATEGORIES[0],
    Verdict.SMALLER_BUDGET: CATEGORIES[4],
    Verdict.NOT_COMPARABLE: CATEGORIES[6],
}


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


# -- the files ---------------------------------------------------------------------------------------------------------

NAME = "ledger"

WIDTHS = (3, 25, 15, 15, 14)  # columns of the terminal's table: 80 with the gaps between them


def judgements(results: Path, root: Path | None = None) -> list[Judgement]:
    """Every claim of `results/paper/claims.yaml`, judged.

    Args:
        root: where the records are looked for, `results` or `runs`; None for `results`.

    Raises:
        ValueError: if the claims or a study of theirs are not valid.
    """
    return [judged(claim, root or results) for claim in published.read(results / published.FILE)]


def judged(claim: published.Claim, root: Path) -> Judgement:
    """The verdict on a claim from the records below `root`: of the whole protocol, or else of the shortened one."""
    whole = replace(claim, protocol=claim.whole, budget=None)
    if claim.whole is not None and (found := evidence(whole, root)).records:
        return judge(whole, found)
    return judge(claim, evidence(claim, root))


def files(judged: Sequence[Judgement], results: Path) -> dict[Path, bytes]:
    """The content of every file of the ledger."""
    drawn, every = plot(judged), [details(j) for j in judged]
    page = environment().get_template("ledger.html.jinja")
    texts = {
        ".md": _markdown(judged, every),
        ".tex": _latex(judged, every),
        ".html": page.render(
            title="The ledger",
            about=about(judged),
            summary=summary(judged),
            groups=_grouped(judged, every),
            figure=drawn,
            headings=HEADINGS,
            none_shown=NONE,
            number_headings=NUMBER_HEADINGS,
            details=every,
        ),
    }
    if drawn is not None:
        texts[".svg"] = standalone(drawn.panels[0], drawn.legend)
    return {results / PAPER / f"{NAME}{suffix}": text.encode() for suffix, text in texts.items()}


def _grouped(judged: Sequence[Judgement], every: Sequence[Details]) -> list[tuple[Verdict, str, list[Details]]]:
    """The claims of each verdict that occurs, with what the verdict means."""
    pairs = list(zip(judged, every, strict=True))
    return [(verdict, text, [d for j, d in pairs if j.verdict is verdict]) for verdict, text in legend(judged)]


def write(judged: Sequence[Judgement], results: Path) -> list[Path]:
    """Write the files of the ledger."""
    return write_all(files(judged, results))


def check(judged: Sequence[Judgement], results: Path) -> list[Path]:
    """The files of the ledger that are missing or do not follow from the records."""
    return stale(files(judged, results))


def terminal(judged: Sequence[Judgement]) -> str:
    """The table for a terminal of 80 columns, with the counts below."""
    rows = [_wrapped(line(replace(j, reason=""))) for j in judged]
    table = tabulate(rows, HEADINGS, tablefmt="simple", disable_numparse=True)
    reasons = [f"{j.claim.id} is not comparable because {j.reason}" for j in judged if j.reason]
    return "\n".join([table, "", *reasons, summary(judged)])


def one(judgement: Judgement) -> str:
    """One claim for the terminal: what is known of it, and all its numbers."""
    found = details(judgement)
    facts = [f"{heading}: {escaping.visible(text)}" for heading, text in found.facts]
    numbers = tabulate([[*map(escaping.visible, row)] for row in found.numbers], NUMBER_HEADINGS, disable_numparse=True)
    head = f"{found.line.id}. {escaping.visible(found.line.title)}: {escaping.visible(found.line.verdict)}"
    return "\n".join([head, "", *facts, "", numbers])


def _wrapped(cells: Sequence[str]) -> list[str]:
    return ["\n".join(wrap(escaping.visible(c), width)) for c, width in zip(cells, WIDTHS, strict=True)]


def _markdown(judged: Sequence[Judgement], every: Sequence[Details]) -> str:
    meanings = "\n".join(f"- *{verdict}*: {text}" for verdict, text in legend(judged))
    parts = ["# The ledger", f"{summary(judged)}.", about(judged), meanings]
    if plot(judged) is not None:
        parts.append(f"![published against measured]({NAME}.svg)")
    parts.append(_pipe([d.line for d in every], HEADINGS))
    for one in every:
        parts.append(f"## {one.line.id}. {escaping.markdown(one.line.title)}: {escaping.markdown(one.line.verdict)}")
        parts.append("\n".join(f"- {heading}: {escaping.markdown(text)}" for heading, text in one.facts))
        if one.numbers:
            parts.append(_pipe(one.numbers, NUMBER_HEADINGS))
    return "\n\n".join(parts) + "\n"


def _pipe(rows: Sequence[Sequence[str]], headings: Sequence[str]) -> str:
    cells = [[escaping.markdown(cell) for cell in row] for row in rows]
    return tabulate(cells, headings, tablefmt="pipe", disable_numparse=True)


def _latex(judged: Sequence[Judgement], every: Sequence[Details]) -> str:
    lines = [r"% \usepackage{booktabs,longtable}; written by vaebench, not by hand"]
    lines += [r"\begin{longtable}{rp{0.26\linewidth}p{0.17\linewidth}p{0.17\linewidth}p{0.18\linewidth}}"]
    lines += [r"\toprule", _row([r"\#", *map(in_latex, HEADINGS[1:])]), r"\midrule", r"\endhead"]
    lines += [_row(map(in_latex, d.line)) for d in every]
    lines += [r"\bottomrule", r"\end{longtable}", rf"\noindent {in_latex(f'{summary(judged)}. {about(judged)}')}\par"]
    return "\n".join(lines) + "\n"


def _row(cells: "Sequence[str] | map[str]") -> str:
    return " & ".join(cells) + r" \\"
