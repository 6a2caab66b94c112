"""The pages in their places: `results/<study>/report.html`, and `results/index.html` over them."""

from collections.abc import Sequence
from pathlib import Path

from vaebench.config import ConfigError, load
from vaebench.records import record
from vaebench.records.files import stale, write_all, write_atomically
from vaebench.records.record import Record
from vaebench.reporting.page import index, page


def question(study: str, conf: Path) -> str:
    """What a study asks, as its file says; empty where there is no such file or it does not load."""
    try:
        return load(conf / f"{study}.yaml").question
    except ConfigError:
        return ""


def pages(results: Path, conf: Path, studies: Sequence[str] | None = None) -> dict[Path, bytes]:
    """The pages of the studies, of all with results if none is named, and always the one over all of them.

    Raises:
        FileNotFoundError: if a named study has no records.
    """
    folders = sorted(path.parent for path in results.glob("*/records"))
    entries = {f.name: index.Entry(f.name, question(f.name, conf), record.read_all(f)) for f in folders}
    entries = {name: entry for name, entry in entries.items() if entry.records}
    made = {}
    for name in entries if studies is None else studies:
        if name not in entries:
            raise FileNotFoundError(
                f"{results / name}: no records; run `python -m vaebench sweep conf/{name}.yaml`, then `publish`"
            )
        made[results / name / index.PAGE] = _page(entries[name], results / name)
    return {**made, results / "index.html": index.render(list(entries.values())).encode()}


def _page(entry: index.Entry, folder: Path) -> bytes:
    return page.render(entry.records, entry.question, folder).encode()


def write(results: Path, conf: Path, studies: Sequence[str] | None = None) -> list[Path]:
    """Writes the pages."""
    return write_all(pages(results, conf, studies))


def check(results: Path, conf: Path, studies: Sequence[str] | None = None) -> list[Path]:
    """The pages that are missing or are not what the records say."""
    return stale(pages(results, conf, studies))


def write_one(records: Sequence[Record], folder: Path, asked: str, remarks: Sequence[str] = ()) -> Path:
    """Writes the page of one study into its folder, wherever that is."""
    path = folder / index.PAGE
    write_atomically(path, page.render(records, asked, folder, remarks).encode())
    return path
