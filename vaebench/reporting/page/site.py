"""The pages in their places: `results/<study>/report.html`, and `results/index.html`, which lists all studies."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from vaebench.config import presentation
from vaebench.config.presentation import Presentation
from vaebench.records import record
from vaebench.records.files import write_atomically
from vaebench.records.record import Record
from vaebench.records.run_folder import published_studies
from vaebench.reporting import figures
from vaebench.reporting.figures.base import Drawn, Legend
from vaebench.reporting.figures.svg import renamed
from vaebench.reporting.page import page
from vaebench.reporting.page.page import Link, cost, finished
from vaebench.reporting.page.summary import answer
from vaebench.reporting.tables import table as tables
from vaebench.reporting.tables.escaping import markdown

PAGE = "report.html"  # the page of a study, in its folder
LEDGER = "paper/ledger.html"  # the page that judges published numbers, in `results`

FILES = tuple(Link(name, name) for name in ("table.csv", "runs.csv", "table.tex"))
"""What `tables.write` puts beside the page of a study."""

README = "README.md"
"""The page of `results` for a forge. The rows of its studies are written here, between the two marks."""

BEGIN, END = "<!-- studies: written by `vaebench report` -->", "<!-- end of studies -->"


CLAIMS = "Studies that repeat claims in print"  # what stands above the protocols of claims on the index


class Entry(NamedTuple):
    """A study of the index: its records, and how it wants to be shown."""

    study: str
    asked: Presentation
    records: Sequence[Record]


class Card(NamedTuple):
    """What the index says of a study."""

    number: int  # of the card on the index, from 1
    name: str  # of the study
    question: str  # what it asks
    answer: str  # the first sentence of its summary
    link: str  # the address of its page
    figure: str  # the first panel of the first figure of its page; empty if it has none
    caption: str  # what that panel shows
    legend: Legend  # colour and text of every entry of that figure
    facts: Sequence[tuple[str, str]]  # topics and what the records say of them


def index(
    entries: Sequence[Entry],
    drawn: Mapping[str, Sequence[Drawn]] | None = None,
    links: Sequence[Link] = (),
    results: Path | None = None,
) -> str:
    """The page that lists all studies.

    Args:
        drawn: figures of studies, by name, where they have been drawn already.
        results: where the folders of the studies lie.
    """
    ordered = sorted(entries, key=lambda e: (is_protocol(e.study), e.study))
    cards = [_card(entry, i, (drawn or {}).get(entry.study), results) for i, entry in enumerate(ordered, 1)]
    groups = [(text, [c for c in cards if is_protocol(c.name) is kind]) for text, kind in (("", False), (CLAIMS, True))]
    template = page.environment().get_template("index.html.jinja")
    return template.render(title="vaebench", groups=[group for group in groups if group[1]], links=links)


def is_protocol(study: str) -> bool:
    """Whether a study lies in a folder of its own, as those that repeat claims in print do: `paper/stacked`."""
    return "/" in study


def _card(entry: Entry, number: int, drawn: Sequence[Drawn] | None, results: Path | None) -> Card:
    table = tables.table(entry.records, (), entry.asked)
    figure = figures.first(table) if drawn is None else next(iter(drawn), None)
    data = dict.fromkeys(str((r.config.get("data") or {}).get("name", "")) for r in entry.records)
    failed = f", {len(table.failures)} failed" if table.failures else ""
    facts = [
        ("data", ", ".join(sorted(filter(None, data)))),
        ("runs", f"{len(entry.records)}{failed}"),
        ("cost", cost(entry.records)),
        ("finished", finished(entry.records)),
    ]
    return Card(
        number,
        entry.study,
        entry.asked.question,
        (page.graded(results and results / entry.study) or answer(table))[0],
        quote(f"{entry.study}/{PAGE}"),
        renamed(figure.panels[0], f"s{number}-") if figure else "",
        figure.panels[0].title or figure.title if figure else "",
        figure.legend if figure else (),
        [(topic, fact) for topic, fact in facts if fact],
    )


def published_links(study: str, folder: Path | None = None) -> list[Link]:
    """The links of a published page: up to the index, and to the files beside it."""
    up = "../" * len(Path(study).parts)
    grades = [Link("every grade", page.GRADES)] if folder is not None and (folder / page.GRADES).is_file() else []
    return [Link("all studies", f"{up}index.html"), *grades, *FILES, Link("records", "records/")]


def pages(results: Path, conf: Path, studies: Sequence[str] | None = None) -> dict[Path, bytes]:
    """The pages of the named studies (of all with results if none is named), and always the index of all studies.

    Raises:
        FileNotFoundError: if a named study has no records.
    """
    found = {path.relative_to(results).as_posix(): record.read_all(path) for path in published_studies(results)}
    entries = {name: Entry(name, presentation.read(conf / f"{name}.yaml"), records) for name, records in found.items()}
    entries = {name: entry for name, entry in entries.items() if entry.records}
    made: dict[Path, bytes] = {}
    drawn: dict[str, Sequence[Drawn]] = {}
    for name in entries if studies is None else studies:
        if name not in entries:
            raise FileNotFoundError(
                f"{results / name}: no records; run `python -m vaebench sweep conf/{name}.yaml`, then `publish`"
            )
        links = published_links(name, results / name)
        one = page.make(entries[name].records, entries[name].asked, results / name, links=links)
        made[results / name / PAGE], drawn[name] = one.html.encode(), one.figures
    ledger = [Link("ledger: numbers in print, measured again", LEDGER)] if (results / LEDGER).exists() else []
    made |= _readme(results, entries)
    return {**made, results / "index.html": index(list(entries.values()), drawn, ledger, results).encode()}


def _readme(results: Path, entries: Mapping[str, Entry]) -> dict[Path, bytes]:
    """`results/README.md` with the question and the answer of every study that is no protocol of a claim."""
    path = results / README
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        return {}
    rows = ["| study | question | answer |", "|---|---|---|"]
    for name, entry in sorted(entries.items()):
        if not is_protocol(name):
            said = page.graded(results / name) or answer(tables.table(entry.records, (), entry.asked))
            shown = (f"[{name}]({name}/table.md)", markdown(entry.asked.question), markdown(said[0]))
            rows.append(f"| {' | '.join(shown)} |")
    return {path: "\n".join([before + BEGIN, "", *rows, "", END + after]).encode()}


def write_one(
    records: Sequence[Record], folder: Path, asked: Presentation, remarks: Sequence[str] = ()
) -> tuple[Path, Sequence[Drawn]]:
    """Writes the page of one study into any folder; returns its path, and the figures that were drawn for it."""
    path, made = folder / PAGE, page.make(records, asked, folder, remarks, FILES)
    write_atomically(path, made.html.encode())
    return path, made.figures
