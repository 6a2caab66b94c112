"""The ledger in words and as files: Markdown, LaTeX, a page with the plot, the plot alone; and as a terminal's table.

There is one line for a claim and one for each of its numbers, the same in every rendering.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from textwrap import wrap
from typing import NamedTuple

from tabulate import tabulate

from vaebench.records.files import PAPER
from vaebench.records.provenance import commit
from vaebench.reporting.figures.base import Drawn, plot_mark
from vaebench.reporting.figures.svg import CATEGORIES, FAINT, INK, Axes, panel, standalone, variable
from vaebench.reporting.ledger import claims as published
from vaebench.reporting.ledger.claims import State
from vaebench.reporting.ledger.verdict import RUN, SEED, Judgement, Measured, Verdict, evidence, judge
from vaebench.reporting.page.site import environment
from vaebench.reporting.select import leaves_of
from vaebench.reporting.tables import escaping
from vaebench.reporting.tables.escaping import in_latex
from vaebench.reporting.tables.quantities import MARK, rests
from vaebench.reporting.tables.rendering import tex_line

STATES = {
    State.READ: "read in the authors' code, log or text",
    State.QUOTED: "quoted by somebody else",
    State.EXACT: "exact: a theorem or a closed form",
    State.MEMORY: "not verified",
}

MEANINGS = {
    Verdict.REPRODUCED: "every number of the claim lies within its tolerance",
    Verdict.DIFFERS: "at least one number lies outside its tolerance",
    Verdict.OTHER_SAMPLE: (
        "every number lies within its tolerance, but our data are another sample of the same law, since those of the "
        "source are not at hand; so the numbers agree, but it is no reproduction"
    ),
    Verdict.SMALLER_BUDGET: "less was run than the source or the protocol says, so the difference says little",
    Verdict.NOT_COMPARABLE: "the records are refused or are of another protocol, or the numbers mean different things",
    Verdict.NOT_RUN: "there is no record",
    Verdict.NOT_VERIFIED: "the source was not read, so the number is not shown and not judged",
}
"""What each verdict means, in words for the reader of the ledger."""

HEADINGS = ("#", "claim", "published", "measured", "verdict")
"""Of the table of claims."""

NUMBER_HEADINGS = ("number", "published", "measured", "difference", "allowed", "runs")
"""Of the table of a claim's numbers."""

NONE = "–"  # where there is no number


class Line(NamedTuple):
    """A claim in the table: the number that is farthest from its source stands for all of them."""

    id: str
    title: str
    published: str
    measured: str
    verdict: str


class Details(NamedTuple):
    """Everything about a claim."""

    line: Line  # as in the table
    facts: list[tuple[str, str]]  # what is known besides its numbers, as (heading, text)
    numbers: list[tuple[str, ...]]  # a row of texts for each number


ABOUT = (
    "Each claim is judged from the records alone, under a tolerance that was stated before the run. Of a claim with "
    "several numbers, such as 7, one is shown with the words “1 of 7”: the one that is farthest from its source, in "
    "units of what is allowed."
)


COMPARED = "It is compared as it stands, with the number that the source has from its own draws."


def about(judgements: Sequence[Judgement]) -> str:
    """What the reader must know of the numbers."""
    marked = [(m.point.name, m.bias) for j in judgements for m in j.points if m.bias is not None]
    return f"{ABOUT} {rests(marked)} {COMPARED}" if marked else ABOUT


def counts(judgements: Sequence[Judgement]) -> list[tuple[Verdict, int]]:
    """How many claims have each verdict, in the order of the verdicts."""
    found = Counter(j.verdict for j in judgements)
    return [(verdict, found[verdict]) for verdict in Verdict if found[verdict]]


def summary(judgements: Sequence[Judgement]) -> str:
    """The counts in one line, e.g. `20 claims: 14 reproduced, 6 not run`."""
    return f"{len(judgements)} claims: {', '.join(f'{n} {verdict}' for verdict, n in counts(judgements))}"


def legend(judgements: Sequence[Judgement]) -> list[tuple[Verdict, str]]:
    """What the verdicts that occur mean."""
    return [(verdict, MEANINGS[verdict]) for verdict, _ in counts(judgements)]


