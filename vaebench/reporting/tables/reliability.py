"""What is said of a number that rests on collapsed importance weights: one mark, and one explanation.

A mean of weights of which a few draws carry the most is biased, and nothing in the draws says how far. Where a record
tells it, the number is marked in every place that shows it, is never bold, and is not ranked.
"""

from collections.abc import Sequence

from vaebench.records import earlier
from vaebench.records.description import Description
from vaebench.records.record import Estimate, Record
from vaebench.records.weights import Weights

MARK = "†"

RESTS = "rests on collapsed importance weights"

EXPLANATION = f"{MARK} {RESTS}: too low by an amount it cannot tell (bits/dim: too high); never bold and never ranked."
"""What the mark means, where no single number is in question."""

NOTE = "weights collapsed"
"""How the note of an older record begins, for which the mark now stands."""


def weights(record: Record, estimate: Estimate) -> Weights | None:
    """How far an estimate's weights can be trusted: as it says itself, or as an older record says elsewhere."""
    if estimate.weights is not None or record.tells_weights:
        return estimate.weights
    return earlier.weights(record, estimate)


def remark(estimate: Estimate, seen: Weights | None) -> str | None:
    """The estimate's own note, unless the mark says it."""
    said = estimate.note is not None and estimate.note.startswith(NOTE) and seen is not None and seen.unreliable
    return None if said else estimate.note


def caution(description: Description, unreliable: Sequence[Weights], seeds: int = 1) -> str | None:
    """What the mark of a number says; None where it has none.

    Args:
        description: of the number.
        unreliable: the weights of the seeds that are not to be trusted.
        seeds: how many have the number.
    """
    if not unreliable:
        return None
    shapes = [w.pareto_k for w in unreliable if w.pareto_k is not None]
    parts = [f"{len(unreliable)} of {seeds} seeds"] if seeds > 1 else []
    parts += [f"median Pareto k̂ {_span(shapes, '.2f')}"] if shapes else []
    draws = _span([float(w.draws) for w in unreliable], ".0f")
    parts += [f"{_span([w.effective for w in unreliable], '.3g')} effective draws of {draws}"]
    return f"{MARK} {RESTS} ({', '.join(parts)}): {description.bias} by an amount it cannot tell"


def _span(values: Sequence[float], form: str) -> str:
    """One number, or the smallest and the largest of several."""
    return " to ".join(dict.fromkeys(f"{v:{form}}" for v in (min(values), max(values))))
