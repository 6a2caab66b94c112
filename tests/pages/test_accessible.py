"""Every kind of page through axe-core, which knows the rules of accessibility (WCAG 2) that a program can check."""

import json
import re
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from vaebench.config.presentation import Presentation
from vaebench.records.arrays import Pictures, write_pictures
from vaebench.records.files import ARRAYS
from vaebench.records.record import Estimate, Record
from vaebench.reporting.figures import FIGURES
from vaebench.reporting.page import site

ROOT = Path(__file__).parents[2]
PUBLISHED = [
    *sorted(ROOT.glob("results/*/report.html")),
    ROOT / "results/paper/ledger.html",
    ROOT / "results/index.html",
]

AXE = files("axe_core_python").joinpath("axe.min.js").read_text("utf-8")
RUN = """
document.querySelectorAll("details").forEach(d => { d.open = true; });
axe.run({rules: {"color-contrast": {enabled: CONTRAST}}}).then(found => JSON.stringify(found.violations.map(
  v => [v.id, v.help, v.nodes.map(n => n.html.slice(0, 200) + " " + n.failureSummary)])))
"""

SCREENS = [(width, dark) for width in (360, 1280) for dark in (False, True)]


def record(beta: float, variance: float, seed: int) -> Record:
    """A run with a number for every chart."""
    spec = {"name": "BetaVAE", "beta": beta, "likelihood": {"name": "Gaussian", "variance": variance}}
    shares = [0.1, 0.5]
    return Record(
        id=f"{round(beta * 10):03x}{round(variance * 10):03x}{seed:x}",
        study="study",
        status="done",
        axes=["model.likelihood.variance", "model.beta", "seed"],
        config={"model": spec, "seed": seed},
        comparability={"checksum": "ab12" * 16, "split": "test", "measure": "density"},
        facts={"beta": beta, "variance": variance, "latent_dim": 3, "forecast_active_units": 3, "dimensions": 16},
        estimates=[
            Estimate("elbo", -20.0 - beta - 0.1 * seed),
            Estimate("iwae_1", -20.0 - beta, note="weights collapsed"),
            Estimate("iwae_50", -19.0 - beta),
            Estimate("rate", 9.0 / beta),
            Estimate("distortion", 9.0 + beta),
            Estimate("active_units", 3.0 - (beta > 1)),
            Estimate("below_ceiling", 2.0),
            Estimate("depth_can_buy", 1.0),
            Estimate("collapse_onset", 0.7),
            Estimate("kl_per_unit", [3.0 / beta, 0.0, 1.0]),
            Estimate("collapse_curve", [0.0, 1.0]),
            Estimate("collapse_epsilon", [0.01, 1.0]),
            Estimate("erased_share", shares),
            Estimate("wrong_by_squared_error_over_share", shares),
            Estimate("wrong_by_code_over_share", shares),
        ],
        not_applicable={"PSNR": "these are no images"},
        curve={"epoch": [1, 2], "val/elbo": [None, -21.0], "train/objective": [-25.0, -24.0]},
        provenance={"commit": "c0ffee" * 6, "command": "python -m vaebench train conf/study.yaml --id 0"},
    )


ELSEWHERE = ("rows", "pair", "over-epochs")
"""Figures of studies that vary words, or that ask for them."""


def pictures() -> Pictures:
    grey = np.arange(16, dtype=np.uint8).reshape(1, 4, 4)
    many = np.tile(grey, (4, 1, 1, 1))
    grid = np.tile(grey, (3, 4, 1, 1, 1))
    codes = np.zeros((4, 2), np.float32)
    return Pictures(many, many, many, grid, np.array([1, 2, 3]), grid[:2, :2], codes, np.arange(4), grid)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with every section there is, and an index."""
    folder = tmp_path_factory.mktemp("results") / "study"
    records = [record(beta, variance, 0) for beta in (0.5, 1.0, 4.0) for variance in (0.1, 0.4)]
    records.append(record(1.0, 0.1, 1))
    lost = replace(records[0], id="0", status="failed", reason="Diverged: lower model.learning_rate", estimates=[])
    for each in records[:2]:
        write_pictures(pictures(), folder / each.id / ARRAYS)
    site.write_one([*records, lost], folder, Presentation("What does β buy?"))
    entry = site.Entry("study", Presentation("What does β buy?"), records)
    (folder.parent / "index.html").write_text(site.index([entry]))
    return folder.parent


def violations(tab, path: Path, width: int, dark: bool, contrast: bool = True) -> list:
    tab.open(path, width, dark=dark)
    tab.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    tab.evaluate(f"{AXE}; 0")
    return json.loads(tab.evaluate(RUN.replace("CONTRAST", json.dumps(contrast))))


def test_the_page_that_is_looked_at_has_every_section(made: Path) -> None:
    text = (made / "study/report.html").read_text()
    sections = [
        "answer",
        "numbers",
        "failures",
        *(name for name in FIGURES if name not in ELSEWHERE),
        "gallery",
        "tables",
        "origin",
    ]
    assert [name for name in sections if f'aria-labelledby="{name}"' not in text] == []
    ids = re.findall(r'(?<= )id="([^"]+)"', text)
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(("width", "dark"), SCREENS)
@pytest.mark.parametrize("name", ["study/report.html", "index.html"])
def test_a_page_violates_no_rule(tab, made: Path, name: str, width: int, dark: bool) -> None:
    assert violations(tab, made / name, width, dark) == []


def test_a_page_that_violates_a_rule_is_found_out(tab, tmp_path: Path) -> None:
    """Neither a language nor a title, an image without words, and grey on grey."""
    (tmp_path / "bad.html").write_text("<!doctype html><img src='data:,'><p style='color: #ccc'>pale</p>")
    found = {rule for rule, *_ in violations(tab, tmp_path / "bad.html", 1280, dark=False)}
    assert {"document-title", "html-has-lang", "image-alt", "color-contrast"} <= found


@pytest.mark.slow
@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: str(path.relative_to(ROOT / "results")))
def test_a_published_page_violates_no_rule(tab, path: Path) -> None:
    """But for the contrast, of which axe takes a minute on thousands of labels; the page above has the same colours."""
    assert violations(tab, path, 360, dark=True, contrast=False) == []
