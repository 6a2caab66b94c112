"""Published and fresh results: how far apart they are, and how the one become the other."""

import random
import re
from dataclasses import replace
from pathlib import Path

import pytest

from vaebench.records.files import stale
from vaebench.records.record import Estimate, Record, identity, read_all, write
from vaebench.reporting.comparison import PublishError, compare, publish
from vaebench.reporting.tables import rendering
from vaebench.reporting.tables.intervals import prediction_half_width


def record(seed: int, elbo: float = -20.0, beta: float = 1.0, **changes) -> Record:
    config = {"model": {"name": "BetaVAE", "beta": beta}, "data": {"name": "Digits"}, "seed": seed}
    made = Record(
        id=identity(config),
        study="beta",
        status="done",
        axes=["model.beta", "seed"],
        config=config,
        comparability={"checksum": "ab", "split": "test"},
        facts={"beta": beta},
        estimates=[Estimate("elbo", elbo, 0.1, 360), Estimate("kl_per_unit", [0.1, 0.2])],
        provenance={"seconds": 1.5 + seed},
    )
    return replace(made, **changes)


RESULTS = Path(__file__).parents[1] / "results"

PUBLISHED = sorted(map(record, range(3), [-20.0, -21.0, -22.0]), key=lambda r: r.id)


def save(records: list[Record], runs: Path) -> None:
    for one in records:
        write(one, runs / one.id / "record.json")


# -- compare ----------------------------------------------------------------------------------------------------------


def test_the_same_records_agree_to_the_digit():
    comparison = compare([replace(r, provenance={"seconds": 9.0}) for r in PUBLISHED], PUBLISHED)
    assert [d.is_same for d in comparison.deviations] == [True]
    assert comparison.outside == comparison.unmatched == []
    assert comparison.lines() == ["1 numbers compared with the published ones: 1 identical"]


@pytest.mark.parametrize("beyond", [-0.5, 0.25])
def test_a_cell_is_within_the_published_interval_or_by_how_much_not(beyond):
    allowed = prediction_half_width([-20.0, -21.0, -22.0], 2)
    fresh = [record(seed, -21.0 + allowed + beyond) for seed in (0, 1)]
    (deviation,) = compare(fresh, PUBLISHED).deviations
    assert deviation.allowed == pytest.approx(allowed)
    assert deviation.excess == pytest.approx(max(beyond, 0.0))
    lines = compare(fresh, PUBLISHED).lines()
    assert ("1 outside" in lines[0]) == (len(lines) == 2) == (beyond > 0)
    assert beyond < 0 or lines[1].startswith("model=BetaVAE: ELBO ")
    assert beyond < 0 or lines[1].endswith("0.25 beyond)")


def test_seeds_that_do_not_scatter_allow_rounding_alone():
    (deviation,) = compare([record(0, -20.5)], [record(0), record(1)]).deviations
    assert deviation.excess == pytest.approx(0.5, rel=1e-5)


@pytest.mark.parametrize("ulps", [1, 4])
def test_seeds_that_agree_exactly_allow_the_rounding_of_float32(ulps):
    elbo = -20.123456
    fresh = elbo * (1 + ulps * 2.0**-24)
    found = compare([record(s, fresh) for s in range(3)], [record(s, elbo) for s in range(3)])
    assert bool(found.outside) is (ulps > 2)


def test_one_published_seed_allows_no_verdict():
    comparison = compare([record(0, -25.0)], [record(0)])
    assert comparison.deviations[0].excess is None
    assert comparison.outside == []
    assert "1 of one published seed" in comparison.lines()[0]


@pytest.mark.parametrize(
    ("fresh", "published", "reason"),
    [
        ([record(0, beta=4.0)], PUBLISHED, "not published with this configuration"),
        ([record(0, comparability={"checksum": "cd", "split": "test"})], PUBLISHED, "not comparable"),
        ([record(0, status="failed", reason="loss is NaN", estimates=[])], PUBLISHED, "no run finished"),
    ],
)
def test_what_has_no_counterpart_says_why(fresh, published, reason):
    comparison = compare(fresh, published)
    assert comparison.deviations == []
    assert reason in comparison.lines()[0]


