"""Tables as text: digits, special characters, the same bytes for the same records."""

import math
import random
import subprocess
import sys

import pytest
from test_table import VAE, record

from vaebench.records.description import Weights
from vaebench.records.files import stale
from vaebench.records.record import Estimate, write
from vaebench.reporting.tables import rendering, table
from vaebench.reporting.tables.escaping import in_latex
from vaebench.reporting.tables.intervals import Interval
from vaebench.reporting.tables.layout import decimals, figure
from vaebench.reporting.tables.rendering import RENDERINGS


def test_digits_follow_the_half_width():
    assert decimals([Interval(1.0, 0.034, 3), Interval(1.0, 0.05, 3), Interval(1.0, 9.0, 3)]) == 3
    assert decimals([Interval(1.0, 120.0, 3)]) == 0
    assert decimals([Interval(1.0, None, 1), Interval(1.0, 0.0, 3)]) is None
    assert [figure(v, None) for v in (4.0, 0.015625, 12345.0, -86.7612)] == ["4", "0.015625", "12345", "-86.761"]
    assert figure(-86.7612, 2) == "-86.76"
    assert [figure(v, 2) for v in (-1.386e31, 999_999_999.5, math.nan)] == ["-1.386e+31", "999999999.50", "nan"]


@pytest.mark.parametrize("marked", [False, True])
def test_latex_has_powers_of_ten_and_one_exponent(marked):
    weights = Weights(1.2, 8.0, 5000) if marked else None
    made = table.table([record(estimates=[Estimate("elbo", -1.2345e-5, weights=weights)])])
    mark = r"^{\dagger}" if marked else ""
    number = r"-1.2345\cdot 10^{-5}"
    assert (f"${{{number}}}{mark}$" if marked else f"${number}$") in RENDERINGS["table.tex"](made)
    assert "e-05" not in RENDERINGS["table.tex"](made)


def test_special_characters_survive_both_texts(tmp_path):
    odd = record(model={"name": "AE"}, estimates=[Estimate("elbo", -1.0, note="p(x|z) & 5 % of σ²_\\ {#}")])
    rendering.write([odd, record()], tmp_path)
    assert (
        r"p(x\textbar{}z) \& 5 \% of $\sigma$\textsuperscript{2}\_\textbackslash{} \{\#\}"
        in (tmp_path / "table.tex").read_text()
    )
    assert in_latex("~^<>") == r"\textasciitilde{}\textasciicircum{}\textless{}\textgreater{}"
    lines = [line for line in (tmp_path / "table.md").read_text().splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines[:4]}) == 1


def test_latex_has_the_same_cells_as_markdown(tmp_path):
    rendering.write([record(s, {**VAE, "latent_dim": d}) for s in (0, 1) for d in (2, 4)], tmp_path)
    text = (tmp_path / "table.tex").read_text()
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == text.count(r"\end{tabular}") == 2
    assert r"$\mathbf{-19.50} \ [-20.00, -19.00]$" in text
    grids = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len({line.count("&") for line in grids[:3]}) == 1


@pytest.mark.parametrize("name", RENDERINGS)
def test_the_order_of_the_records_does_not_matter(name):
    done = [record(s, {**VAE, "latent_dim": d}) for s in range(3) for d in (2, 4)]
    records = [*done, *(record(s, {"name": "AE"}, estimates=[], comparability={"split": "test"}) for s in (0, 1))]
    texts = {RENDERINGS[name](table.table(random.Random(i).sample(records, len(records)))) for i in range(8)}
    assert len(texts) == 1


def test_writing_again_changes_nothing_and_check_finds_what_was_changed(tmp_path):
    records = [record(s) for s in (0, 1)]
    files = rendering.write(records, tmp_path)
    assert (
        sorted(p.name for p in files) == sorted(p.name for p in tmp_path.iterdir()) == sorted([*RENDERINGS, "runs.csv"])
    )
    before = [p.read_bytes() for p in files]
    rendering.write(records[::-1], tmp_path)
    assert [p.read_bytes() for p in files] == before
    assert stale(rendering.files(records, tmp_path)) == []
    files[0].write_text("edited by hand")
    files[1].unlink()
    assert stale(rendering.files(records, tmp_path)) == files[:2]
    assert stale(rendering.files(records[:1], tmp_path)) == files


def test_tables_need_nothing_heavy_and_no_clock(tmp_path):
    """A fresh process tabulates records on disk without torch, and with another hash seed writes the same bytes."""
    for seed in (0, 1):
        write(record(seed), tmp_path / "run" / record(seed).id / "record.json")
    program = (
        "import sys; from pathlib import Path\n"
        "from vaebench.records.record import read_all; from vaebench.reporting.tables import rendering\n"
        "rendering.write(read_all(Path(sys.argv[1])), Path(sys.argv[2]))\n"
        "assert not {'torch', 'lightning', 'sklearn', 'pandas', 'scipy', 'wandb', 'jaxtyping'} & set(sys.modules)"
    )
    for out in ("a", "b"):
        arguments = [sys.executable, "-c", program, str(tmp_path / "run"), str(tmp_path / out)]
        subprocess.run(arguments, check=True, env={"PYTHONHASHSEED": str(ord(out)), "PYTHONPATH": ":".join(sys.path)})
    for name in RENDERINGS:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
