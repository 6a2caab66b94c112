"""What records before format 3 do not say themselves: descriptions of their numbers, weights, observations, reasons.

`descriptions_before_format_3.json` is frozen: it lists the numbers of that time by a regular expression for the name.
A new metric describes itself and never stands there.
"""

import json
import re
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from vaebench.records.description import Bias, Description, Direction, Panel, Role, Weights, Within

if TYPE_CHECKING:
    from vaebench.records.record import Estimate, Record

TYPES = {"panel": Panel, "better": Direction, "within": Within, "role": Role, "bias": Bias}

WHOLE = ("elbo", "squared_error")  # estimates in which every observation of the split takes part

SAMPLERS = {"naive_monte_carlo": ("NaiveMonteCarlo", "draws"), "ais": ("AnnealedImportanceSampling", "chains")}
"""Estimates with an effective sample size of their own: the estimator, and its argument for the number of draws."""


@cache
def description(name: str) -> Description | None:
    """How a number was shown; None for a number of that time that the table did not know.

    >>> description("iwae_50").heading
    'IWAE-50'
    >>> description("my_metric")
    """
    for pattern, entries in _entries().items():
        if found := re.fullmatch(pattern, name):
            typed: dict[str, Any] = {key: TYPES.get(key, lambda value: value)(value) for key, value in entries.items()}
            return Description(**typed | {"heading": found.expand(entries["heading"])})
    return None


def reason(record: "Record", name: str) -> str | None:
    """Why there is no estimate: the oldest records say it by the metric's class, with which the name begins."""
    plain = name.replace("_", "").lower()
    metrics = [metric for metric in record.not_applicable if plain.startswith(metric.replace("_", "").lower())]
    return record.not_applicable[max(metrics, key=len)] if metrics else None


def weights(record: "Record", estimate: "Estimate") -> Weights | None:
    """The importance weights behind an estimate, from the separate estimates of Pareto k̂ and effective sample size.

    These two concern the draws of the bound that takes all of them.
    """
    evaluated = record.config.get("evaluate") or {}
    if estimate.name == f"iwae_{evaluated.get('draws')}":
        return _weights(evaluated["draws"], record, "effective_sample_size_median", "pareto_k_median")
    if estimate.name in SAMPLERS:
        estimator, argument = SAMPLERS[estimate.name]
        asked: dict[str, Any] = next((e for e in evaluated.get("estimators") or () if e.get("name") == estimator), {})
        return _weights(asked.get(argument), record, f"{estimate.name}_effective_sample_size")
    return None


def observations(record: "Record", estimate: "Estimate") -> str | None:
    """The observations of an estimate, where their number says that they are not the whole split."""
    if record.description(estimate.name).within is not Within.OBSERVATIONS:
        return None
    whole = max((e.n for e in record.estimates if e.name in WHOLE), default=0)
    return f"{estimate.n} observations" if 0 < estimate.n < whole else None


def _weights(draws: Any, record: "Record", effective: str, shape: str | None = None) -> Weights | None:
    size = _number(record, effective)
    if size is None or not size > 0 or not isinstance(draws, int):
        return None
    return Weights(_number(record, shape) if shape else None, size, draws)


def _number(record: "Record", name: str) -> float | None:
    found = record.estimate(name)
    return found.value if found is not None and isinstance(found.value, float) and found.value == found.value else None


@cache
def _entries() -> dict[str, dict[str, Any]]:
    file = resources.files("vaebench.records").joinpath("descriptions_before_format_3.json")
    entries: dict[str, dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
    return entries