def verdict(judgement: Judgement) -> str:
    """The verdict with what belongs to it: by how much, how much of what, or why."""
    worst, budgets = judgement.worst, judgement.budgets
    match judgement.verdict:
        case Verdict.DIFFERS if worst is not None and worst.difference is not None:
            return f"differs by {worst.difference:+.3g}"
        case Verdict.SMALLER_BUDGET if budgets:
            return f"budget smaller ({'; '.join(f'{b.spent:g} of {b.full:g} {b.unit}' for b in budgets)})"
        case Verdict.NOT_COMPARABLE if judgement.reason:
            return f"not comparable because {judgement.reason}"
    return str(judgement.verdict)


def line(judgement: Judgement) -> Line:
    """The claim in the table."""
    claim, points = judgement.claim, judgement.points
    stands = judgement.worst or (points[0] if points else None)
    more = f" (1 of {len(points)})" if len(points) > 1 else ""
    published = NONE if stands is None else f"{_published_text(stands)}{more}"
    return Line(
        str(claim.id), claim.title, published, NONE if stands is None else _measured_text(stands), verdict(judgement)
    )


def details(judgement: Judgement) -> Details:
    """Everything about the claim."""
    claim, evidence = judgement.claim, judgement.evidence
    facts = [("source", f"{claim.source} ({STATES[claim.state]})")]
    if isinstance(claim.protocol, dict):
        facts.append(("protocol", ", ".join(f"{k} {v}" for k, v in claim.protocol.items())))
    elif claim.protocol is not None:
        facts.append(("protocol", claim.protocol.as_posix()))
    rest = (
        ("differs from the source", claim.deviation),
        ("command", claim.command),
        ("tolerance", "; ".join(dict.fromkeys(claim.allowed(p).reason for p in claim.points))),
        ("other sample", claim.sample),
        ("text and code", "; ".join(f"{name}: {command}" for name, command in claim.options.items())),
        ("the number belongs to", claim.printed),
        ("not run", claim.rest),
        ("read beside", "" if claim.beside is None else f"claim {claim.beside}"),
        ("seeds", ", ".join(_seeds(judgement))),
        ("commits", ", ".join(sorted({commit(r.provenance, 10) or "unknown" for r in evidence.records}))),
        ("left out", "; ".join(evidence.faults)),
        ("of another protocol", ", ".join(evidence.foreign)),
    )
    return Details(
        line(judgement), facts + [(k, text) for k, text in rest if text], [_number_row(p) for p in judgement.points]
    )


def _number_row(measured: Measured) -> tuple[str, ...]:
    difference, allowed = measured.difference, measured.allowed
    return (
        measured.point.name,
        _published_text(measured),
        _measured_text(measured),
        NONE if difference is None else f"{difference:+.2g}",
        NONE if allowed is None else f"{allowed:.2g}",
        str(len(measured.values)) if measured.values else NONE,
    )


def _published_text(measured: Measured) -> str:
    values, error = measured.point.values, measured.point.error
    low, high = min(values), max(values)
    text = f"{low:.10g}" if low == high else f"{low:.10g} … {high:.10g}"
    return f"{text} ± {error:g}" if error else text


TINIEST = 1e-12  # what is allowed by an exact answer is larger


def _measured_text(measured: Measured) -> str:
    """The measured number with as many digits as the comparison needs."""
    value, half_width = measured.value, measured.half_width
    if value is None:
        return NONE
    scale = half_width or measured.allowed or 0.0
    decimals = next((n for n in range(12) if scale * 10**n >= 1), 12) + 1  # two digits of the scale
    if scale <= TINIEST:  # nothing to compare with: what float32 can hold
        text = f"{value:.7g}"
    else:
        text = f"{value:.{decimals}f}" if abs(value) >= scale / 10 else f"{value:.3g}"
    text = f"{text} ± {half_width:.2g}" if half_width else text
    return f"{text} {MARK}" if measured.bias is not None else text


def _seeds(judgement: Judgement) -> list[str]:
    """The seeds of the records, as `seed 0..2`. A seed that is the same in all is left out if another one varies."""
    found: dict[str, set[int]] = {}
    for one in judgement.evidence.records:
        for path, value in leaves_of(one.config):
            if path.endswith(SEED):
                found.setdefault(path.removeprefix(f"{RUN}."), set()).add(value)
    several = {path: seeds for path, seeds in found.items() if len(seeds) > 1}
    return [f"{path} {_seed_span(seeds)}" for path, seeds in (several or found).items()]


