"""The pages as a reader's browser shows them: silent, alone, sortable, and no wider than a telephone."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from vaebench.config.presentation import Presentation
from vaebench.records.record import Estimate, Record
from vaebench.reporting.page import site
from vaebench.reporting.tables import rendering

WIDTHS = (360, 1280)


def record(beta: float, seed: int) -> Record:
    """A run with an array, a curve, and rows enough to sort."""
    return Record(
        id=f"{round(beta * 10):05x}{seed:05x}",
        study="study",
        status="done",
        axes=["model.beta", "seed"],
        config={"model": {"name": "BetaVAE", "beta": beta}, "seed": seed},
        comparability={"checksum": "ab12" * 16, "split": "test"},
        facts={"beta": beta, "latent_dim": 3, "forecast_active_units": 3, "forecast_note": "a reference"},
        estimates=[
            Estimate("elbo", -20.0 - (beta - 1) ** 2 - 0.1 * seed),
            Estimate("rate", 9.0 / beta + 0.1 * seed),
            Estimate("distortion", 9.0 + beta),
            Estimate("active_units", 3.0),
            Estimate("kl_per_unit", [3.0 / beta, 0.0, 1.0]),
        ],
        curve={"epoch": [1, 2], "val/elbo": [None, -21.0]},
        provenance={"commit": "c0ffee" * 6, "command": "python -m vaebench train " + "a-very-long-word" * 9},
    )


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pages of a small study, one run of which failed at length."""
    folder = tmp_path_factory.mktemp("results")
    records = [record(beta, seed) for beta in (0.5, 2.0, 10.0) for seed in (0, 1)]
    lost = Record(id="0", study="study", status="failed", reason="nan" * 200, config=record(2.0, 2).config)
    rendering.write([*records, lost], folder)
    site.write_one([*records, lost], folder, Presentation("What does β buy?"))
    return folder


@pytest.fixture(params=WIDTHS)
def shown(request: pytest.FixtureRequest, tab, results: Path) -> Iterator:
    tab.open(results / "report.html", request.param)
    tab.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    return tab


def test_a_page_is_silent_and_asks_for_nothing(shown, results):
    assert shown.trouble == []
    assert shown.requests == [(results / "report.html").resolve().as_uri()]


def test_a_page_is_no_wider_than_its_screen(shown):
    wide = "[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1"
    wide += " && !e.closest('.scroll')).map(e => e.outerHTML.slice(0, 80))"
    assert shown.evaluate(wide) == []
    assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth")


COLUMN = "[...document.querySelector('table').tBodies[0].rows].map(r => r.cells[{}].firstChild.textContent.trim())"


def test_tables_sort_by_the_buttons_in_their_headings(shown):
    assert shown.evaluate(COLUMN.format(0)) == ["0.5", "2", "10"]
    button = "document.querySelectorAll('thead th')[2].querySelector('button')"
    state = "document.querySelectorAll('thead th')[2].getAttribute('aria-sort')"
    shown.evaluate(f"{button}.click()")
    assert (shown.evaluate(COLUMN.format(0)), shown.evaluate(state)) == (["10", "2", "0.5"], "ascending")
    shown.evaluate(f"{button}.click()")
    assert (shown.evaluate(COLUMN.format(0)), shown.evaluate(state)) == (["0.5", "2", "10"], "descending")


def test_a_keyboard_reaches_the_buttons_and_sorts(shown):
    for _ in range(40):
        shown.press("Tab")
        if shown.evaluate("document.activeElement.textContent") == "seeds":
            break
    shown.press("Enter", "\r")
    assert shown.evaluate("document.activeElement.closest('th').getAttribute('aria-sort')") == "ascending"


def test_ids_are_there_once_and_every_link_leads_somewhere(shown, results):
    ids = shown.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))
    links = shown.evaluate("[...document.querySelectorAll('a')].map(a => a.getAttribute('href'))")
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)
    beside = {link for link in links if not link.startswith("#")}
    assert beside == {"table.csv", "runs.csv", "table.tex"}
    assert all((results / link).exists() for link in beside)


