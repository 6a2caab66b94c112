"""The page of a study: what it says, what it draws and what it leaves out, and the same bytes for the same records."""

import math
import random
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from vaebench.config import presentation
from vaebench.config.presentation import Presentation
from vaebench.records import record as files
from vaebench.records.description import Description, Direction, Panel
from vaebench.records.files import published_studies, stale, write_all
from vaebench.records.record import Estimate, Record, identity
from vaebench.reporting.answer import answer
from vaebench.reporting.figures.base import Facets
from vaebench.reporting.figures.headline import limits
from vaebench.reporting.figures.lines import units_by_beta
from vaebench.reporting.page import site
from vaebench.reporting.page.site import cost, finished
from vaebench.reporting.tables import table as tables

ROOT = Path(__file__).parents[1]
EPSILON = [0.01, 0.1, 1.0]


def record(beta: float = 1.0, seed: int = 0, variance: float | None = None, **changes) -> Record:
    """A run of a β-VAE in which more β means less of everything."""
    model = {"name": "BetaVAE", "latent_dim": 3, "beta": beta, "likelihood": {"name": "Bernoulli"}}
    if variance is not None:
        model["likelihood"] = {"name": "Gaussian", "variance": variance}
    config = {"model": model, "seed": seed}
    made = Record(
        id=identity(config),
        study="study",
        status="done",
        axes=["model.likelihood.variance", "model.beta", "seed"],
        config=config,
        comparability={"checksum": "ab12" * 16, "split": "test", "measure": "discrete"},
        facts={
            "beta": beta,
            "variance": variance,
            "latent_dim": 3,
            "forecast_active_units": 2,
            "forecast_note": "exact",
        },
        estimates=[
            Estimate("elbo", -20.0 - beta - 0.1 * seed),
            Estimate("iwae_1", -20.0 - beta - 0.1 * seed),
            Estimate("iwae_50", -19.0 - beta - 0.1 * seed),
            Estimate("rate", 9.0 / beta + 0.1 * seed),
            Estimate("distortion", 9.0 + beta),
            Estimate("active_units", 3.0 if beta < 2 else 2.0),
            Estimate("kl_per_unit", [3.0 / beta, 0.0, 1.0]),
            Estimate("collapse_curve", [0.0, 0.5, 1.0]),
            Estimate("collapse_epsilon", EPSILON),
        ],
        curve={"epoch": [1, 2, 3], "train/objective": [-30.0, -25.0, -24.0], "val/elbo": [None, -21.0, -20.0]},
        provenance={"commit": "c0ffee" * 6, "dirty": False, "command": "python -m vaebench train conf/study.yaml"},
    )
    return replace(made, **changes)


GRID = [record(beta, seed) for beta in (0.5, 1.0, 4.0) for seed in (0, 1, 2)]


