"""The site: a page for each study, which loads nothing from elsewhere, and `index.html`, which lists all studies.

The page is a function of the records and of the presentation in the study's file, byte for byte, with the versions of
matplotlib and Jinja in `constraints.txt`.
"""

import base64
import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from vaebench.config import presentation
from vaebench.config.presentation import PLAIN, Presentation
from vaebench.records.files import published_studies, write_atomically
from vaebench.records.provenance import commit
from vaebench.records.record import Record, read_all
from vaebench.reporting import figures
from vaebench.reporting.answer import answer
from vaebench.reporting.figures.base import Drawn, Legend
from vaebench.reporting.figures.svg import RULES, renamed
from vaebench.reporting.page.gallery import gallery
from vaebench.reporting.tables import table as tables
from vaebench.reporting.tables.escaping import markdown, visible
from vaebench.reporting.tables.labels import SEED, named
from vaebench.reporting.tables.layout import Sheet
from vaebench.reporting.tables.layout import page as laid_out
from vaebench.reporting.tables.quantities import MARK
from vaebench.reporting.tables.rendering import legend
from vaebench.reporting.tables.table import Table

GRADES = "calibration.md"  # the report of `vaebench calibrate`: a heading, then its result in a sentence
LONG = 12  # rows that a headline has at most without being folded


class Link(NamedTuple):
    """A link of a page to what is beside it: its words and its address, relative to the page."""

    text: str
    address: str


class Page(NamedTuple):
    """A page as HTML, and the figures in it."""

    html: str
    figures: Sequence[Drawn]


def make(
    records: Sequence[Record],
    asked: Presentation = PLAIN,
    folder: Path | None = None,
    remarks: Sequence[str] = (),
    links: Sequence[Link] = (),
) -> Page:
    """The page of a study.

    Args:
        asked: what the study asks, and how it wants to be shown.
        folder: where images are looked for, `runs/<study>` or `results/<study>`.
        remarks: what stands above the tables.
        links: to files beside the page.

    Raises:
        ValueError: if there is no record.
    """
    table = tables.table(records, remarks, asked)
    drawn = figures.draw(table)
    template = environment().get_template("study.html.jinja")
    html = template.render(
        title=table.title,
        question=asked.question,
        answer=graded(folder) or answer(table),
        page=laid_out(table),
        folded=folded,
        blocks=len(table.blocks),
        legend=legend(table),
        glossary=glossary(table),
        figures=drawn,
        gallery=gallery(table, folder),
        failures=table.failures,
        conditions=conditions(records),
        origins=list(origins(table)),
        links=links,
    )
    return Page(html, drawn)


def folded(sheet: Sheet) -> list[tuple[str, Sheet]]:
    """A long sheet in parts, each with the rows of one first label, which is its title; a short one whole, without."""
    texts = list(dict.fromkeys(row[0].text for row in sheet.rows))
    if len(sheet.rows) <= LONG or sheet.labels < 2 or not 1 < len(texts) <= len(sheet.rows) / 2:
        return [("", sheet)]
    part = replace(sheet, labels=sheet.labels - 1, fixed=sheet.fixed - 1, headings=sheet.headings[1:], constants="")
    return [
        (
            named([sheet.headings[0].text], [text]),
            replace(part, rows=tuple(r[1:] for r in sheet.rows if r[0].text == text)),
        )
        for text in texts
    ]


def graded(folder: Path | None) -> list[str]:
    """What `vaebench calibrate` found, in its own sentence, where its report stands in the folder of the study."""
    path = None if folder is None else folder / GRADES
    if path is None or not path.is_file():
        return []
    paragraphs = path.read_text(encoding="utf-8").split("\n\n")
    return [" ".join(paragraphs[1].split())] if len(paragraphs) > 1 else []