def test_the_false_alarm_rate_is_five_percent():
    """2000 sweeps of 3 seeds against 5 published: 5 % within 4 standard errors (± 2 %); 6 in 100 000 by chance."""
    generator, alarms = random.Random(0), 0
    for _ in range(2000):
        values = [generator.gauss(-20, 1) for _ in range(8)]
        allowed = prediction_half_width(values[:5], 3)
        alarms += abs(sum(values[:5]) / 5 - sum(values[5:]) / 3) > allowed
    assert alarms / 2000 == pytest.approx(0.05, abs=0.02)


# -- publish ----------------------------------------------------------------------------------------------------------


def test_publishing_copies_records_and_writes_their_tables(tmp_path):
    save(PUBLISHED, tmp_path / "runs")
    files = publish(tmp_path / "runs", tmp_path / "results", {r.id for r in PUBLISHED})
    assert read_all(tmp_path / "results") == read_all(tmp_path / "runs") == PUBLISHED
    assert stale(rendering.files(PUBLISHED, tmp_path / "results")) == []
    assert sorted(files) == sorted(p for p in (tmp_path / "results").rglob("*") if p.is_file())
    before = {path: path.read_bytes() for path in files}
    assert publish(tmp_path / "runs", tmp_path / "results") == files
    assert {path: path.read_bytes() for path in files} == before


def test_records_that_are_no_longer_of_the_sweep_go_and_strays_do_not_come(tmp_path):
    save([*PUBLISHED, record(7)], tmp_path / "runs")
    old = record(9)
    write(old, tmp_path / "results" / "records" / f"{old.id}.json")
    publish(tmp_path / "runs", tmp_path / "results", [r.id for r in PUBLISHED])
    assert read_all(tmp_path / "results") == PUBLISHED


@pytest.mark.parametrize("fault", ["failed", "missing"])
def test_an_incomplete_sweep_is_published_only_when_told(tmp_path, fault):
    failed = record(3, status="failed", reason="loss is NaN", estimates=[])
    save([*PUBLISHED, failed] if fault == "failed" else PUBLISHED, tmp_path / "runs")
    planned = [r.id for r in (*PUBLISHED, failed)]
    with pytest.raises(PublishError, match=f"{failed.id} (is missing|failed .loss is NaN.)"):
        publish(tmp_path / "runs", tmp_path / "results", planned)
    assert not (tmp_path / "results").exists()
    publish(tmp_path / "runs", tmp_path / "results", planned, incomplete=True)
    assert ("seed=3: loss is NaN" in (tmp_path / "results" / "table.md").read_text()) == (fault == "failed")


def test_nothing_is_not_published(tmp_path):
    with pytest.raises(PublishError, match="run the sweep first"):
        publish(tmp_path / "runs", tmp_path / "results", [], incomplete=True)


# -- results/README.md -------------------------------------------------------------------------------------------------


def test_the_index_says_of_benchmarks_what_their_files_say() -> None:
    """Each row of the table of benchmarks links a file, and that file has every number of its answer."""
    index = (RESULTS / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[\w+\]\((benchmarks/\w+\.md)\) \| [^|]+ \| ([^|]+) \|$", index, re.M)
    assert {file for file, _ in rows} == {f"benchmarks/{path.name}" for path in (RESULTS / "benchmarks").glob("*.md")}
    for file, answer in rows:
        known = set(re.findall(r"\d+(?:\.\d+)?", (RESULTS / file).read_text(encoding="utf-8")))
        assert set(re.findall(r"\d+(?:\.\d+)?", answer)) <= known, f"{file} does not say this: {answer}"