def test_a_link_unfolds_what_it_leads_to(tab, results):
    tab.open(results / "report.html")
    is_open = "document.getElementById('origin').closest('details').open"
    assert not tab.evaluate(is_open)
    tab.evaluate("document.querySelector('a[href=\"#origin\"]').click()")
    assert tab.evaluate(f"new Promise(done => setTimeout(() => done({is_open}), 100))")


CHART = "document.querySelector('svg[data-x]')"
TIP = "document.querySelector('.tip').hidden ? '' : document.querySelector('.tip').textContent"


def test_a_chart_tells_the_values_of_a_point_to_the_pointer_and_to_the_keyboard(shown):
    mark = f"{CHART}.querySelector('use[x]').getBoundingClientRect()"
    shown.evaluate(f"{CHART}.scrollIntoView({{block: 'center'}})")
    at = "{clientX: b.left + b.width / 2, clientY: b.top + b.height / 2}"
    shown.evaluate(f"(b => {CHART}.dispatchEvent(new PointerEvent('pointermove', {at})))({mark}); 0")
    first = shown.evaluate(TIP)
    assert first.startswith("β 0.5, nats −20.3 [−20.93, −19.66]")  # -20.25 and -20.35, the interval of two seeds
    shown.evaluate(f"{CHART}.focus()")
    shown.evaluate(f"{CHART}.dispatchEvent(new KeyboardEvent('keydown', {{key: 'ArrowRight'}}))")
    assert shown.evaluate(TIP).startswith("β 2, ")
    shown.evaluate(f"{CHART}.blur()")
    assert shown.evaluate(TIP) == ""


def test_a_legend_keeps_one_series_in_sight(shown):
    section = "[...document.querySelectorAll('section')].find(s => s.querySelector('.legend button'))"
    button = f"{section}.querySelector('.legend button')"
    dim = f"{section}.querySelectorAll('svg .dim').length"
    assert shown.evaluate(dim) == 0
    shown.evaluate(f"{button}.click()")
    assert shown.evaluate(dim) > 0
    assert shown.evaluate(f"{button}.getAttribute('aria-pressed')") == "true"
    shown.evaluate(f"{button}.click()")
    assert shown.evaluate(dim) == 0


def test_a_heading_tells_what_its_column_means(shown):
    button = "[...document.querySelectorAll('thead button')].find(b => b.textContent.trim() === 'ELBO')"
    meaning = "[...document.querySelectorAll('.glossary dt')].find(d => d.textContent === 'ELBO').parentElement"
    shown.evaluate(f"{button}.focus()")
    assert shown.evaluate(TIP) == shown.evaluate(f"{meaning}.querySelector('dd').textContent") != ""
    shown.evaluate("dispatchEvent(new KeyboardEvent('keydown', {key: 'Escape'}))")
    assert shown.evaluate(TIP) == ""


@pytest.mark.parametrize("dark", [False, True])
def test_text_and_lines_stand_out_from_the_ground(tab, results, dark):
    """Contrast by WCAG 2: 4.5 for text, 3 for what is drawn."""
    tab.open(results / "report.html", dark=dark)
    colour = "getComputedStyle(document.documentElement).getPropertyValue('--{}').trim()"
    ground = tab.evaluate(colour.format("ground"))
    text, drawn = (
        ("text", "muted", "link", "warning"),
        ("accent", *(f"c{i}" for i in range(10)), *(f"r{i}" for i in range(8))),
    )
    for names, least in ((text, 4.5), (drawn, 3.0)):
        found = {name: contrast(tab.evaluate(colour.format(name)), ground) for name in names}
        assert {name: ratio for name, ratio in found.items() if ratio < least} == {}


def contrast(first: str, second: str) -> float:
    """The ratio of two luminances, #rrggbb or #rgb."""
    light, dark = sorted(map(luminance, (first, second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * c for c in colour[1:])
    channels = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