def glossary(table: Table) -> list[tuple[str, list[str]]]:
    """What the columns mean: each meaning once, with the headings of all columns that have it."""
    found: dict[str, list[str]] = {}
    for quantity in table.quantities:
        if quantity.meaning and any(row.group.values(quantity) for row in table.rows):
            found.setdefault(quantity.meaning, []).append(quantity.heading)
    return list(found.items())


def render_figure(figure: Drawn) -> str:
    """A figure as a page of its own, which W&B shows."""
    return environment().get_template("figure.html.jinja").render(title=figure.title, figure=figure)


@cache
def environment() -> Environment:
    """The templates; they escape every text of a record."""
    made = Environment(
        loader=PackageLoader("vaebench.reporting.page"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters["svg"] = Markup  # `figures.svg` made it, and escaped the texts in it
    made.filters["joined"] = _joined
    # The page names the hash of its script, in the form of a content security policy.
    digest = base64.b64encode(hashlib.sha256(_script().encode()).digest()).decode()
    made.globals |= {"script": Markup(_script()), "digest": digest, "mark": MARK, "rules": RULES}
    return made


@cache
def _script() -> str:
    """The only script of a page."""
    folder = resources.files("vaebench.reporting.page").joinpath("templates")
    return "".join(folder.joinpath(name).read_text(encoding="utf-8") for name in ("sort.js", "charts.js"))


def _joined(text: str) -> Markup:
    """A sentence whose lines do not end between a number and the sign beside it."""
    return Markup(re.sub(" ([=±]) ", "\u00a0\\1\u00a0", str(escape(visible(text)))))


def _shown(value: Any) -> Any:
    """What a template prints: text without invisible control characters, and our own markup as it stands."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


class Origin(NamedTuple):
    """One run: its id and labels, how it ended, how long it took, and the command that repeats it."""

    id: str
    name: str
    status: str
    seconds: str
    command: str


def origins(table: Table) -> Iterator[Origin]:
    """Every run, in the order of the table's rows and of the seeds."""
    for row in table.rows:
        for one in sorted((*row.group.done, *row.group.failed), key=lambda r: r.config[SEED]):
            name = table.slug(row, one.config[SEED])
            status = one.status if one.reason is None else f"{one.status}: {one.reason}"
            seconds = sum((one.provenance.get("seconds") or {}).values())
            spent = f"{seconds:.1f}" if seconds else ""
            yield Origin(one.id, name, status, spent, one.provenance.get("command") or "")


def conditions(records: Sequence[Record]) -> list[tuple[str, str]]:
    """Code, device and versions of the runs, one line a topic; where runs differ, every value.

    Where only some runs have a value, the line says how many.
    """
    many = [r.provenance for r in records]
    versions = [p.get("versions") or {} for p in many]
    topics: dict[str, list[Any]] = {
        "commit": [commit(p) for p in many],
        "device": [p.get("device") for p in many],
        "TF32": ["in training" if p.get("tf32") else None for p in many],
        "bfloat16": [_bfloat16(p.get("bfloat16_error")) for p in many],
        "compiled": ["steps of the training" if p.get("compiled_steps") else None for p in many],
        "threads": [p.get("threads") for p in many],
        "platform": [p.get("platform") for p in many],
        **{name: [v.get(name) for v in versions] for name in dict.fromkeys(n for v in versions for n in v)},
    }
    known = {topic: [str(value) for value in values if value] for topic, values in topics.items()}
    days = sorted(str(p["finished"])[:10] for p in many if p.get("finished"))
    when = [("finished", " to ".join(dict.fromkeys((days[0], days[-1]))))] if days else []
    said = {topic: ", ".join(sorted({*values})) for topic, values in known.items() if values}
    part = {topic: f" ({len(known[topic])} of {len(many)} runs)" for topic in said if len(known[topic]) < len(many)}
    return [*((topic, text + part.get(topic, "")) for topic, text in said.items()), *when]


def cost(records: Sequence[Record]) -> str:
    """How long all runs took, added up, by kind of device, e.g. `4.2 CPU minutes`; empty if no record says."""
    minutes: defaultdict[str, float] = defaultdict(float)
    for record in records:
        kind, _, name = str(record.provenance.get("device") or "cpu").partition(": ")
        spent = sum((record.provenance.get("seconds") or {}).values()) / 60
        minutes["CPU minutes" if kind == "cpu" else f"minutes of {name or kind}"] += spent
    return ", ".join(
        f"{spent:.2g} {unit}" if spent < 10 else f"{spent:.0f} {unit}"
        for unit, spent in sorted(minutes.items())
        if spent
    )


def finished(records: Sequence[Record]) -> str:
    """The day on which the last run ended, e.g. `2026-11-26`; empty if no record says."""
    return max((str(r.provenance.get("finished") or "")[:10] for r in records), default="")


def _bfloat16(error: Mapping[str, Any] | None) -> str | None:
    if error is None:
        return None
    moves = f"IWAE moves by {error['iwae']:.2g} nats, a log-weight by at most {error['nats']:.2g}"
    return f"in the decoder: {moves} (means of {error['observations']} observations)"


PAGE = "report.html"  # the page of a study, in its folder
LEDGER = "paper/ledger.html"  # the page that judges published numbers, in `results`

FILES = tuple(Link(name, name) for name in ("table.csv", "runs.csv", "table.tex"))
"""What `rendering.write` puts beside the page of a study."""

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
    template = environment().get_template("index.html.jinja")
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
        (graded(results and results / entry.study) or answer(table))[0],
        quote(f"{entry.study}/{PAGE}"),
        renamed(figure.panels[0], f"s{number}-") if figure else "",
        figure.panels[0].title or figure.title if figure else "",
        figure.legend if figure else (),
        [(topic, fact) for topic, fact in facts if fact],
    )


def published_links(study: str, folder: Path | None = None) -> list[Link]:
    """The links of a published page: up to the index, and to the files beside it."""
    up = "../" * len(Path(study).parts)
    grades = [Link("every grade", GRADES)] if folder is not None and (folder / GRADES).is_file() else []
    return [Link("all studies", f"{up}index.html"), *grades, *FILES, Link("records", "records/")]


def pages(results: Path, conf: Path, studies: Sequence[str] | None = None) -> dict[Path, bytes]:
    """The pages of the named studies (of all with results if none is named), and always the index of all studies.

    Raises:
        FileNotFoundError: if a named study has no records.
    """
    found = {path.relative_to(results).as_posix(): read_all(path) for path in published_studies(results)}
    files = {name: presentation.file_of(conf, name) for name, records in found.items() if records}
    entries = {name: Entry(name, presentation.read(file), found[name]) for name, file in files.items()}
    made: dict[Path, bytes] = {}
    drawn: dict[str, Sequence[Drawn]] = {}
    for name in entries if studies is None else studies:
        if name not in entries:
            raise FileNotFoundError(
                f"{results / name}: no records; run `python -m vaebench sweep conf/{name}.yaml`, then `publish`"
            )
        links = published_links(name, results / name)
        one = make(entries[name].records, entries[name].asked, results / name, links=links)
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
            said = graded(results / name) or answer(tables.table(entry.records, (), entry.asked))
            shown = (f"[{name}]({name}/table.md)", markdown(entry.asked.question), markdown(said[0]))
            rows.append(f"| {' | '.join(shown)} |")
    return {path: "\n".join([before + BEGIN, "", *rows, "", END + after]).encode()}


def write_one(
    records: Sequence[Record], folder: Path, asked: Presentation, remarks: Sequence[str] = ()
) -> tuple[Path, Sequence[Drawn]]:
    """Writes the page of one study into any folder; returns its path, and the figures that were drawn for it."""
    path, made = folder / PAGE, make(records, asked, folder, remarks, FILES)
    write_atomically(path, made.html.encode())
    return path, made.figures
