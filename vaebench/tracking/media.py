"""A record's arrays and a run's pictures, as W&B shows them. A chart of several runs lies on top of one another."""

from collections.abc import Iterable, Sequence
from math import log10
from pathlib import Path
from typing import Any

from vaebench import pictures as files
from vaebench.record import Record
from vaebench.tracking.names import COLLAPSE, KL, PAIRS, PLANE, POINT, SAMPLES, SPECTRUM, TRAVERSALS, key, split_of


def charts(record: Record) -> dict[str, Any]:
    """KL per unit, variance spectrum, collapse curve and rate–distortion point, those of which the record has numbers.

    Each is a table of the record's own numbers, which W&B draws.
    """
    from wandb import plot

    kl, split = _array(record, "kl_per_unit"), split_of(record)
    drawn: dict[str, Any] = {}
    if kl:
        ranked = sorted(([i, value] for i, value in enumerate(kl, 1)), key=lambda row: -row[1])
        table = tabulated(["unit", "KL in nats"], ranked)
        drawn[KL] = plot.bar(table, "unit", "KL in nats", title="KL per unit")
    if spectrum := _array(record, "variance_spectrum"):
        table = tabulated(["rank", "variance"], enumerate(spectrum, 1))
        drawn[SPECTRUM] = plot.line(table, "rank", "variance", title="Variance of the units' posterior means")
    if share := _array(record, "collapse_curve"):
        epsilon = [log10(e) for e in _array(record, "collapse_epsilon")]
        table = tabulated(["log10 ε", "share of units"], zip(epsilon, share, strict=True))
        drawn[COLLAPSE] = plot.line(table, "log10 ε", "share of units", title="Units collapsed by (ε, δ)")
    rate, distortion = _number(record, "rate"), _number(record, "distortion")
    if rate is not None and distortion is not None:
        table = tabulated(["rate", "distortion"], [[rate, distortion]])
        drawn[POINT] = plot.scatter(table, "rate", "distortion", title="Rate and distortion")
    return {key(split, name): chart for name, chart in drawn.items()}


def pictures(record: Record, folder: Path) -> dict[str, Any]:
    """The pictures beside a record, if its run is done and made any."""
    if record.status != "done" or not (folder / files.NAME).is_file():
        return {}
    import wandb

    seen = files.read(folder / files.NAME)
    sheets = {
        PAIRS: (seen.pairs, "observations above, reconstructions below"),
        SAMPLES: (seen.drawn, "drawn from the prior"),
        TRAVERSALS: (seen.moved, f"units {seen.moved_units}, a row each, moved across the prior"),
        PLANE: (seen.spanned, "the latent space of two units"),
    }
    return {
        key(split_of(record), name): wandb.Image(files.coloured(pixels), caption=caption)
        for name, (pixels, caption) in sheets.items()
        if pixels is not None
    }


def tabulated(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Any:
    """A table of W&B's; a column may hold words beside numbers."""
    import wandb

    return wandb.Table(columns=[*columns], data=[list(row) for row in rows], allow_mixed_types=True)


def _array(record: Record, name: str) -> list[float]:
    estimate = record.estimate(name)
    return estimate.value if estimate is not None and isinstance(estimate.value, list) else []


def _number(record: Record, name: str) -> float | None:
    estimate = record.estimate(name)
    return None if estimate is None or isinstance(estimate.value, list) else estimate.value
