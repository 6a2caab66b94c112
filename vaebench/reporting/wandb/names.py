"""What W&B knows things by: the project, kinds of runs, and the keys of curves, numbers and media."""

from collections.abc import Mapping
from typing import NamedTuple

from vaebench.records.record import Record
from vaebench.reporting.tables.quantities import Fact, quantities

PROJECT = "vaebench"

TRAIN, AGGREGATE = "train", "aggregate"
"""Job types: an attempt at a run, and what a sweep came to."""

EPOCH = "epoch"
"""The axis of every curve, counted from one as in records."""

BEST = {
    "train/objective": "max",
    "val/objective": "max",
    "val/elbo": "max",
    "val/distortion": "min",
}
"""Curves of which one end is better: W&B keeps that of all epochs, beside the last; of others it keeps the last."""

UNIT_CURVE = "val/kl_per_unit/"
"""How the curves of single units begin, which W&B has and the record has not."""

PAIRS, SAMPLES, TRAVERSALS, PLANE = "reconstructions", "samples", "traversals", "plane"
PICTURES = (PAIRS, SAMPLES, TRAVERSALS, PLANE)


class Chart(NamedTuple):
    """A picture that W&B draws of a table's columns, one layer a run.

    Attributes:
        name: its key, without the split; the table's is the same with `_table`.
        preset: which of W&B's charts.
        fields: what the preset asks for, and the column that it gets.
        title: what stands above it.
    """

    name: str
    preset: str
    fields: Mapping[str, str]
    title: str


KL = Chart("kl_per_unit", "wandb/bar/v0", {"label": "unit", "value": "KL in nats"}, "KL per unit")
SPECTRUM = Chart(
    "variance_spectrum", "wandb/line/v0", {"x": "rank", "y": "variance"}, "Variance of the units' posterior means"
)
COLLAPSE = Chart(
    "collapse_curve", "wandb/line/v0", {"x": "log10 ε", "y": "share of units"}, "Units that are (ε, δ)-collapsed"
)
POINT = Chart("rate_distortion", "wandb/scatter/v0", {"x": "rate", "y": "distortion"}, "Rate and distortion")
CHARTS = (KL, SPECTRUM, COLLAPSE, POINT)


def key(split: str, name: str) -> str:
    """A number, chart or sheet of pictures of the split that was measured, e.g. `test/elbo`."""
    return f"{split}/{name}"


def split_of(record: Record) -> str:
    """The split that a run is measured on."""
    return str(record.config["evaluate"]["split"])


def cautions(record: Record) -> dict[str, str]:
    """Beside every number that rests on collapsed importance weights, under its key and `_mark`, what its mark says."""
    said = {q.name: q.read(record).caution(q.name) for q in quantities([record])}
    return {f"{key(split_of(record), name)}_mark": text for name, text in said.items() if text is not None}


def headline(record: Record) -> dict[str, float]:
    """Every number that a table shows of a run and that was measured, as the table reads it."""
    readings = {q.name: q.read(record).value for q in quantities([record]) if not isinstance(q, Fact)}
    return {key(split_of(record), name): value for name, value in readings.items() if value is not None}
