"""What W&B shows and keeps of a run or a sweep: images, figures, tables and artifacts."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaebench.records import images as files
from vaebench.records.record import Record, encode
from vaebench.records.run_folder import ARRAYS, CHECKPOINT, RECORD
from vaebench.reporting.wandb.names import PAIRS, PLANE, SAMPLES, TRAVERSALS, epoch_key, figure_key, key, split_of

if TYPE_CHECKING:
    from vaebench.reporting.figures.base import Drawn

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

    from vaebench.reporting.page.page import render_figure

    # Without `inject`, W&B would add a style sheet from its server, which is out of reach offline.
    return {figure_key(figure.name): wandb.Html(render_figure(figure), inject=False) for figure in drawn}


def tabulated(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Any:
    """A W&B table; a column may hold text beside numbers."""
    import wandb

    return wandb.Table(columns=[*columns], data=[list(row) for row in rows], allow_mixed_types=True)


def artifacts(record: Record, folder: Path, own: Path) -> Iterator[Any]:
    """The record of a run, byte for byte, and its checkpoint if the run is done.

    Args:
        record: of the run.
        folder: of the run.
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
