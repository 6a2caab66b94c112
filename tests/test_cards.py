"""One run, and two configurations side by side, from records alone."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from vaebench.records import record as files
from vaebench.records.record import Estimate, Record, identity
from vaebench.reporting import select
from vaebench.reporting.comparison import difference, differences, obstacle
from vaebench.reporting.tables import table as tables
from vaebench.reporting.tables.intervals import t_interval
from vaebench.reporting.tables.quantities import Quantity
from vaebench.reporting.tables.table import Group
from vaebench.reporting.terminal import BAR, bar, compare, pairs, show

SHARED = {"checksum": "ab12" * 16, "split": "test", "measure": "discrete"}
LUCK = [3.0, -4.0, 1.0]
"""What a seed does to every configuration alike."""


def record(beta: float, seed: int = 0, **changes) -> Record:
    config = {"model": {"name": "BetaVAE", "beta": beta}, "train": {"epochs": 3}, "seed": seed}
    made = Record(
        id=identity(config),
        study="study",
        status="done",
        axes=["model.beta", "seed"],
        config=config,
        comparability=SHARED,
        facts={"beta": beta, "latent_dim": 3, "collapse": "2 of 3 units active", "stationary_verdict": "a saddle"},
        estimates=[
            Estimate("elbo", -20.0 - beta + LUCK[seed], 0.25, 360, note="weights collapsed"),
            Estimate("collapsed_units", 1.0),
            Estimate("kl_per_unit", [0.5, 2.0, 0.0]),
        ],
        not_applicable={"psnr": "not an image", "ssim": "not an image"},
        provenance={"command": "python -m vaebench train conf/study.yaml", "seconds": {"fit": 1.0, "evaluate": 0.5}},
    )
    return replace(made, **changes)


def group(beta: float, seeds=range(3), **changes) -> Group:
    (row,) = tables.table([record(beta, seed, **changes) for seed in seeds]).blocks[0].rows
    return row.group


def printed(shown) -> str:
    out = io.StringIO()
    Console(file=out, width=120, highlight=False).print(shown)
    return out.getvalue()


@pytest.fixture
def roots(tmp_path: Path, monkeypatch) -> tuple[Path, Path]:
    """Three values of β, three seeds each, where a sweep works; one of them published."""
    monkeypatch.chdir(tmp_path)
    for beta in (1.0, 2.0, 4.0):
        for seed in range(3):
            made = record(beta, seed)
            files.write(made, Path("runs/study") / made.id / "record.json")
    files.write(record(1.0), Path("results/study/records") / f"{record(1.0).id}.json")
    return Path("runs"), Path("results")


# -- one run ----------------------------------------------------------------------------------------------------------


def test_a_card_has_numbers_bars_verdict_reasons_and_the_command():
    lines = [" ".join(line.split()) for line in printed(show(record(1.0))).splitlines()]
    assert f"{record(1.0).id} study, BetaVAE, seed 0" in lines
    assert "ELBO -18 ± 0.25 (n = 360) weights collapsed" in lines
    units = lines.index("KL per unit in nats")
    assert lines[units + 1 : units + 4] == [
        f"unit 2 2.0000 {bar(1.0)}",
        f"unit 1 0.5000 {bar(0.25)}",
        "unit 3 0.0000",
    ]
    assert "1 of 3 units collapsed" in lines
    assert "where training ended: a saddle" in lines
    assert "psnr, ssim: not an image" in lines
    assert "1.5 s" in lines


def test_a_bar_is_as_long_as_its_share_and_what_is_not_zero_is_seen():
    assert (bar(1.0), bar(0.5), bar(0.0), bar(1e-9)) == ("█" * BAR, "█" * (BAR // 2), "", "▏")


def test_a_failed_run_shows_why_and_markup_is_text():
    lost = record(
        1.0, status="failed", reason="lower [red]model.learning_rate[/]", estimates=[], facts={}, not_applicable={}
    )
    text = printed(show(lost))
    assert "failed: lower [red]model.learning_rate[/]" in text
    assert "KL per unit" not in text


def test_many_units_are_summed():
    wide = record(1.0, estimates=[Estimate("kl_per_unit", [1.0] * 60)])
    assert "20 more  20.0000" in printed(show(wide))


# -- pairs ------------------------------------------------------------------------------------------------------------


def test_what_the_seeds_share_drops_out_of_the_difference():
    found = difference(group(1.0), group(4.0), Quantity("elbo"))
    assert found is not None
    assert found.first == t_interval([-21.0 + luck for luck in LUCK])
    assert found.gap.interval.mean == pytest.approx(3.0)
    assert found.gap.interval.half_width == pytest.approx(0.0, abs=1e-12)
    assert found.is_clear
    assert not difference(group(1.0, [0]), group(4.0, [0]), Quantity("elbo")).is_clear


def test_only_seeds_of_both_take_part():
    found = difference(group(1.0, [0, 1]), group(4.0, [1, 2]), Quantity("elbo"))
    assert found.gap.interval == t_interval([3.0])
    assert difference(group(1.0), group(2.0), Quantity("rate")) is None


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        ({"comparability": {**SHARED, "measure": "density"}}, "not comparable: measure discrete and density"),
        ({"status": "failed", "reason": "not finite"}, "no run of the second finished: not finite"),
    ],
)
def test_what_does_not_compare_is_refused_with_the_reason(other, reason):
    with pytest.raises(ValueError, match=reason):
        differences(group(1.0), group(2.0, **other))


def test_without_a_seed_in_common_there_is_no_pair():
    said = obstacle(group(1.0, [0]), group(2.0, [1, 2]))
    assert said == "no seed in common: seed 0 and seeds 1, 2; run both with the same seeds"


def test_side_by_side_what_is_set_and_what_came_of_it(roots):
    sides = (select.find(word, roots) for word in ("study:beta=1", "study:model.beta=4"))
    text = printed(compare(pairs(*sides)))
    assert "model.beta: 1 against 4" in text
    assert "epochs" not in text
    assert [line.split()[-2:] for line in text.splitlines() if line.startswith("ELBO")] == [["3", "3"]]


def test_a_pair_that_does_not_compare_stops_no_other(roots):
    """A row of which every run failed, among three; alone it is an error."""
    for seed in range(3):
        failed = record(4.0, seed, status="failed", reason="ValueError: impossible", estimates=[])
        files.write(failed, Path("runs/study") / failed.id / "record.json")
    rows = select.find("study", roots)
    text = printed(compare(pairs(rows, rows)))
    assert len([line for line in text.splitlines() if line.startswith("ELBO")]) == 2
    assert "no run of the first finished: ValueError: impossible" in " ".join(text.split())
    with pytest.raises(ValueError, match="no run of the first finished: ValueError: impossible"):
        compare([(rows[-1], rows[-1])])


def test_runs_of_an_override_are_found_and_paired_with_their_like(roots):
    """β = 1 and 4, trained for other epochs too: a word that leaves the epochs open is as many pairs as there are."""
    for beta in (1.0, 2.0, 4.0):
        for seed in range(3):
            made = record(beta, seed)
            other = {**made.config, "train": {"epochs": 9}}
            made = replace(made, id=identity(other), config=other)
            files.write(made, Path("runs/study") / made.id / "record.json")

    def paired(first: str, second: str) -> list[tuple[str, str]]:
        found = pairs(select.find(first, roots), select.find(second, roots))
        return [(a.name.removeprefix("runs/study: "), b.name.removeprefix("runs/study: ")) for a, b in found]

    assert paired("study:beta=1", "study:beta=4") == [(f"beta=1, epochs={e}", f"beta=4, epochs={e}") for e in (3, 9)]
    assert paired("study:beta=1", "study:beta=1,epochs=9") == [("beta=1, epochs=3", "beta=1, epochs=9")]
    assert len(paired("study:epochs=3", "study:epochs=9")) == 3
    shown = [chosen.name for chosen in select.find("study", roots)]
    assert len(shown) == 6
    assert all([chosen.name for chosen in select.find(name, roots)] == [name] for name in shown)
    (by_id,) = select.find(identity({**record(4.0, 1).config, "train": {"epochs": 9}}), roots)
    assert by_id.name == "runs/study: beta=4, epochs=9"


def test_a_row_is_found_by_any_key_of_its_configuration(roots):
    assert len(select.find("study:epochs=3", roots)) == 3
    assert len(select.find("study:train.epochs=3,beta=4", roots)) == 1
    with pytest.raises(LookupError, match="no such row"):
        select.find("study:epochs=4", roots)


def test_a_name_that_two_blocks_have_means_both(tmp_path):
    for seed in range(4):
        made = record(1.0, seed % 3, config={**record(1.0).config, "seed": seed})
        made = replace(made, id=identity(made.config), comparability=SHARED | {"checksum": "cd" if seed < 2 else "ef"})
        files.write(made, tmp_path / "runs/study" / made.id / "record.json")
    found = select.find("study:model=BetaVAE", [tmp_path / "runs"])
    assert sorted(r.config["seed"] for chosen in found for r in chosen.row.group.done) == [0, 1, 2, 3]


# -- what a word means ------------------------------------------------------------------------------------------------


def test_a_run_by_id_beginning_folder_or_file(roots):
    made = record(2.0, 1)
    words = [made.id, made.id[:6], f"runs/study/{made.id}", f"runs/study/{made.id}/record.json"]
    assert {select.run(word, roots).id for word in words} == {made.id}
    published = f"results/study/records/{record(1.0).id}.json"
    assert select.run(published, roots) == record(1.0)


def test_a_run_stands_for_its_configuration_with_every_seed(roots):
    (chosen,) = select.find(record(2.0, 1).id, roots)
    assert [r.config["seed"] for r in chosen.row.group.done] == [0, 1, 2]
    assert chosen.name == "runs/study: beta=2"


def test_two_studies_are_paired_row_by_row(roots):
    found = pairs(select.find("runs/study", roots), select.find("results/study", roots))
    assert [(a.name, b.name) for a, b in found] == [("runs/study: beta=1", "results/study: model=BetaVAE")]
    elsewhere = [select.Chosen("elsewhere", row) for row in tables.table([record(9.0)]).blocks[0].rows]
    with pytest.raises(ValueError, match="3 rows against 1, none of one configuration; choose one: runs/study: beta=1"):
        pairs(select.find("study", roots), elsewhere)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("zzz", r"zzz: nothing of that name in runs/ or results/; expected a run's folder"),
        ("8", r"8: 2 runs begin so: 837aadf19f, 8498e21bfe; give more of the id"),
        ("study:beta=3", r"study:beta=3: no such row; there are beta=1; beta=2; beta=4"),
        ("study:bta=3", r"no label 'bta'; this study has beta"),
        ("../*", r"nothing of that name"),
    ],
)
def test_a_word_that_means_nothing_is_refused_with_what_would(roots, word, message):
    with pytest.raises((LookupError, ValueError), match=message):
        select.find(word, roots)
