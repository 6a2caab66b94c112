"""The names that W&B knows: the project, the kinds of runs, and the keys of curves, numbers and media."""

from vaebench.records.record import Record
from vaebench.reporting.tables.quantities import Fact, quantities

PROJECT = "vaebench"

TRAIN, AGGREGATE = "train", "aggregate"
"""Job types: one attempt at a run, and the result of a whole sweep."""

EPOCH = "epoch"
"""The axis of every curve, counted from one as in records."""

UNIT_CURVE = "val/kl_per_unit/"
"""The beginning of the keys of single units' curves. Only W&B has them, not the record."""

PAIRS, SAMPLES, TRAVERSALS, PLANE = "reconstructions", "samples", "traversals", "plane"
PICTURES = (PAIRS, SAMPLES, TRAVERSALS, PLANE)


def key(split: str, name: str) -> str:
    """The key of a number or of images, which begins with the split that was measured.

    >>> key("test", "elbo")
    'test/elbo'
    """
    return f"{split}/{name}"


def figure_key(name: str) -> str:
    """The key of a figure in the sweep's own run.

    >>> figure_key("units")
    'figures/units'
    """
    return f"figures/{name}"


def split_of(record: Record) -> str:
    """The split that a run is measured on."""
    return str(record.config["evaluate"]["split"])


def cautions(record: Record) -> dict[str, str]:
    """Beside every number that rests on collapsed importance weights, under its key and `_mark`, what its mark says."""
    said = {q.name: q.read(record).caution(q.description) for q in quantities([record])}
    return {f"{key(split_of(record), name)}_mark": text for name, text in said.items() if text is not None}


def headline(record: Record) -> dict[str, float]:
    """Every number that a table shows of a run and that was measured, as the table reads it."""
    readings = {q.name: q.read(record).value for q in quantities([record]) if not isinstance(q, Fact)}
    return {key(split_of(record), name): value for name, value in readings.items() if value is not None}
