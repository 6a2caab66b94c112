"""What CONTRIBUTING.md shows is true: parts of one file each, and a study that uses them."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vaebench.records import record
from vaebench.records.description import Panel
from vaebench.reporting.tables import table as tables
from vaebench.sweeps import meanings

ROOT = Path(__file__).parents[1]


def shown() -> dict[str, str]:
    """The files in CONTRIBUTING.md: each block of code names its path in its first line."""
    blocks = re.findall(
        r"^```(?:python|yaml)\n# (\S+)\n(.*?)^```$", (ROOT / "CONTRIBUTING.md").read_text(), re.M | re.S
    )
    return dict(blocks)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with the files added, and nothing else changed."""
    house = tmp_path_factory.mktemp("house")
    shutil.copytree(ROOT / "vaebench", house / "vaebench")  # with what Python compiled, which keeps its date
    for path, source in shown().items():
        assert not (ROOT / path).exists(), f"{path} is no longer an addition"
        (house / path).parent.mkdir(exist_ok=True)
        (house / path).write_text(source)
    return house


def vaebench(house: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "vaebench", *arguments],
        cwd=house,
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_additions_are_listed(house: Path) -> None:
    listed = vaebench(house, "list")
    assert {"CapacityVAE", "PosteriorVariance", "Wine"} <= set(listed.split())


def test_additions_reach_records_and_tables(house: Path) -> None:
    vaebench(house, "sweep", "conf/capacity.yaml", "--wandb", "disabled", "--engine", "inline")
    records = record.read_all(house / "runs" / "capacity")
    assert len(records) == 8
    assert {r.config["model"]["prior"]["name"] for r in records} == {"StandardNormal", "LaplacePrior"}
    assert {r.config["model"]["name"] for r in records} == {"CapacityVAE"}
    assert all(r.estimate("posterior_variance").value > 0 for r in records)
    assert "posterior_variance" in (house / "runs" / "capacity" / "table.csv").read_text()
    a_metric_of_one_file_has_its_heading_its_place_and_its_bold(house / "runs" / "capacity")


def a_metric_of_one_file_has_its_heading_its_place_and_its_bold(folder: Path) -> None:
    """From the records alone: no other file names the metric."""
    found = tables.table(record.read_all(folder))
    quantity = next(q for q in found.quantities if q.name == "posterior_variance")
    assert (quantity.heading, quantity.description.panel) == ("posterior variance", Panel.OBJECTIVE)
    taken = {(d.panel, d.place) for d in meanings.descriptions().values()}
    assert (quantity.description.panel, quantity.description.place) not in taken
    headings = [q.heading for q in found.quantities]
    place = headings.index("posterior variance")
    assert (headings[place - 1], headings[place + 1]) == ("active units", "collapsed units")
    assert found.blocks[0].best(place, quantity)
    (grid,) = [part for part in (folder / "table.md").read_text().split("\n\n") if "posterior variance" in part]
    first, _, *rows = [[cell.strip() for cell in line.split("|")] for line in grid.splitlines()]
    assert any(row[first.index("posterior variance")].startswith("**") for row in rows)


def test_additions_are_checked_like_the_rest(house: Path) -> None:
    (house / "conf" / "wrong.yaml").write_text(shown()["conf/capacity.yaml"].replace("model.capacity", "model.capcity"))
    with pytest.raises(AssertionError, match=r"conf/wrong\.yaml:\d+: .*capcity.*did you mean .*capacity"):
        vaebench(house, "sweep", "conf/wrong.yaml")
