"""The mark of a number that rests on collapsed weights: in every place that shows it, explained, and never a winner."""

import csv
import io
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from vaebench.config.presentation import Presentation
from vaebench.records.description import Bias, Description, Direction, Panel, Role, Weights
from vaebench.records.record import Estimate, Record
from vaebench.reporting import comparison
from vaebench.reporting.answer import answer
from vaebench.reporting.comparison import difference
from vaebench.reporting.page import site as pages
from vaebench.reporting.select import Chosen
from vaebench.reporting.tables import table
from vaebench.reporting.tables.quantities import MARK, Quantity, briefly
from vaebench.reporting.tables.rendering import RENDERINGS, markdown
from vaebench.reporting.terminal import compare, measured, pairs, show
from vaebench.reporting.wandb.runs import cautions, headline
from vaebench.sweeps.progress import summary

COLLAPSED, SOUND = Weights(1.24, 8.0, 5000), Weights(0.4, 4000.0, 5000)
SAID = "rests on collapsed importance weights"

EXPLAINED = {"answer": briefly([("IWAE-5000", Bias.TOO_LOW)])}
"""The places where another sentence than `SAID` explains the mark."""


def record(beta: float, seed: int, value: float, weights: Weights | None = None, **changes) -> Record:
    config = {"model": {"name": "BetaVAE", "beta": beta}, "seed": seed, "evaluate": {"split": "test", "draws": 5000}}
    made = Record(
        id=f"{zlib.crc32(repr(config).encode()):010x}",
        study="study",
        status="done",
        axes=["model.beta", "seed"],
        config=config,
        comparability={"checksum": "ab"},
        facts={"dimensions": 64, "beta": beta},
        estimates=[
            Estimate("elbo", value - 3, 0.1, 360),
            Estimate("iwae_50", value - 1, 0.1, 360),
            Estimate("iwae_5000", value, 0.1, 360, 0.01, weights=weights),
        ],
    )
    return replace(made, **changes)


def older(beta: float, seed: int, value: float, weights: Weights | None = None) -> Record:
    """The same as it was written before estimates had weights."""
    made = record(beta, seed, value)
    said = [] if weights is None else [
        Estimate("effective_sample_size_median", weights.effective, n=360),
        *([] if weights.pareto_k is None else [Estimate("pareto_k_median", weights.pareto_k, n=360)]),
    ]  # fmt: skip
    return replace(made, estimates=[*made.estimates, *said])


def study(marked: Sequence[bool], make=record) -> list[Record]:
    """Three seeds of two β, of which β = 1 has the higher bounds; its seeds are marked as told."""
    good = [make(1.0, seed, -10.0 - 0.1 * seed, COLLAPSED if m else SOUND) for seed, m in enumerate(marked)]
    return [*good, *(make(4.0, seed, -20.0 - 0.1 * seed, SOUND) for seed in range(3))]


def printed(*shown) -> str:
    out = io.StringIO()
    Console(file=out, width=400, markup=False).print(*shown)
    return out.getvalue()


def sides(records: Sequence[Record]) -> list[Chosen]:
    return [Chosen(row.labels[0], row) for row in table.table(records).blocks[0].rows]


def compared(records: Sequence[Record]) -> str:
    first, second = sides(records)
    return printed(compare(pairs([first], [second])))


def test_a_small_number_is_not_shown_as_none():
    shown = measured(Estimate("x", 2e-5, 1e-6, 100), Description(unit="nats"))
    assert shown.split()[1:5] == ["2e-05", "nats", "±", "1e-06"]
    assert measured(Estimate("x", 0.0, 0.25, 100), Description()).split()[1:4] == ["0.0000", "±", "0.2500"]


def test_a_difference_has_digits_of_its_own():
    values = [-80.0, -184.0, -88.0, -292.0, -77.0]
    first = [record(1.0, seed, value) for seed, value in enumerate(values)]
    second = [record(4.0, seed, value - 0.4 - 0.01 * (seed % 2)) for seed, value in enumerate(values)]
    (line,) = (line for line in compared([*first, *second]).splitlines() if line.startswith("IWAE-5000"))
    assert line.split() == ["IWAE-5000", "-144", "±", "117", "-145", "±", "117", "0.4040", "±", "0.0068", "5"]
    same = compared([*first, *(record(4.0, seed, value * (1 + 2.0**-30)) for seed, value in enumerate(values))])
    (line,) = (line for line in same.splitlines() if line.startswith("IWAE-5000"))
    assert line.split()[-2:] == ["0", "5"], "rounding has no digits"


def again(records: Sequence[Record]) -> str:
    """What a sweep says of numbers that are far from the published ones."""
    far = [replace(r, estimates=[_shifted(e) for e in r.estimates]) for r in records]
    return "\n".join(comparison.compare(far, records).lines())


def _shifted(estimate: Estimate) -> Estimate:
    return estimate._replace(value=estimate.value - 50) if estimate.name.startswith(("elbo", "iwae")) else estimate


