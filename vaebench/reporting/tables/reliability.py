"""What is said of a number that rests on collapsed importance weights: one mark, and one explanation.

A mean of weights of which a few draws carry the most is biased, and nothing in the draws says how far. Where a record
tells it, the number is marked in every place that shows it, is never bold, and is not ranked.
"""

from collections.abc import Sequence
from typing import Any

from vaebench.records.record import Estimate, Record
from vaebench.records.weights import Weights

MARK = "†"

RESTS = "rests on collapsed importance weights"

EXPLANATION = f"{MARK} {RESTS}: too low by an amount it cannot tell (bits/dim: too high); never bold and never ranked."
"""What the mark means, where no single number is in question."""

NOTE = "weights collapsed"
"""How the note of an older record begins, for which the mark now stands."""

COMPANIONS = {
    "naive_monte_carlo": ("NaiveMonteCarlo", "draws"),
    "ais": ("AnnealedImportanceSampling", "chains"),
}
"""Estimates that have an effective sample size of their own: the estimator, and its keyword for the draws."""

ERRS = {"bits_per_dimension": "too high", "bdmc_upper": "too high", "bdmc_gap": "too large"}
"""In which way a number is off that is no lower bound."""


def weights(record: Record, estimate: Estimate) -> Weights | None:
    """How far an estimate's weights can be trusted, as it says itself or as an older record tells it elsewhere.

    Older records have no weights beside an estimate. There, the estimates of Pareto k̂ and of the effective sample size
    are of the draws behind the bound that takes all of them.
    """
    if estimate.weights is not None or any(e.weights is not None for e in record.estimates):
        return estimate.weights
    evaluated = record.config.get("evaluate") or {}
    if estimate.name == f"iwae_{evaluated.get('draws')}":
        return _of(evaluated["draws"], record, "effective_sample_size_median", "pareto_k_median")
    if estimate.name in COMPANIONS:
        estimator, keyword = COMPANIONS[estimate.name]
        asked: dict[str, Any] = next((e for e in evaluated.get("estimators") or () if e.get("name") == estimator), {})
        return _of(asked.get(keyword), record, f"{estimate.name}_effective_sample_size")
    return None


def remark(estimate: Estimate, seen: Weights | None) -> str | None:
    """The estimate's own note, unless the mark says it."""
    said = estimate.note is not None and estimate.note.startswith(NOTE) and seen is not None and seen.unreliable
    return None if said else estimate.note


def caution(name: str, unreliable: Sequence[Weights], seeds: int = 1) -> str | None:
    """What the mark of a number says; None where it has none.

    Args:
        name: the quantity's.
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
    return f"{MARK} {RESTS} ({', '.join(parts)}): {ERRS.get(name, 'too low')} by an amount it cannot tell"


def _of(draws: Any, record: Record, effective: str, shape: str | None = None) -> Weights | None:
    """The weights that separate estimates tell of; None where they say nothing."""
    size = _scalar(record, effective)
    if size is None or not size > 0 or not isinstance(draws, int):
        return None
    return Weights(_scalar(record, shape) if shape else None, size, draws)


def _scalar(record: Record, name: str) -> float | None:
    found = record.estimate(name)
    return found.value if found is not None and isinstance(found.value, float) and found.value == found.value else None


def _span(values: Sequence[float], form: str) -> str:
    """One number, or the smallest and the largest of several."""
    return " to ".join(dict.fromkeys(f"{v:{form}}" for v in (min(values), max(values))))
