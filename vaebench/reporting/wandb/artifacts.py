"""What of a run W&B keeps as files: its record, and the model that the record is about."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vaebench.records.record import Record, encode
from vaebench.records.run_folder import CHECKPOINT, RECORD


def artifacts(record: Record, folder: Path, own: Path) -> Iterator[Any]:
    """The record, byte for byte, and the checkpoint of a run that is done.

    Files are referred to where they lie: W&B would keep a second copy of every model until it is synchronised.

    Args:
        record: of the run.
        folder: of the run.
        own: where the W&B run keeps files; it shows the record among them.
    """
    import wandb

    about = {"id": record.id, "study": record.study, "status": record.status}
    (own / RECORD).write_bytes(encode(record))
    files = {"record": own / RECORD}
    if record.status == "done" and (folder / CHECKPOINT).is_file():
        files["model"] = folder / CHECKPOINT
    for kind, path in files.items():
        artifact = wandb.Artifact(f"{kind}-{record.id}", type=kind, metadata=about)
        artifact.add_file(str(path), policy="immutable", skip_cache=True)
        yield artifact
