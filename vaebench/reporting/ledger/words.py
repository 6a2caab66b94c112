"""The ledger in words: one line for a claim and one for each of its numbers, the same in every rendering."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from vaebench.records.provenance import commit
from vaebench.reporting.ledger.claims import State
from vaebench.reporting.ledger.verdict import RUN, SEED, Judgement, Measured, Verdict
from vaebench.reporting.select import leaves_of
from vaebench.reporting.tables.quantities import EXPLANATION, MARK

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


def about(judgements: Sequence[Judgement]) -> str:
    """What the reader must know of the numbers."""
    marked = any(m.unreliable for j in judgements for m in j.points)
    return f"{ABOUT} {EXPLANATION}" if marked else ABOUT


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
    published = NONE if stands is None else f"{_published(stands)}{more}"
    return Line(str(claim.id), claim.title, published, NONE if stands is None else _value(stands), verdict(judgement))


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
        ("commits", ", ".join(_commits(judgement))),
        ("left out", "; ".join(evidence.faults)),
        ("of another protocol", ", ".join(evidence.foreign)),
    )
    return Details(
        line(judgement), facts + [(k, text) for k, text in rest if text], [_number(p) for p in judgement.points]
    )


def _number(measured: Measured) -> tuple[str, ...]:
    difference, allowed = measured.difference, measured.allowed
    return (
        measured.point.name,
        _published(measured),
        _value(measured),
        NONE if difference is None else f"{difference:+.2g}",
        NONE if allowed is None else f"{allowed:.2g}",
        str(len(measured.values)) if measured.values else NONE,
    )


def _published(measured: Measured) -> str:
    values, error = measured.point.values, measured.point.error
    low, high = min(values), max(values)
    text = f"{low:.10g}" if low == high else f"{low:.10g} … {high:.10g}"
    return f"{text} ± {error:g}" if error else text


def _value(measured: Measured) -> str:
    """The measured number with as many digits as the comparison needs."""
    value, half_width = measured.value, measured.half_width
    if value is None:
        return NONE
    scale = half_width or measured.allowed or 0.0
    text = f"{value:.{_decimals(scale)}f}" if scale > 1e-12 and abs(value) >= scale / 10 else f"{value:.3g}"
    text = f"{text} ± {half_width:.2g}" if half_width else text
    return f"{text} {MARK}" if measured.unreliable else text


def _decimals(scale: float) -> int:
    """So many that the number shows a tenth of the scale."""
    return next((n for n in range(12) if scale * 10**n >= 1), 12) + 1


def _seeds(judgement: Judgement) -> list[str]:
    """The seeds of the records, as `seed 0..2`. A seed that is the same in all is left out if another one varies."""
    found: dict[str, set[int]] = {}
    for one in judgement.evidence.records:
        for path, value in leaves_of(one.config):
            if path.endswith(SEED):
                found.setdefault(path.removeprefix(f"{RUN}."), set()).add(value)
    several = {path: seeds for path, seeds in found.items() if len(seeds) > 1}
    return [f"{path} {_span(seeds)}" for path, seeds in (several or found).items()]


def _span(seeds: set[int]) -> str:
    """`0..99` for whole numbers without a gap, else `0, 2, 5`."""
    inside = sorted(seeds)
    if len(inside) > 2 and inside[-1] - inside[0] == len(inside) - 1:
        return f"{inside[0]}..{inside[-1]}"
    return " ".join(map(str, inside))


def _commits(judgement: Judgement) -> list[str]:
    """The code that measured it, one short commit each."""
    return sorted({commit(r.provenance, 10) or "unknown" for r in judgement.evidence.records})
