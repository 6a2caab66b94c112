"""What others wrote (labels, reasons, notes) is text in every form, whatever it looks like."""

import base64
import csv
import hashlib
import io
import re
import shutil
import subprocess
import zlib
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from vaebench.config.presentation import Presentation
from vaebench.records.record import Estimate, Record
from vaebench.reporting.page import site
from vaebench.reporting.page import site as pages
from vaebench.reporting.select import Chosen
from vaebench.reporting.tables import table
from vaebench.reporting.tables.escaping import field, in_latex, line, markdown, visible
from vaebench.reporting.tables.rendering import RENDERINGS
from vaebench.reporting.terminal import compare, show

HOSTILE = (
    "=cmd|' /C calc'!A0", "+1+cmd", "-2+3", "@SUM(A1)", " =1+1", "＝1+1", "<script>alert(1)</script>", "</td><b>",
    "[x](javascript:alert(1))", "[^1]", "**bold** _it_ `code` ~~gone~~ $x^2$ &lt; | pipe", "# heading", "1. item",
    "> q", r"\input{secret} \\ #%&_{}^~", "[2ex] first in a row", "*", "[64, 64]", "\x1b[31mred\x1b[0m",
    "\u202eevil\u2066", "two\nlines\r\n\u2028three", "[/]", "[red]red[/red]", ":skull:", "😀 日本語 k̂ Ελλάς é ß ≠ ∌ ﬁ",
    "\x00", "", "a" * 400,
)  # fmt: skip
CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029]")


def record(text: str, seed: int = 0, **changes) -> Record:
    """A run that has the text wherever a user or a record can put one."""
    config = {
        "model": {"name": text, "option": text},
        "data": {"path": text},
        "seed": seed,
        "evaluate": {"split": "test"},
    }
    return Record(**{
        "id": f"{zlib.crc32(repr(config).encode('utf-8', 'surrogatepass')):010x}", "study": text, "status": "done",
        "axes": ["model", "data.path", "seed"], "config": config, "comparability": {"checksum": text, text: text},
        "facts": {"dimensions": 64, "beta": 1.0, "beta_note": text, "collapse": text, "forecast_note": text},
        "estimates": [Estimate("elbo", -2.0 - seed, 0.1, 9, note=text, over=text), Estimate(text, 1.0, note=text)],
        "not_applicable": {"rate": text, text: text},
        "provenance": {"commit": text, "command": text, "versions": {text: text}},
        **changes,
    })  # fmt: skip


def study(text: str) -> list[Record]:
    failed = record(text, 5, status="failed", reason=text, estimates=[], comparability={})
    return [record(text, 0), record(text, 1), record("plain", 0, study=text), failed]


@pytest.fixture(params=HOSTILE, ids=lambda text: ascii(text)[:30])
def text(request) -> str:
    return request.param


def unescaped(text: str) -> str:
    """Markdown without what is escaped."""
    return re.sub(r"\\[\\`*_\[\]|~$]|&(lt|amp);", "", text)


@given(st.text() | st.sampled_from(HOSTILE))
def test_markdown_has_no_markup_of_others(text):
    shown = unescaped(markdown(text))
    assert not re.search(r"[\\`*|~$<&]|\[\^|\][(\[:]|(?<![^\W_])_|_(?![^\W_])", shown)
    assert not CONTROLS.search(markdown(text))
    assert not re.match(r"[-+>#=]|\d+[.)] ", line(text))


def test_a_table_in_markdown_stays_a_table(text):
    grid = RENDERINGS["table.md"](table.table(study(text)))
    assert not re.search(r"<(?!br)|(?<!\\)\]\(", grid)
    for sheet in re.findall(r"(?:^\|.*\n)+", grid, re.M):
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in sheet.splitlines()}) == 1


