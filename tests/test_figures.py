"""Every figure, whatever the records say: a marked number is marked, and odd numbers and labels leave it readable."""

import re
from collections.abc import Sequence
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from vaebench.config.presentation import PLAIN, Axes, Presentation
from vaebench.records.description import Bias, Weights
from vaebench.records.record import Estimate, Record, identity
from vaebench.reporting.figures import FIGURES
from vaebench.reporting.figures.base import Drawn, Facets
from vaebench.reporting.figures.headline import LONGEST, quantity
from vaebench.reporting.figures.svg import CATEGORIES
from vaebench.reporting.tables import table as tables
from vaebench.reporting.tables.quantities import MARK

COLLAPSED, SOUND = Weights(1.24, 8.0, 5000), Weights(0.4, 4000.0, 5000)
SAID = "rests on collapsed importance weights"


def record(
    label: str | float, seed: int, elbo: float, weights: Weights = SOUND, key: str = "beta", **changes
) -> Record:
    """A run that has numbers for every figure but the phase diagram."""
    model = {"name": "BetaVAE", "latent_dim": 3, "likelihood": {"name": "Gaussian", "variance": 0.1}}
    config = {"model": {**model, key: label}, "seed": seed}
    numbers = {"elbo": elbo, "iwae_50": elbo + 1, "rate": 9.0 + elbo / 9, "distortion": -elbo / 2, "active_units": 2.0}
    numbers |= {"below_ceiling": 2.0, "depth_can_buy": 3.0, "collapse_onset": 0.7, "naive_monte_carlo": elbo - 1}
    arrays = {"kl_per_unit": [3.0, 0.0, 1.0], "collapse_curve": [0.0, 0.5, 1.0], "collapse_epsilon": [0.01, 0.1, 1.0]}
    arrays |= {"erased_share": [0.1, 0.5], "wrong_by_squared_error_over_share": [0.9, 0.1]}
    arrays |= {"wrong_by_code_over_share": [0.8, 0.0]}
    made = Record(
        id=identity(config),
        study="study",
        status="done",
        axes=[f"model.{key}", "seed"],
        config=config,
        comparability={"checksum": "ab12" * 16, "split": "test", "measure": "discrete"},
        facts={"beta": label if key == "beta" else 1.0, "variance": 0.1, "latent_dim": 3, "forecast_active_units": 2},
        estimates=[
            *(Estimate(name, value) for name, value in {**numbers, **arrays}.items()),
            Estimate("iwae_5000", elbo + 2, weights=weights),
        ],
        curve={"epoch": [1, 2, 3], "val/elbo": [elbo - 9, elbo - 4, elbo], "val/rate": [4.0, 5.0, 6.0]},
    )
    return replace(made, **changes)


def with_numbers(one: Record, **values: float) -> Record:
    return replace(one, estimates=[e._replace(value=values.get(e.name, e.value)) for e in one.estimates])


def drawn(records: Sequence[Record], presentation: Presentation = PLAIN, *names: str) -> dict[str, Drawn]:
    """The figures by their names, of these or of all; each panel is one SVG whose coordinates are numbers."""
    table = tables.table(records, (), presentation)
    sketches = {name: FIGURES[name](table, Facets.of(table)) for name in names or FIGURES}
    found = {name: sketch.drawn(name) for name, sketch in sketches.items() if sketch is not None}
    for panel in (panel for figure in found.values() for panel in figure.panels):
        root = ElementTree.fromstring(panel.svg.replace("<svg ", '<svg xmlns:xlink="x" ', 1))
        for each in root.iter():
            places = " ".join(each.get(key, "") for key in ("d", "x", "y", "width", "height", "transform"))
            assert not re.search("nan|inf", places), (panel.title, places)
    return found


def written(figure: Drawn) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", panel.svg) for panel in figure.panels)


# -- the mark ---------------------------------------------------------------------------------------------------------

SHOWN = {
    "headline": ("beta", Axes(x="beta", y=("iwae_5000",))),
    "headline of a sum": ("beta", Axes(x="beta", y=("iwae_5000 + elbo",))),
    "rows": ("kind", Axes(x="kind", y=("iwae_5000",))),
    "pair": ("kind", Axes(x="elbo", y=("iwae_5000",))),
    "pair, the other way": ("kind", Axes(x="iwae_5000", y=("elbo",))),
    "over-epochs": ("beta", Axes(x="epoch", y=("iwae_5000 - val/elbo",))),
    "bounds": ("beta", None),
}
"""Every figure that shows a bound that rests on weights: the axis of its study, and what its file asks for."""


