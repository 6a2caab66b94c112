"""A record's arrays and a run's pictures, as W&B shows them. A chart of several runs lies on top of one another."""

import logging
from collections.abc import Iterable, Sequence
from math import log10
from pathlib import Path
from typing import Any

from vaebench.records import images as files
from vaebench.records.record import Record
from vaebench.records.run_folder import ARRAYS
from vaebench.reporting.wandb.names import (
    COLLAPSE,
    KL,
    PAIRS,
    PLANE,
    POINT,
    SAMPLES,
    SPECTRUM,
    TRAVERSALS,
    Chart,
    key,
    split_of,
)

log = logging.getLogger(__name__)


def charts(record: Record) -> dict[str, Any]:
    """KL per unit, variance spectrum, collapse curve and rate–distortion point, those of which the record has numbers.

    Each is a table of the record's own numbers, which W&B draws.
    """
    epsilon = map(log10, _array(record, "collapse_epsilon"))
    made: list[tuple[Chart, list[tuple[float, ...]]]] = [
        (KL, sorted(enumerate(_array(record, "kl_per_unit"), 1), key=lambda row: -row[1])),
        (SPECTRUM, [*enumerate(_array(record, "variance_spectrum"), 1)]),
        (COLLAPSE, [*zip(epsilon, _array(record, "collapse_curve"), strict=True)]),
        (POINT, [*zip(_array(record, "rate"), _array(record, "distortion"), strict=False)]),
    ]
    split = split_of(record)
    return {key(split, c.name): drawn(c, tabulated([*c.fields.values()], rows)) for c, rows in made if rows}


def drawn(chart: Chart, table: Any) -> Any:
    """A chart of a table that has its columns."""
    import wandb

    return wandb.plot_table(chart.preset, table, {**chart.fields}, {"title": chart.title})


def pictures(record: Record, folder: Path) -> dict[str, Any]:
    """The pictures beside a record, if its run is done and made any."""
    if record.status != "done" or not (folder / ARRAYS).is_file():
        return {}
    import wandb

    try:
        seen = files.read(folder / ARRAYS)
    except files.PicturesError as error:
        log.warning("%s; W&B shows none of this run", error)
        return {}
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
    """An estimate's values, one or many; none where it was not measured."""
    estimate = record.estimate(name)
    if estimate is None:
        return []
    return estimate.value if isinstance(estimate.value, list) else [estimate.value]