class Reader(HTMLParser):
    """What a browser would find: headings, text, everything that could be fetched, tags left open."""

    VOID = frozenset({"meta", "link", "img", "br", "input", "hr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.sections: list[str] = []
        self.fetched: list[str] = []
        self.open: list[str] = []
        self.panels: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.fetched += [f"{k}={v}" for k, v in attrs if k in {"src", "href", "srcset", "data", "action"}]
        if tag == "section":
            self.sections.append(str(found.get("aria-labelledby")))
        if tag == "svg":
            self.panels.append(str(found.get("aria-label")))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def read(records, question="What does β buy?") -> Reader:
    return Reader(site.make(records, Presentation(question)).html)


# -- the whole page ---------------------------------------------------------------------------------------------------


def test_a_page_has_every_section_of_which_the_records_have_numbers():
    seen = read(GRID)
    charts = ["headline", "numbers", "forecast", "plane", "bounds", "units-by-beta", "units", "collapse", "curves"]
    assert seen.sections == ["answer", *charts, "tables", "origin"]
    assert seen.open == []


IN_PROCESSES = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_report import GRID
from vaebench.config.presentation import Presentation
from vaebench.reporting.figures import side_by_side, svg
from vaebench.reporting.page import ahead, site

asked, folder = Presentation("What does it buy?"), Path(sys.argv[2])
forks = lambda: True
side_by_side.may_fork = ahead.may_fork = lambda: False
whole = site.make(GRID, asked, folder, links=site.FILES)
side_by_side.may_fork = forks
draw = side_by_side._draw
for other in (draw, lambda pipe, asked: os._exit(1), lambda pipe, asked: os.kill(os.getpid(), signal.SIGKILL)):
    side_by_side._draw = other
    assert site.make(GRID, asked, folder, links=site.FILES) == whole
side_by_side._draw = draw
try:
    side_by_side.panels([svg.Asked("", "", lambda axes: 1 / 0)] * 4)
    raise AssertionError
except ZeroDivisionError:
    print("its error")
for wanted, dies in ((False, False), (True, False), (True, True)):
    ahead.may_fork = forks
    with ahead.PageAhead(wanted) as ready:
        if dies:
            ready._process.kill()
            ready._process.join()
        figures = ready.begin(GRID, folder, asked, ())
        assert figures() == figures() == whole.figures
        path = folder / site.PAGE
        assert path.read_text(encoding="utf-8") == whole.html
        path.unlink()
print("the same bytes")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no process is copied")
def test_a_page_drawn_by_several_processes_has_the_same_bytes_even_if_they_die(tmp_path):
    command = [sys.executable, "-c", IN_PROCESSES, str(Path(__file__).parent), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.split("\n")[:2] == ["its error", "the same bytes"], done.stderr


def test_a_chart_without_numbers_is_not_there():
    bare = [record(beta, estimates=[Estimate("elbo", -beta)], curve={}, facts={}) for beta in (1.0, 2.0)]
    assert read(bare).sections == ["answer", "rows", "numbers", "tables", "origin"]


def test_a_page_fetches_nothing():
    text = site.make(GRID, Presentation("What does β buy?")).html
    assert not re.search(r"https?:|//[\w.]+/|@import|url\((?!#)", text)
    assert all(found.startswith("href=#") for found in Reader(text).fetched)
    assert "default-src 'none'" in text


def test_what_a_record_says_is_text_and_never_markup():
    lost = replace(record(1.0, 9), status="failed", reason="<script>alert(1)</script> & more", estimates=[], facts={})
    text = site.make([*GRID, lost], Presentation("<b>Why?</b>")).html
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in text
    assert "&lt;b&gt;Why?&lt;/b&gt;" in text
    hostile = record(1.0, config={**record().config, "model": {**record().config["model"], "name": '"><b>&'}})
    assert Reader(site.make([record(2.0), hostile]).html).open == []


def test_the_same_records_are_the_same_bytes_in_any_order_process_and_hash_seed(tmp_path):
    for made in GRID:
        files.write(made, tmp_path / "results/study/records" / f"{made.id}.json")
    first = site.make(random.Random(1).sample(GRID, len(GRID))).html
    code = (
        "from pathlib import Path; from vaebench.records.files import write_all; "
        "from vaebench.reporting.page import site; write_all(site.pages(Path('results'), Path('conf')))"
    )
    arguments = [sys.executable, "-c", code]
    environment = {"PYTHONHASHSEED": "5", "PYTHONPATH": ":".join([str(ROOT), *sys.path]), "HOME": str(tmp_path)}
    subprocess.run(arguments, check=True, cwd=tmp_path, env=environment)
    assert first == site.make(GRID).html
    published = site.make(GRID, links=site.published_links("study")).html
    assert (tmp_path / "results/study/report.html").read_text() == published


@pytest.mark.parametrize("folder", published_studies(ROOT / "results"), ids=lambda p: p.name)
def test_every_published_page_is_whole(folder):
    """The pages as they are committed: `vaebench report --check` makes each of them again, to the same bytes."""
    asked = presentation.read(ROOT / "conf" / f"{folder.relative_to(ROOT / 'results').as_posix()}.yaml")
    text = (folder / site.PAGE).read_text(encoding="utf-8")
    assert asked.question
    assert Reader(text).open == []
    assert len(text.encode()) < 1_000_000


# -- what it says -----------------------------------------------------------------------------------------------------


def said(records) -> str:
    return " ".join(answer(tables.table(records)))


def test_the_trend_along_the_only_axis_of_numbers_and_the_lead_paired_by_seed():
    text = said(GRID)
    assert text.startswith("As β rises from 0.5 to 4, rate goes from 18.10 ± 0.25 to 2.35 ± 0.25")
    assert "active units from 3 to 2." in text
    # Every seed shifts both rows alike, so that the difference is exact where the means are not.
    assert "The highest IWAE-50 is that of β=0.5: -19.60 ± 0.25 nats over 3 seeds, 0.5 above β=1" in text


def test_a_lead_that_the_seeds_do_not_support_is_called_one():
    noisy = [record(b, s, estimates=[Estimate("elbo", -20.0 - 0.01 * b + (s if b > 1 else -s))])
             for b in (1.0, 2.0) for s in (-1, 0, 1)]  # fmt: skip
    assert "which these seeds do not tell from none" in said(noisy)


def test_the_forecast_is_counted_by_model_and_comes_first_on_the_split_it_is_of():
    train = {**record().comparability, "split": "train"}
    text = said([replace(r, comparability=train) for r in GRID])
    assert text.startswith("The number of active units is the one forecast from the data's spectrum in 3 of 9 runs of")


def test_a_row_alone_says_its_bounds_and_failed_runs_are_counted():
    assert said([record()]).startswith("BetaVAE has ELBO -21 and IWAE-50 -20 nats per observation.")
    lost = replace(record(1.0, 9), status="failed", reason="lower model.learning_rate", estimates=[])
    assert "1 of 10 runs failed." in said([*GRID, lost])
    text = site.make([*GRID, lost]).html
    assert "Runs that failed" in text
    assert text.count("lower model.learning_rate") == 2  # among the failures, and in the list of runs
    assert said([lost]) == "1 of 1 runs failed."


def test_of_several_blocks_the_ranked_come_first_and_each_says_what_it_is():
    density = record(2.0, comparability={**record().comparability, "measure": "density"})
    sentences = answer(tables.table([record(1.0), record(4.0), density]))
    assert sentences[0].startswith("The highest IWAE-50 (measure discrete) is that of β=1: -20 nats, 3 above β=4.")
    assert sentences[1] == (
        "β=2 has ELBO -22 and IWAE-50 -21 nats per observation, comparable with no other (measure density)."
    )


def test_rows_that_do_not_compare_are_not_ranked_and_share_no_panel():
    density = replace(record(2.0, comparability={**record().comparability, "measure": "density"}))
    text = said([record(1.0), density])
    assert "highest" not in text
    assert sum("Rate and distortion" in label for label in read([record(1.0), density]).panels) == 2


# -- what it draws ----------------------------------------------------------------------------------------------------


def test_a_phase_diagram_where_a_study_spans_noise_and_beta():
    plane = [record(beta, 0, variance) for beta in (0.5, 4.0) for variance in (0.1, 0.4)]
    assert "phase" in read(plane).sections
    assert "phase" not in read(plane[:2]).sections
    text = site.make(plane).html
    assert text.count(">3 (2)<") == 2  # three active units, two forecast, at β = 0.5
    assert ">0.4<" in text


def over_beta(records):
    table = tables.table(records)
    sketch = units_by_beta(table, Facets.of(table))
    return None if sketch is None else sketch.drawn("units-by-beta")


def test_units_over_beta_are_drawn_in_the_order_of_their_kl():
    """KL of 3/β, 1 and 0 nats: the largest first, whatever its place in the array."""
    chart = over_beta(GRID)
    (only,) = chart.panels
    assert [text for _, text in chart.legend] == ["unit 1", "unit 2", "unit 3"]
    assert [variable for variable, _ in chart.legend] == ["r7", "r3", "r0"]
    assert [f">{beta}<" in only.svg for beta in ("0.5", "1", "4")] == [True] * 3
    assert over_beta(GRID[:6]) is None  # two values of β are no line


def test_units_over_beta_have_a_panel_for_all_else_unless_they_are_many():
    plane = [record(beta, 0, variance) for beta in (0.5, 1.0, 4.0) for variance in (0.1, 0.4)]
    assert [p.title for p in over_beta(plane).panels] == ["σ²=0.1", "σ²=0.4"]
    many = [record(beta, 0, i / 10) for beta in (0.5, 1.0, 4.0) for i in range(1, 8)]
    assert over_beta(many) is None


def altered(beta: float, seed: int, by_code: float) -> Record:
    found = [
        Estimate("wrong_by_squared_error", 0.67), Estimate("wrong_by_code", by_code),
        Estimate("erased_share", [0.1, 0.5]), Estimate("wrong_by_squared_error_over_share", [0.9, 0.1]),
        Estimate("wrong_by_code_over_share", [0.8, 0.0]),
    ]  # fmt: skip
    return record(beta, seed, estimates=found)


def test_a_part_erased_against_a_shift_is_drawn():
    made = [altered(beta, seed, 0.2 * beta + 0.01 * seed) for beta in (1.0, 2.0) for seed in (0, 1)]
    assert "altered" in read(made).sections


@pytest.mark.parametrize(("value", "unit", "most"), [(0.9, "", 1.0), (1.2, "", math.inf), (0.9, "dB", math.inf)])
def test_the_band_of_an_accuracy_ends_at_one(value, unit, most):
    accuracy = Description("probe", Panel.REPRESENTATION, unit=unit, better=Direction.HIGHER)
    runs = [record(1.0, s, estimates=[Estimate("probe", value + s / 20)]) for s in (0, 1)]
    table = tables.table([replace(run, descriptions={"probe": accuracy}) for run in runs])
    (quantity,) = [q for q in table.quantities if q.name == "probe"]
    assert limits(quantity, table.rows)[1] == most


def test_numbers_inside_a_picture_are_not_rounded():
    """Coordinates are, but σ² = 0.125 is not 0.12."""
    plane = [record(beta, 0, variance) for beta in (0.5, 4.0) for variance in (0.125, 0.4)]
    assert ">0.125<" in site.make(plane).html


def test_more_rows_than_colours_share_the_ramp():
    many = [record(float(beta)) for beta in range(1, 30)]
    seen = read(many)
    assert seen.open == []
    assert "units" in seen.sections


def test_colours_are_the_pages():
    text = site.make(GRID).html
    svg = text[text.index("<svg") : text.rindex("</svg>")]
    assert not re.search(r"#[0-9a-f]{6}", svg)
    assert "var(--r0)" in svg


# -- its place --------------------------------------------------------------------------------------------------------


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for study in ("a", "b"):
        made = replace(record(), study=study)
        files.write(made, tmp_path / f"results/{study}/records/{made.id}.json")
    (tmp_path / "conf").mkdir()
    return tmp_path / "results"


def test_pages_are_written_checked_and_listed(results):
    conf = results.parent / "conf"
    assert stale(site.pages(results, conf)) == [
        results / "a/report.html",
        results / "b/report.html",
        results / "index.html",
    ]
    write_all(site.pages(results, conf))
    assert stale(site.pages(results, conf)) == []
    (results / "b/report.html").write_text("edited by hand")
    assert stale(site.pages(results, conf)) == [results / "b/report.html"]
    assert stale(site.pages(results, conf, ["a"])) == []
    listed = Reader((results / "index.html").read_text())
    outwards = [each for each in listed.fetched if not each.startswith("href=#")]
    assert outwards == ["href=a/report.html", "href=b/report.html"]
    assert len(listed.panels) == 2
    with pytest.raises(FileNotFoundError, match="no records; run `python"):
        write_all(site.pages(results, conf, ["c"]))


ROOTS = [ROOT / "results", *published_studies(ROOT / "results")]


@pytest.mark.parametrize("folder", ROOTS, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_link_of_a_committed_page_leads_to_a_file_or_to_an_id(folder):
    text = (folder / ("index.html" if folder == ROOTS[0] else site.PAGE)).read_text(encoding="utf-8")
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    links = re.findall(r'href="([^"]+)"', text)
    assert [link for link in links if link.startswith("#") and link[1:] not in ids] == []
    assert [link for link in links if not link.startswith("#") and not (folder / unquote(link)).exists()] == []
    assert len(text.encode()) < 1_000_000


def test_a_condition_of_some_runs_is_not_said_of_all():
    runs = [record(seed=seed, provenance={"device": "cpu", "threads": 1}) for seed in range(4)]
    one = replace(runs[0], provenance={**runs[0].provenance, "tf32": True, "compiled_steps": 5, "commit": "ab"})
    said = dict(site.conditions([one, *runs[1:]]))
    assert said["TF32"] == "in training (1 of 4 runs)"
    assert said["compiled"] == "steps of the training (1 of 4 runs)"
    assert said["commit"] == "ab (1 of 4 runs)"
    assert (said["device"], said["threads"]) == ("cpu", "1")
    assert dict(site.conditions([one, one]))["TF32"] == "in training"


def test_a_card_says_what_a_study_cost_and_when_it_ended():
    def run(seed: int, device: str, seconds: float, day: str) -> Record:
        provenance = {"device": device, "seconds": {"fit": seconds, "evaluate": 30.0}, "finished": f"{day}T10:00:00"}
        return replace(record(seed=seed), provenance=provenance)

    runs = [run(0, "cpu: CPU", 60, "2026-01-02"), run(1, "cpu: CPU", 600, "2026-01-03")]
    assert (cost(runs), finished(runs)) == ("12 CPU minutes", "2026-01-03")
    assert (
        cost([*runs, run(2, "cuda:0: NVIDIA H200", 60, "2026-01-01")]) == "12 CPU minutes, 1.5 minutes of NVIDIA H200"
    )
    assert (cost([record()]), finished([replace(record(), provenance={})])) == ("", "")
    card = site.index([site.Entry("study", Presentation("Why?"), runs)])
    assert "<dd>12 CPU minutes</dd>" in card
    assert "<dd>2026-01-03</dd>" in card


def test_rows_without_an_axis_of_numbers_are_drawn_each_with_its_interval():
    def named(name: str, seed: int) -> Record:
        config = {**record().config, "model": {**record().config["model"], "name": name}, "seed": seed}
        return replace(record(1.0, seed), id=f"{name}{seed}", axes=["model", "seed"], config=config)

    seen = read([named(name, seed) for name in ("AE", "VAE") for seed in (0, 1, 2)])
    assert "rows" in seen.sections
    assert "headline" not in seen.sections
    assert "rows" not in read(GRID).sections  # the lines of the headline show the same


def test_details_are_folded_and_what_answers_is_not():
    text = site.make(GRID, Presentation("What does β buy?")).html
    before = text[: text.index("<details")]
    assert 'id="answer"' in before
    assert before.count("<svg") >= 1
    folded = text[text.index("<details") :]
    assert all(f'id="{name}"' in folded for name in ("charts", "tables", "origin"))


def test_an_index_of_nothing_says_so():
    assert "No study has results." in site.index([])