@pytest.mark.parametrize("shown", SHOWN)
def test_a_marked_number_is_marked_in_every_figure_and_the_caption_explains_it(shown):
    key, axes = SHOWN[shown]
    labels = ("a", "b", "c") if key == "kind" else (0.5, 1.0, 2.0)
    for weights, marks in ((COLLAPSED, 1), (SOUND, 0)):
        runs = [
            record(x, s, -20.0 - i - s, weights if i == 1 else SOUND, key) for i, x in enumerate(labels) for s in (0, 1)
        ]
        name = re.match(r"[\w-]+", shown)[0]
        figure = drawn(runs, Presentation("Why?", figure=axes), name)[name]
        assert [panel.svg.count(f">{MARK}<") for panel in figure.panels] == [marks]
        assert (SAID in figure.caption) == bool(marks)


def test_lines_that_are_all_equal_are_marked_as_one():
    def run(beta: float, kind: str, seed: int) -> Record:
        one = record(beta, seed, -20.0 - beta - seed, COLLAPSED)
        config = {**one.config, "model": {**one.config["model"], "kind": kind}}
        return replace(one, id=identity(config), config=config, axes=["model.kind", "model.beta", "seed"])

    runs = [run(beta, kind, seed) for beta in (1.0, 2.0) for kind in ("a", "b") for seed in (0, 1)]
    figure = drawn(runs, Presentation("Why?", figure=Axes(x="beta", y=("iwae_5000",))), "headline")["headline"]
    assert figure.panels[0].svg.count(f">{MARK}<") == 2


@pytest.mark.parametrize(
    ("text", "bias"),
    [
        ("iwae_5000 - elbo", Bias.TOO_LOW),
        ("elbo - iwae_5000", Bias.TOO_HIGH),
        ("iwae_5000 - naive_monte_carlo", Bias.EITHER),
    ],
)
def test_a_sum_is_marked_as_its_terms_are_and_says_in_which_way_it_is_wrong(text, bias):
    def run(beta: float, weights: Weights) -> Record:
        one = record(beta, 0, -20.0 - beta, weights)
        weighed = [e._replace(weights=weights) if e.name == "naive_monte_carlo" else e for e in one.estimates]
        return replace(one, estimates=weighed)

    table = tables.table([run(1.0, COLLAPSED), run(2.0, SOUND)])
    cells = [row.group.cell(quantity(table, text)) for row in table.rows]
    assert f"{bias} by an unknown amount" in cells[0].caution
    assert [cell.unreliable for cell in cells] == [1, 0]


def test_there_is_no_sum_of_numbers_over_different_observations():
    def run(beta: float, over: str | None) -> Record:
        one = record(beta, 0, -20.0)
        partly = [e._replace(over=over) if e.name == "naive_monte_carlo" else e for e in one.estimates]
        return replace(one, estimates=partly)

    table = tables.table([run(1.0, "50 observations, ab"), run(2.0, None)])
    partly, whole = (row.group.cell(quantity(table, "naive_monte_carlo - elbo")) for row in table.rows)
    assert partly.interval is None
    assert "naive MC over 50 observations, ELBO over the whole split" in " ".join(partly.remarks)
    assert whole.interval.mean == -1.0
    alone = quantity(table, "naive_monte_carlo - beta")  # β was taken over no observations
    assert table.rows[0].group.cell(alone).over == "50 observations, ab"
    assert table.rows[0].group.cell(alone).interval.mean == -22.0


# -- curves of unequal length -----------------------------------------------------------------------------------------


def test_a_line_over_seeds_ends_where_the_first_of_its_runs_ended():
    def run(seed: int, first: float, epochs: int) -> Record:
        curve = {"epoch": list(range(1, epochs + 1)), "val/elbo": [first + e for e in range(epochs)]}
        return record(1.0, seed, -20.0, curve=curve)

    unequal = drawn([run(0, -100.0, 5), run(1, -101.0, 5), run(2, -130.0, 9)], PLAIN, "curves")["curves"]
    equal = drawn([run(0, -100.0, 5), run(1, -101.0, 5), run(2, -130.0, 5)], PLAIN, "curves")["curves"]
    assert unequal.panels == equal.panels
    said = "its line ends with the first"
    assert (said in unequal.caption, said in equal.caption) == (True, False)