@given(st.text() | st.sampled_from(HOSTILE))
def test_a_field_is_no_formula(text):
    shown = field(text)
    assert not re.match(r"[=+\-@＝＋－＠\t\r]", shown) or re.fullmatch(
        r"[-+](\d[\d_]*|inf\w*|nan|[\d._]+(e[-+]?\d+)?)", shown, re.I
    )
    assert not CONTROLS.search(shown)


def test_a_table_as_csv_has_no_formula_and_keeps_its_numbers(text):
    lines = list(csv.reader(io.StringIO(RENDERINGS["table.csv"](table.table(study(text))))))
    assert len({len(fields) for fields in lines}) == 1
    for entry in (entry for fields in lines for entry in fields):
        assert not re.match(r"[=+@＝＋－＠\t\r]|-(?!\d+(\.\d+)?$)", entry), entry
    assert {"-2.5", "-2.0"} <= {entry for fields in lines for entry in fields}


class Elements(HTMLParser):
    """The elements, attributes and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, tuple[str, ...]]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, tuple(name for name, _ in attrs)))


def test_a_page_has_the_elements_of_a_plain_one(text):
    """The same study with a plain word has the same elements: no text adds one."""
    hostile, plain = (Elements(pages.make(study(t), Presentation(t)).html).elements for t in (text or "none", "other"))
    assert sorted(hostile) == sorted(plain)  # the order of rows is that of their labels
    assert not CONTROLS.search(pages.make(study(text), Presentation(text)).html)


def test_an_index_leads_nowhere_else(text):
    page = site.index([site.Entry(text, Presentation(text), study(text))])
    (link,) = re.findall(r'href="([^#][^"]*)"', page)
    assert re.fullmatch(r"[\w%./~-]*report\.html", link)
    assert not CONTROLS.search(page)


@pytest.mark.parametrize("made", [lambda: pages.make(study("plain")).html, lambda: site.index([])])
def test_a_page_carries_out_its_own_script_alone(made):
    page = made()
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["script-src"] == f"'sha256-{digest}'"
    assert (rules["default-src"], rules["base-uri"], rules["form-action"]) == ("'none'",) * 3
    assert not re.search(r"\son\w+=", page)


def test_a_terminal_is_told_nothing(text):
    out = io.StringIO()
    console = Console(file=out, width=150)
    console.print(show(record(text)))
    rows = table.table(study(text)).blocks[0].rows
    console.print(compare([(Chosen(text, rows[0]), Chosen(text, rows[0]))]))
    assert not CONTROLS.search(out.getvalue())


@given(st.text(max_size=20) | st.sampled_from(HOSTILE))
def test_latex_gets_ascii_and_no_command_of_others(text):
    shown = in_latex(text)
    assert shown.isascii()
    plain = re.sub(r"\\(text\w+\{[\w]*\}|dag\{\}|dots\{\}|[&%$#_{}])|\$\\?[\w-]+\$|\{[\[\]*]\}", "", shown)
    plain = re.sub(r"\\[`'^~=u.\"Hvc]\{", "{", plain)
    assert not re.search(r"[\\&%$#_^~]", plain)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_sets_every_text(tmp_path):
    bodies = [RENDERINGS["table.tex"](table.table(study(text))) for text in HOSTILE]
    head = r"\documentclass{article}\usepackage{booktabs,graphicx}\begin{document}"
    (tmp_path / "all.tex").write_text("\n".join([head, *bodies, r"\end{document}"]), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]


def test_nothing_is_lost():
    assert visible("a\x1b[31m\u202e\x00b") == "a\\x1b[31m\\u202e\\x00b"
    assert visible(chr(0xD800)) == "\\ud800"
    assert (visible("two\n lines"), visible("as it is"), visible("é 日本")) == ("two lines", "as it is", "é 日本")
    assert [field(t) for t in ("-1", "-1.5e3", "=1", "–", "plain")] == ["-1", "-1.5e3", "'=1", "–", "plain"]
    assert in_latex("é k̂ 日") == r"\'{e} \^{k} U+65E5"
    assert markdown("latent_dim [64, 64] a_b") == "latent_dim [64, 64] a_b"