def _seed_span(seeds: set[int]) -> str:
    """`0..99` for whole numbers without a gap, else `0, 2, 5`."""
    inside = sorted(seeds)
    if len(inside) > 2 and inside[-1] - inside[0] == len(inside) - 1:
        return f"{inside[0]}..{inside[-1]}"
    return " ".join(map(str, inside))


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
    measured = [(j, m, m.value) for j in judgements for m in j.points if m.value is not None]
    shown = [(j, m, v) for j, m, v in measured if not _no_place(m.published, v)]
    if not shown:
        return None
    caption = f"{len(shown)} numbers on logarithmic axes; a bar is the 95 % interval over seeds, or what is allowed."
    if absent := Counter(filter(None, (_no_place(m.published, v) for _, m, v in measured))):
        caption += f" Others stand in the table alone: {', '.join(f'{n} {why}' for why, n in absent.items())}."
    if marked := [(m.point.name, m.bias) for _, m, _ in shown if m.bias is not None]:
        caption += f" An open disc with {rests(marked)}"
    verdicts = {j.verdict for j, _, _ in shown}
    legend = tuple((variable(COLOURS[v]), str(v)) for v in Verdict if v in verdicts)
    return Drawn("ledger", TITLE, caption, legend, (panel(TITLE, "", lambda axes: _draw(axes, shown)),))


def _no_place(published: float, measured: float) -> str:
    """Why a number has no place on logarithmic axes; empty if it has one."""
    if not math.isfinite(measured):
        return "measured as infinite or NaN"
    if published == 0:
        return "with a published value of 0 (a difference that must vanish)"
    if min(published, measured) < 0:
        return "with a negative value"
    return "" if measured > 0 else "measured as 0"


def _draw(axes: Axes, shown: Sequence[tuple[Judgement, Measured, float]]) -> None:
    both = [number for _, m, value in shown for number in (m.published, value)]
    low, high = min(both) / 1.5, max(both) * 1.5
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.plot([low, high], [low, high], color=FAINT, linewidth=1)
    for judgement, measured, value in shown:
        error = min(measured.half_width or measured.allowed or 0.0, 0.9 * value)
        colour = COLOURS.get(judgement.verdict, INK)
        axes.errorbar(
            measured.published, value, yerr=error, xerr=min(measured.point.error, 0.9 * measured.published) or None,
            fmt="o", color=colour, markersize=3.5, elinewidth=1, capsize=2,
        )  # fmt: skip
    for judgement, measured, value in shown:
        if measured.bias is not None:
            plot_mark(axes, measured.published, value, COLOURS.get(judgement.verdict, INK))
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
    pairs = list(zip(judged, every, strict=True))
    html = page.render(
        title="The ledger",
        about=about(judged),
        summary=summary(judged),
        groups=[(which, text, [d for j, d in pairs if j.verdict is which]) for which, text in legend(judged)],
        figure=drawn,
        headings=HEADINGS,
        none_shown=NONE,
        number_headings=NUMBER_HEADINGS,
        details=every,
    )
    texts = {".md": _markdown(judged, every, drawn), ".tex": _latex(judged, every), ".html": html}
    if drawn is not None:
        texts[".svg"] = standalone(drawn.panels[0], drawn.legend)
    return {results / PAPER / f"{NAME}{suffix}": text.encode() for suffix, text in texts.items()}


def terminal(judged: Sequence[Judgement]) -> str:
    """The table for a terminal of 80 columns, with the counts below."""
    lines = [line(replace(j, reason="")) for j in judged]
    rows = [["\n".join(wrap(escaping.visible(c), w)) for c, w in zip(cells, WIDTHS, strict=True)] for cells in lines]
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


def _markdown(judged: Sequence[Judgement], every: Sequence[Details], drawn: Drawn | None) -> str:
    meanings = "\n".join(f"- *{verdict}*: {text}" for verdict, text in legend(judged))
    parts = ["# The ledger", f"{summary(judged)}.", about(judged), meanings]
    if drawn is not None:
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
    lines += [r"\toprule", tex_line([r"\#", *map(in_latex, HEADINGS[1:])]), r"\midrule", r"\endhead"]
    lines += [tex_line(map(in_latex, d.line)) for d in every]
    lines += [r"\bottomrule", r"\end{longtable}", rf"\noindent {in_latex(f'{summary(judged)}. {about(judged)}')}\par"]
    return "\n".join(lines) + "\n"