def first(records: Sequence[Record]) -> Record:
    return next(r for r in records if r.config["model"]["beta"] == 1)


PLACES: dict[str, Callable[[Sequence[Record]], str]] = {
    "table.md": lambda records: markdown(table.table(records)),
    "table.tex": lambda records: RENDERINGS["table.tex"](table.table(records)),
    "page": lambda records: pages.make(records).html,
    "answer": lambda records: " ".join(answer(table.table(records))),
    "show": lambda records: printed(show(first(records))),
    "compare": compared,
    "terminal": lambda records: str(summary(first(records))),
    "published": again,
    "W&B": lambda records: " ".join(cautions(first(records)).values()),
    "evaluate": lambda records: measured(first(records).estimate("iwae_5000"), Description()),
}
"""Every text in which IWAE-5000 of β = 1 is shown."""


@pytest.mark.parametrize("place", PLACES)
def test_a_mark_is_explained_wherever_it_is_shown_and_is_nowhere_without_reason(place):
    mark = r"\dagger" if place == "table.tex" else MARK
    marked, sound = (PLACES[place](study([m] * 3)) for m in (True, False))
    assert mark in marked
    assert EXPLAINED.get(place, SAID) in marked
    assert mark not in sound
    assert EXPLAINED.get(place, SAID) not in sound


@pytest.mark.parametrize("bias", Bias)
@pytest.mark.parametrize("place", [p for p in PLACES if p not in ("answer", "evaluate")])
def test_the_mark_says_in_which_way_the_number_is_wrong(place, bias):
    described = Description("IWAE-5000", Panel.BOUNDS, 20, "nats", Direction.HIGHER, role=Role.BOUND, bias=bias)
    made = [replace(r, descriptions={"iwae_5000": described}, facts={"beta": 1.0}) for r in study([True] * 3)]
    said = PLACES[place](made)
    assert f"{bias} by an unknown amount" in said
    assert all(f"{other} by an unknown amount" not in said for other in Bias if other is not bias)


def test_an_answer_says_in_which_way_its_marked_numbers_are_wrong():
    asked = Presentation("?", answer="{bits_per_dimension @ beta=1} bits, {elbo @ beta=1} nats.")
    (said,) = answer(table.table(study([True] * 3), (), asked))
    assert said.endswith("too high by an unknown amount, for its importance weights collapsed.")
    both = Presentation("?", answer="{bits_per_dimension @ beta=1} bits, {iwae_5000 @ beta=1} nats.")
    (said,) = answer(table.table(study([True] * 3), (), both))
    assert "too low (bits/dim (IWAE-5000): too high) by an unknown amount" in said


@pytest.mark.parametrize("place", [p for p in PLACES if p != "evaluate"])
def test_a_record_of_the_older_form_is_marked_alike(place):
    of_today, of_then = (PLACES[place](study([True] * 3, make)) for make in (record, older))
    assert of_then.count(MARK) == of_today.count(MARK)
    assert EXPLAINED.get(place, SAID) in of_then
    assert EXPLAINED.get(place, SAID) not in PLACES[place](study([False] * 3, older))


@given(st.lists(st.booleans(), min_size=3, max_size=3))
def test_a_cell_is_marked_if_a_seed_of_it_is_and_is_then_never_bold_and_never_ranked(marked):
    one = table.table(study(marked))
    text = markdown(one)
    (line,) = [row for row in text.splitlines() if row.startswith("| 1 ") and "-10.1" in row]
    assert (f"-10.10{MARK}" in line) == any(marked)
    assert ("**-10.10**" in line) == (not any(marked))
    fields = next(iter(csv.DictReader(io.StringIO(RENDERINGS["table.csv"](one)))))
    assert (fields["iwae_5000_unreliable_seeds"], fields["iwae_5000_best"]) == (
        str(sum(marked)),
        str(int(not any(marked))),
    )
    if any(marked):
        assert f"({sum(marked)} of 3 seeds, median Pareto k̂ 1.24, 8 effective draws of 5000): too low by" in text
        assert f"({sum(marked)} of 3 seeds, median Pareto k̂ 1.24, 8 effective draws of 5000): too high by" in text
    sentences = " ".join(answer(one))
    assert ("The highest IWAE-5000 is that of" in sentences) == (not any(marked))
    assert (f"Not ranked is the IWAE-5000 of β=1 (-10.10{MARK} ± 0.25)" in sentences) == any(marked)
    first, second = (side.row.group for side in sides(study(marked)))
    assert difference(first, second, Quantity("iwae_5000")).is_clear == (not any(marked))
    assert difference(first, second, Quantity("iwae_50")).is_clear


