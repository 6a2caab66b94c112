"""What W&B shows and keeps of a run or a sweep: names and keys, numbers, images, figures, tables and artifacts."""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaebench.records import images as files
from vaebench.records.files import ARRAYS, CHECKPOINT, RECORD
from vaebench.records.record import Record, encode
from vaebench.reporting.tables.quantities import Fact, quantities

if TYPE_CHECKING:
    from vaebench.reporting.figures.base import Drawn


PROJECT = "vaebench"

TRAIN, AGGREGATE = "train", "aggregate"  # job types: one attempt at a run, and the result of a whole sweep
EPOCH = "epoch"  # the axis of every curve, counted from one as in records

PAIRS, SAMPLES, TRAVERSALS, PLANE = "reconstructions", "samples", "traversals", "plane"
PICTURES = (PAIRS, SAMPLES, TRAVERSALS, PLANE)

EPOCH_PICTURES = (PAIRS, SAMPLES)  # what a model in training shows


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


log = logging.getLogger(__name__)


def pictures(record: Record, folder: Path) -> dict[str, Any]:
    """The images beside a record, if its run is done and made any."""
    if record.status != "done" or not (folder / ARRAYS).is_file():
        return {}
    import wandb

    try:
        found = files.read(folder / ARRAYS)
    except files.PicturesError as error:
        log.warning("%s; W&B shows no images of this run", error)
        return {}
    sheets = {
        PAIRS: (found.pairs, "observations above, reconstructions below"),
        SAMPLES: (found.drawn, "drawn from the prior"),
        TRAVERSALS: (found.moved, f"units {found.moved_units}, a row each, moved across the prior"),
        PLANE: (found.spanned, "the latent space of two units"),
    }
    return {
        key(split_of(record), name): wandb.Image(files.coloured(pixels), caption=caption)
        for name, (pixels, caption) in sheets.items()
        if pixels is not None
    }


def epoch_pictures(sheets: Mapping[str, files.Pixels]) -> dict[str, Any]:
    """Grids of pixels of a model in training, under the keys of validation."""
    import wandb

    return {epoch_key(name): wandb.Image(files.coloured(pixels)) for name, pixels in sheets.items()}


def figures(drawn: Sequence["Drawn"]) -> dict[str, Any]:
    """The figures of a page, each as HTML of its own. It is not drawn again: the SVG is the page's."""
    import wandb

    from vaebench.reporting.page.site import render_figure

    # Without `inject`, W&B would add a style sheet from its server, which is out of reach offline.
    return {figure_key(figure.name): wandb.Html(render_figure(figure), inject=False) for figure in drawn}


def tabulated(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Any:
    """A W&B table; a column may hold text beside numbers."""
    import wandb

    return wandb.Table(columns=[*columns], data=[list(row) for row in rows], allow_mixed_types=True)


def artifacts(record: Record, folder: Path, own: Path) -> Iterator[Any]:
    """The record of a run, byte for byte, and its checkpoint if the run is done.

    Args:
        own: where the W&B run keeps its files; the record is copied there, so that W&B shows it.
    """
    import wandb

    about = {"id": record.id, "study": record.study, "status": record.status}
    (own / RECORD).write_bytes(encode(record))
    files = {"record": own / RECORD}
    if record.status == "done" and (folder / CHECKPOINT).is_file():
        files["model"] = folder / CHECKPOINT
    for kind, path in files.items():
        artifact = wandb.Artifact(f"{kind}-{record.id}", type=kind, metadata=about)
        # Refers to the file where it is. W&B would otherwise keep a copy of every model until it is synchronised.
        artifact.add_file(str(path), policy="immutable", skip_cache=True)
        yield artifact
