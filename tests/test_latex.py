"""The published studies as LaTeX: pdflatex sets all of them, in one document."""

import shutil
import subprocess
from pathlib import Path

import pytest

from vaebench.records.files import published_studies
from vaebench.records.record import read_all
from vaebench.reporting.tables import table
from vaebench.reporting.tables.rendering import RENDERINGS

RESULTS = Path(__file__).parents[1] / "results"
HEAD = r"\documentclass{article}\usepackage{booktabs,graphicx,longtable,array}\begin{document}"


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_every_published_study_is_set(tmp_path):
    """As its records read now; `vaebench table --check` holds the committed files against them."""
    studies = published_studies(RESULTS)
    assert len(studies) > 5
    bodies = [RENDERINGS["table.tex"](table.table(list(read_all(study)))) for study in studies]
    (tmp_path / "all.tex").write_text("\n".join([HEAD, *bodies, r"\end{document}"]), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]
    assert (tmp_path / "all.pdf").is_file()
    said = (tmp_path / "all.log").read_text(encoding="latin-1")
    assert [line for line in said.splitlines() if line.startswith(("Overfull", "LaTeX Warning: Float too large"))] == []