# -- odd records ------------------------------------------------------------------------------------------------------

DOLLARS = ["cost $\\foo$", "$5 to $9", "$x^{$", "b"]


def test_a_dollar_in_a_label_is_a_dollar():
    runs = [record(x, s, -20.0 - 9 * i - s, key="kind") for i, x in enumerate(DOLLARS) for s in (0, 1)]
    found = drawn(runs, Presentation("Why?", figure=Axes(x="kind", y=("elbo",))), "rows", "bounds", "ceiling")
    assert [all(label in written(found[name]) for label in DOLLARS) for name in ("rows", "bounds")] == [True, True]
    assert not re.search(r"mathdefault|\\times", written(found["ceiling"])), "the powers of ten of its axis are set"


def plain(label: float | str, i: int, **changes) -> list[Record]:
    key = "kind" if isinstance(label, str) else "beta"
    return [record(label, seed, -20.0 - i - seed, key=key, **changes) for seed in (0, 1)]


def rows(labels: Sequence[str]) -> list[str]:
    """What stands at the rows of a chart."""
    runs = [run for i, label in enumerate(labels) for run in plain(label, i)]
    (panel,) = drawn(runs, Presentation("Why?", figure=Axes(x="kind", y=("elbo",))), "rows")["rows"].panels
    return re.findall(r'<text class="at end"[^>]*>([^<]*)</text>', panel.svg)


def test_characters_that_control_a_terminal_are_written_as_codes():
    assert rows(["a\0b", "c\u202ed", "e\nf"]) == [r"a\x00b", r"c\u202ed", "e f"]


def test_long_labels_that_differ_in_the_middle_stay_different():
    found = rows(["x" * 200 + end + "y" * 200 for end in "abc"])
    assert len(set(found)) == 3
    assert max(map(len, found)) <= LONGEST


def test_more_words_than_colours_have_one_colour_and_no_legend():
    def bounds(n: int) -> Drawn:
        return drawn([run for i in range(n) for run in plain(f"kind{i}", i)], PLAIN, "bounds")["bounds"]

    assert bounds(len(CATEGORIES) + 1).legend == ()
    legend = bounds(len(CATEGORIES)).legend
    assert len({colour for colour, _ in legend}) == len({text for _, text in legend}) == len(CATEGORIES)


@pytest.mark.parametrize("power", [1e6, 1e12, 1e-12])
def test_the_power_of_ten_of_a_number_stands_at_its_tick(power):
    runs = [record(x, 0, -power * i) for i, x in enumerate((0.5, 1.0, 2.0), 1)]
    text = written(drawn(runs, Presentation("Why?", figure=Axes(x="beta", y=("elbo",))), "headline")["headline"])
    assert re.search(rf" −2e{f'{power:e}'[-3:]} ".replace("e-", "e−").replace("+", r"\+"), text)


def test_labels_of_ticks_do_not_touch():
    runs = [record(x, 0, -20.0 - x) for x in (1.0, 1.01, 1.02, 100.0, 101.0)]
    text = written(drawn(runs, Presentation("Why?", figure=Axes(x="beta", y=("elbo",))), "headline")["headline"])
    assert [f" {x} " in text for x in ("1", "1.01", "1.02", "100", "101")] == [True, False, False, True, False]


def test_epochs_and_counts_are_whole():
    runs = [run for i, x in enumerate((1.0, 2.0)) for run in plain(x, i)]
    runs = [
        with_numbers(replace(run, facts={**run.facts, "forecast_active_units": 0}), active_units=0.0) for run in runs
    ]
    found = drawn(
        runs, Presentation("Why?", figure=Axes(x="epoch", y=("val/elbo",))), "over-epochs", "curves", "forecast"
    )
    for panel in (panel for figure in found.values() for panel in figure.panels):
        ticks = re.findall(r'<text class="at mid"[^>]*>([^<a-z]+)</text>', panel.svg)
        assert ticks
        assert all(re.fullmatch(r"\d+", tick) for tick in ticks), (panel.title, ticks)