@given(st.none() | st.floats(-1, 3), st.integers(1, 5000), st.floats(0.0002, 1.0), st.sampled_from([record, older]))
def test_the_rule_is_that_of_the_weights_in_both_forms(k, draws, share, make):
    """Whatever k̂ and however many effective draws: a record says of its bound of all draws what the weights say."""
    seen = Weights(k, max(1.0, share * draws), draws)
    one, name = make(1.0, 0, -10.0, seen), f"iwae_{draws}"
    config = {**one.config, "evaluate": {"split": "test", "draws": draws}}
    named = {"iwae_5000": name, "iwae_50": "iwae_0"}
    estimates = [e._replace(name=named.get(e.name, e.name)) for e in one.estimates]
    reading = Quantity(name).read(replace(one, config=config, estimates=estimates))
    assert reading.weights == seen
    assert (reading.caution(one.description(name)) is not None) == seen.unreliable


def test_what_else_an_older_record_tells():
    """Naive Monte Carlo and annealing have effective sample sizes of their own."""
    asked = [{"name": "NaiveMonteCarlo", "draws": 100}, {"name": "AnnealedImportanceSampling", "chains": 8}]
    one = record(1.0, 0, -10.0, estimates=[
        Estimate("naive_monte_carlo", -12.0, n=4),
        Estimate("naive_monte_carlo_effective_sample_size", 1.5, n=4), Estimate("ais", -9.0, n=4, note="short"),
        Estimate("ais_effective_sample_size", 7.0, n=4), Estimate("elbo", -11.0, n=360),
    ])  # fmt: skip
    one = replace(one, config={**one.config, "evaluate": {**one.config["evaluate"], "estimators": asked}})
    naive, ais = (Quantity(name).read(one) for name in ("naive_monte_carlo", "ais"))
    assert (naive.caution(Description()) is not None, naive.remark) == (True, None)
    assert (ais.caution(Description()), ais.remark) == (None, "short")
    assert naive.over == ais.over == "4 observations"


def test_numbers_over_other_observations_are_not_paired_and_say_why():
    first = [record(1.0, s, -8.0 - s, estimates=[Estimate("ais", -8.0 - s, n=4, over="4 of 360, ab")]) for s in (0, 1)]
    second = [record(4.0, s, -9.0, estimates=[Estimate("ais", -9.0 - s, n=100, over="100 of 360, cd")]) for s in (0, 1)]
    text = compared([*first, *second])
    (line,) = [row for row in text.splitlines() if row.startswith("AIS ")]
    assert line.split()[-2:] == ["–", "–"]
    assert "AIS: no difference, for it was taken over other observations in each (4 of 360 against 100 of 360)" in text


def test_wandb_has_the_number_and_beside_it_what_its_mark_says():
    told = {**headline(record(1.0, 0, -10.0, COLLAPSED)), **cautions(record(1.0, 0, -10.0, COLLAPSED))}
    assert told["test/iwae_5000"] == -10.0
    assert told["test/iwae_5000_mark"].startswith(f"{MARK} {SAID} (median Pareto k̂ 1.24")
    assert "too high" in told["test/bits_per_dimension_mark"]
    assert cautions(record(1.0, 0, -10.0, SOUND)) == {}


def test_the_chart_of_bounds_opens_the_discs_that_are_marked():
    marked, sound = (pages.make(study([m] * 3)).html for m in (True, False))
    charts = [re.search(r'id="bounds".*?</section>', text, re.S)[0] for text in (marked, sound)]
    assert [chart.count(f">{MARK}</text>") for chart in charts] == [1, 0]
    assert [chart.count("var(--ground)") for chart in charts] == [1, 0]
    assert [SAID in chart for chart in charts] == [True, False]


def test_a_marked_number_leaves_a_looser_bound_to_say_which_is_the_highest():
    told = " ".join(answer(table.table(study([True] * 3))))
    assert "The highest IWAE-50 is that of β=1: -11.10 ± 0.25 nats over 3 seeds, 10 above β=4" in told
    all_marked = [record(b, s, -10.0 * b, COLLAPSED) for b in (1.0, 4.0) for s in (0, 1)]
    bare = [replace(r, estimates=[e for e in r.estimates if e.name == "iwae_5000"]) for r in all_marked]
    assert answer(table.table(bare))[0].startswith("No bound can be ranked. Not ranked is the IWAE-5000 of β=1 (-10†)")


@pytest.mark.filterwarnings("ignore:Pydantic V1 style:DeprecationWarning")  # wandb-workspaces 0.4
def test_dashboard_panels_say_of_how_many_runs_a_number_is_marked(tmp_path):
    pytest.importorskip("wandb_workspaces", reason="the extra `dash` is not installed")
    from vaebench.config import load
    from vaebench.reporting.wandb import dashboard

    (tmp_path / "study.yaml").write_text(
        "question: Q?\nmodel: {name: VAE, latent_dim: 2}\ndata: {name: Digits, binarize: Fixed}\n"
    )
    outline = dict(dashboard.outline(dashboard.workspace(load(tmp_path / "study.yaml"), study([True, False, False]))))
    shown = " ".join(panel for panels in outline.values() for panel in panels)
    assert f"Highest IWAE-5000 ({MARK} 1 of 6 runs: {SAID})" in shown
    assert "IWAE-50 (BarPlot)" in shown
