"""The names that W&B knows: the project, the kinds of runs, and the keys of curves, numbers and media."""

import os

from vaebench.records.record import Record
from vaebench.reporting.tables.quantities import Fact, quantities

PROJECT = "vaebench"

TRAIN, AGGREGATE = "train", "aggregate"
"""Job types: one attempt at a run, and the result of a whole sweep."""

EPOCH = "epoch"
"""The axis of every curve, counted from one as in records."""

PAIRS, SAMPLES, TRAVERSALS, PLANE = "reconstructions", "samples", "traversals", "plane"
PICTURES = (PAIRS, SAMPLES, TRAVERSALS, PLANE)

EPOCH_PICTURES = (PAIRS, SAMPLES)
"""What a model in training shows."""


def project() -> str:
    """The W&B project: as WANDB_PROJECT says, else `vaebench`."""
    return os.environ.get("WANDB_PROJECT") or PROJECT


def key(split: str, name: str) -> str:
    """The key of a number or of images, which begins with the split that was measured.

    >>> key("test", "elbo")
    'test/elbo'
    """
    return f"{split}/{name}"


def epoch_key(name: str) -> str:
    """The key of pictures over epochs.

    >>> epoch_key("samples")
    'val/samples'
    """
    return key("val", name)


def figure_key(name: str) -> str:
    """The key of a figure in the sweep's own run.

    >>> figure_key("units")
    'figures/units'
    """
    return f"figures/{name}"


def split_of(record: Record) -> str:
    """The split that a run is measured on."""
    return str(record.config["evaluate"]["split"])


def is_sentence(value: object) -> bool:
    """Whether a value is a text of several words. W&B shows the configuration as columns, where it would disturb."""
    return isinstance(value, str) and " " in value.strip()


def remarks(record: Record) -> list[str]:
    """What a record says in words, as paragraphs: its facts, and the remarks and reasons under the same names."""
    said = {name: fact for name, fact in record.facts.items() if is_sentence(fact)}
    said |= {e.name: e.note for e in record.estimates if e.note is not None}
    missing: dict[str, list[str]] = {}
    for name, reason in record.not_applicable.items():
        missing.setdefault(reason, []).append(name)
    return [
        *(f"{name}: {text}" for name, text in said.items()),
        *(f"No {', '.join(names)}: {reason}" for reason, names in missing.items()),
    ]


def cautions(record: Record) -> dict[str, str]:
    """Beside every number that rests on collapsed importance weights, under its key and `_mark`, what its mark says."""
    said = {q.name: q.read(record).caution(q.description) for q in quantities([record])}
    return {f"{key(split_of(record), name)}_mark": text for name, text in said.items() if text is not None}


def headline(record: Record) -> dict[str, float]:
    """Every number that a table shows of a run and that was measured, as the table reads it."""
    readings = {q.name: q.read(record).value for q in quantities([record]) if not isinstance(q, Fact)}
    return {key(split_of(record), name): value for name, value in readings.items() if value is not None}
