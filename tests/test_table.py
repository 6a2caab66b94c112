"""Tables: honest blanks, notes that stay with their cells, and no ranking across measures."""

import csv
import io
import math
import re
from collections.abc import Sequence
from dataclasses import replace

import pytest
from rich.console import Console

from vaebench.records.description import Description, Direction, Panel, Role
from vaebench.records.record import Estimate, Record, identity
from vaebench.reporting.answer import answer
from vaebench.reporting.figures.headline import number_panels
from vaebench.reporting.page.site import glossary
from vaebench.reporting.tables import table
from vaebench.reporting.tables.intervals import t_interval
from vaebench.reporting.tables.layout import page
from vaebench.reporting.tables.quantities import (
    NOT_MEASURED,
    BitsPerDimension,
    Fact,
    Quantity,
    Reading,
    quantities,
    with_role,
)
from vaebench.reporting.tables.rendering import APART, RENDERINGS, legend, markdown, runs_csv
from vaebench.reporting.tables.table import Cell, Table
from vaebench.reporting.terminal import headline

SHARED = {"checksum": "ab12" * 16, "split": "test", "binarize": "Dynamic", "measure": "discrete"}
VAE = {"name": "VAE", "latent_dim": 4}


def record(seed: int = 0, model: dict | None = None, **changes) -> Record:
    """A record whose id depends on its configuration, with two bounds."""
    model = VAE if model is None else model
    config = {"model": model, "data": {"name": "Digits"}, "train": {"epochs": 3}, "seed": seed}
    config |= changes.pop("config", {})
    made = Record(
        id=identity(config),
        study="study",
        status="done",
        axes=["model", "seed"],
        config=config,
        comparability=SHARED,
        facts={"dimensions": 64, "parameters": 100, "beta": 1.0},
        estimates=[Estimate("elbo", -20.0 - seed, 0.1, 360), Estimate("iwae_50", -19.0 - seed, 0.1, 360)],
        provenance={"commit": "c0ffee" * 6, "dirty": False},
    )
    return replace(made, **changes)


def cell(made: Table, quantity: str, row: int = 0, block: int = 0) -> Cell:
    column = [q.name for q in made.quantities].index(quantity)
    return made.blocks[block].rows[row].cells[column]


def rows(made: Table) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(RENDERINGS["table.csv"](made))))


# -- cells and rows ---------------------------------------------------------------------------------------------------


def test_a_row_is_a_configuration_and_its_cell_the_interval_over_seeds():
    made = table.table([record(seed) for seed in range(3)])
    assert len(made.blocks) == len(made.blocks[0].rows) == 1
    assert cell(made, "elbo").interval == t_interval([-20.0, -21.0, -22.0])
    assert rows(made)[0]["seeds"] == "3"


def test_one_seed_prints_no_interval():
    assert "±" not in markdown(table.table([record()])).partition("##")[2].partition("**Bounds")[2]
    assert rows(table.table([record()]))[0]["elbo_half_width"] == ""


def test_the_csv_has_every_digit_and_the_block():
    value = -20.123456789012345
    (row,) = rows(table.table([record(estimates=[Estimate("elbo", value)])]))
    assert float(row["elbo"]) == value
    assert (row["elbo_n"], row["checksum"], row["measure"]) == ("1", SHARED["checksum"], "discrete")


def test_a_blank_has_its_reason():
    ae = record(model={"name": "AE"}, estimates=[], not_applicable={"elbo": "AE has no posterior"})
    made = table.table([record(), ae])
    assert next((r.labels, r.cells[0]) for r in made.blocks[0].rows) == (("AE",), Cell(None, ("AE has no posterior",)))
    assert Quantity("rate").read(ae) == Reading(None, NOT_MEASURED)
    text = markdown(made)
    (number,) = re.findall(r"\[\^(\d+)\]: AE has no posterior", text)
    assert f"–[^{number}]" in text


def test_a_number_that_is_not_finite_is_no_number():
    bad = record(1, estimates=[Estimate("elbo", math.nan, note="not finite: inf")])
    found = cell(table.table([record(0), bad, record(2)]), "elbo")
    assert found == Cell(t_interval([-20.0, -22.0]), ("not finite: inf (1 of 3 seeds)",))


def test_notes_stay_with_their_cells_and_are_written_once():
    noted = [replace(r, estimates=[r.estimates[0], r.estimates[1]._replace(note="weights collapsed")])
             for r in (record(s, {"name": "VAE", "latent_dim": d}) for d in (2, 4) for s in (0, 1))]  # fmt: skip
    text = markdown(table.table([*noted, record(0, {"name": "AE"})]))
    assert text.count("[^1]: weights collapsed\n") == 1
    assert text.count("[^1]") == 5  # two rows of IWAE-50, two of its bits per dimension, the note


def test_a_note_of_the_whole_column_stands_at_its_heading():
    facts = {"forecast_active_units": 3, "forecast_note": "a reference only"}
    text = markdown(table.table([record(model={**VAE, "latent_dim": d}, facts=facts) for d in (2, 4)]))
    assert "forecast active units[^1]" in text
    assert text.count("[^1]") == 2


def test_failed_runs_are_listed_and_counted_but_never_averaged():
    failed = replace(record(2), status="failed", reason="loss is\nNaN", estimates=[], comparability={}, facts={})
    lost = replace(failed, id="ff", config={**failed.config, "train": {"epochs": 9}})
    made = table.table([record(0), record(1), failed, lost])
    assert made.failures == [("epochs=3, seed=2", "loss is NaN"), ("epochs=9, seed=2", "loss is NaN")]
    assert cell(made, "elbo").interval == t_interval([-20.0, -21.0])
    assert cell(made, "elbo", block=1) == Cell(None, ("no run of this row finished",))
    assert [(r["seeds"], r["failed"], r["elbo"]) for r in rows(made)] == [("2", "1", "-20.5"), ("0", "1", "")]
    text = markdown(made)
    assert "2, 1 failed" in text
    assert "- epochs=9, seed=2: loss is NaN" in text


def test_bits_per_dimension_come_from_the_tightest_bound_of_images():
    made = table.table([record()])
    assert cell(made, "bits_per_dimension").interval.mean == pytest.approx(19 / (64 * math.log(2)))
    assert "bits/dim (IWAE-50)" in markdown(made)
    vector = record(facts={"dimensions": 10, "shape": [10]})
    assert "bits_per_dimension" not in [q.name for q in quantities([vector])]
    assert BitsPerDimension(bound=Quantity("elbo")).read(vector).remark == "bits per dimension are for images"


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"scale": 255.0}, "x, the data divided by 255; per unit of the data itself: +7.994"),
        ({"scale": 0.5}, "x, the data divided by 0.5; per unit of the data itself: -1"),
        ({"scale": 1.0}, "x, as the data has it"),
        ({}, "x, as the model sees it"),
    ],
)
def test_bits_per_dimension_of_a_density_say_per_which_unit(facts, said):
    """A density of x/s is s times that of x, so the bits differ by log2 s; probabilities have no unit."""
    facts = {"dimensions": 64, **facts}
    made = table.table([record(facts=facts, comparability={**SHARED, "measure": "density"})])
    assert cell(made, "bits_per_dimension").remarks == (f"bits/dim of a density per unit of {said}",)
    assert said in markdown(made)
    assert cell(table.table([record(facts=facts)]), "bits_per_dimension").remarks == ()


def test_a_block_is_called_by_a_label_before_a_checksum_and_the_label_is_no_column():
    def on(variant: str, checksum: str, seed: int = 0) -> list[Record]:
        measured = {**SHARED, "checksum": checksum * 16}
        data = {"data": {"name": "Set", "variant": variant}}
        models = (VAE, {**VAE, "latent_dim": 8})
        return [record(seed, m, axes=["data.variant"], config=data, comparability=measured) for m in models]

    laid_out = page(table.table([*on("left", "ab12"), *on("right", "cd34")]))
    assert {sheet.block for sheet in laid_out.sheets} == {"variant left", "variant right"}
    assert all("variant" not in [heading.text for heading in sheet.headings] for sheet in laid_out.sheets)
    alike = page(table.table([*on("left", "ab12"), *on("left", "cd34", 1)]))
    assert {sheet.block for sheet in alike.sheets} == {"checksum ab12ab12ab", "checksum cd34cd34cd"}


def test_a_fact_shows_a_half_width_only_where_it_scatters():
    made = table.table([record(s, facts={"beta": 4.0, "variance": 0.1 + s}) for s in (0, 1)])
    sheet = page(made).sheets[-1]
    shown = {heading.text: entry for heading, entry in zip(sheet.headings, sheet.rows[0], strict=True)}
    assert (shown["β"].text, shown["β"].spread) == ("4", None)
    assert shown["σ²"].spread is not None
    unknown = record(facts={"forecast_note": "no forecast: rank 0"})
    forecast = Fact("forecast_active_units", unknown.description("forecast_active_units"))
    assert forecast.read(unknown) == Reading(None, "no forecast: rank 0")


@pytest.mark.parametrize(
    ("changes", "fact", "reason"),
    [
        ({"not_applicable": {"beta": "AE has no rate"}, "facts": {}}, "beta", "AE has no rate"),
        ({"not_applicable": {"collapsed_by_objective": "AE has no rate"}, "facts": {}}, "beta", "AE has no rate"),
        ({"not_applicable": {"collapsed_by_objective": "no forecast"}}, "forecast_active_units", "no forecast"),
        ({"facts": {"beta": 1.0, "variance": 0.5}}, "beta_effective", "σ² is learned, so βσ² has no fixed value"),
        ({"facts": {"beta": 1.0}}, "beta_effective", "its likelihood has no σ²"),
        ({"facts": {}}, "variance", "its likelihood has no σ²"),
        ({"not_applicable": {"collapsed_by_objective": "AE has no rate"}}, "mine", "this model does not state mine"),
    ],
    ids=["the record says", *(f"an older record: {name}" for name in ("β", "forecast", "βσ²", "no σ²", "σ²", "mine"))],
)
def test_a_missing_fact_has_its_reason(changes, fact, reason):
    assert Fact(fact).read(record(**changes)) == Reading(None, reason)


def over_beta(beta: float | None, seed: int = 0, **changes) -> Record:
    """A run of a grid over β, or of a model that has no β."""
    model = {"name": "AE"} if beta is None else {"name": "BetaVAE", "beta": beta}
    facts = {} if beta is None else {"beta": beta}
    return record(seed, model, **{"axes": ["model.beta", "seed"], "facts": facts} | changes)


def headings(made: Table) -> list[list[str]]:
    return [[heading.text for heading in sheet.headings] for sheet in page(made).sheets]


@pytest.mark.parametrize(
    "more",
    [
        [],
        [over_beta(4.0, seed, status="failed", reason="diverged", facts={}, estimates=[]) for seed in (0, 1)],
        [over_beta(4.0), over_beta(4.0, 1, status="failed", reason="diverged", facts={}, estimates=[])],
        [over_beta(None)],
    ],
    ids=["all done", "a row failed", "a seed failed", "a model without the fact"],
)
def test_a_fact_that_is_a_label_is_no_column(more):
    made = table.table([*map(over_beta, (1.0, 2.0)), *more])
    assert all("β" not in of_sheet[1:] for of_sheet in headings(made))


@pytest.mark.parametrize("facts", [{}, {"beta": 5.0}])
def test_a_fact_that_differs_from_the_label_in_a_row_is_a_column(facts):
    made = table.table([*map(over_beta, (1.0, 2.0)), over_beta(4.0, facts=facts)])
    assert any("β" in of_sheet[1:] for of_sheet in headings(made))


def test_a_forecast_equal_to_a_label_is_a_column():
    described = Description("forecast", Panel.COLLAPSE, role=Role.FORECAST)
    rows = [
        record(seed, {**VAE, "latent_dim": d}, axes=["model.latent_dim", "seed"],
               facts={"latent_dim": d, "forecast_active_units": d}, descriptions={"forecast_active_units": described})
        for d in (2, 4, 6) for seed in (0, 1)
    ]  # fmt: skip
    (headed,) = (of_sheet for of_sheet in headings(table.table(rows)) if "forecast" in of_sheet)
    assert headed[0] != "forecast"
    assert sum("latent_dim" in of_sheet[1:] for of_sheet in headings(table.table(rows))) == 0


def test_an_axis_has_the_heading_of_its_fact_wherever_it_is_shown():
    described = {"beta": Description("price", meaning="What a nat costs.")}
    made = table.table([over_beta(b, descriptions=described) for b in (1.0, 2.0)])
    assert (made.axes, made.keys, made.headings) == (("model.beta",), ("beta",), ("price",))
    assert {made.label(name) for name in ("model.beta", "beta", "price")} == {0}
    assert all(of_sheet[0] == "price" for of_sheet in headings(made) if of_sheet)
    assert ("What a nat costs.", ["price"]) in glossary(made)
    assert (made.name(made.rows[0]), made.slug(made.rows[0], 3)) == ("price=1", "beta=1, seed=3")
    assert rows(made)[0]["model.beta"] == "1"


@pytest.mark.parametrize(
    ("axes", "facts"),
    [(["model.beta", "train.beta"], {"beta": 1.0}), (["model.beta"], {"betas": 1.0}), (["model.beta"], {"beta": 9.0})],
    ids=["two axes of one name", "no fact of the name", "other numbers"],
)
def test_an_axis_without_a_fact_of_its_own_keeps_its_name(axes, facts):
    def run(beta: float, other: float) -> Record:
        stated = {name: beta * factor for name, factor in facts.items()}
        described = dict.fromkeys(facts, Description("price"))
        return over_beta(beta, config={"train": {"beta": other}}, axes=axes, facts=stated, descriptions=described)

    made = table.table([run(beta, other) for beta in (1.0, 2.0) for other in (1.0, 2.0)])
    assert made.headings == made.keys


def test_the_newest_description_of_a_number_wins():
    def run(seed: int, heading: str, finished: str) -> Record:
        return record(seed, descriptions={"elbo": Description(heading)}, provenance={"finished": finished})

    made = [run(0, "old", "2026-01-01T09:00:00+00:00"), run(1, "new", "2026-01-01T10:00:00+00:00")]
    made += [record(2, descriptions={"elbo": Description("no time")}, provenance={})]
    for order in (made, made[::-1]):
        assert {q.name: q.heading for q in quantities(order)}["elbo"] == "new"


def test_a_blank_label_has_a_note_and_a_chart_calls_it_by_its_key():
    made = table.table([over_beta(b, estimates=[Estimate("elbo", -i)]) for i, b in enumerate((1.0, 2.0, None))])
    assert made.headings == ("β", "model")
    (blank,) = (row[0] for row in page(made).sheets[0].rows if row[0].text == "–")
    assert page(made).notes[blank.notes[0] - 1] == "no model.beta in the configuration of this row"
    assert made.name(made.rows[-1]) == "no β, AE"
    console = Console(width=80, file=io.StringIO(), record=True)
    console.print(headline(made))
    assert "–: the reason stands in a note of table.md" in console.export_text()


def test_every_blank_of_a_csv_has_its_reason_in_a_column():
    short = record(model={"name": "AE"}, estimates=[Estimate("elbo", math.nan, note="not finite: nan")])
    failed = record(model={"name": "IWAE"}, status="failed", reason="diverged", estimates=[], facts={})
    records = [record(), short, failed]
    found = {row["model"]: row["blank"] for row in rows(table.table(records))}
    assert found["VAE"] == ""
    assert found["AE"].startswith("elbo: not finite: nan; iwae_50, ")
    assert found["IWAE"].endswith("parameters: no run of this row finished")
    by_run = {row["model"]: row["blank"] for row in csv.DictReader(io.StringIO(runs_csv(records)))}
    assert by_run["VAE"] == by_run["IWAE"] == "", "the reason of a failed run stands in a column of its own"
    assert by_run["AE"].startswith("elbo: not finite: nan; iwae_50")
    assert "blank" not in rows(table.table([record()]))[0]


def test_an_unknown_metric_gets_a_column_and_no_rank():
    extra = [record(model={**VAE, "latent_dim": d}, estimates=[Estimate("my_metric", d)]) for d in (2, 4)]
    assert quantities(extra)[-1].heading == "my metric"
    assert "**2**" not in markdown(table.table(extra))


def test_a_row_without_records_is_refused_and_so_is_a_run_of_two_contents():
    with pytest.raises(ValueError, match="run the sweep first"):
        table.table([])
    with pytest.raises(ValueError, match="twice with different content"):
        table.table([record(), record(facts={})])
    assert table.table([record(), record()]) == table.table([record()])


# -- blocks -----------------------------------------------------------------------------------------------------------


def test_rows_that_do_not_compare_stand_apart_and_are_ranked_apart():
    models = [{**VAE, "latent_dim": d} for d in (2, 4, 8, 16)]
    made = [
        record(seed, m, estimates=[Estimate("elbo", [-30.0, -31.0, 50.0, 51.0][i])]) for i, m in enumerate(models)
        for seed in (0, 1)
    ]  # fmt: skip
    worse, better = made[:4], [replace(r, comparability={**SHARED, "measure": "density"}) for r in made[4:]]
    made = table.table(worse + better)
    assert [b.comparability["measure"] for b in made.blocks] == ["discrete", "density"][::-1]
    text = markdown(made)
    assert text.count("**-30**") == text.count("**51**") == 1
    assert "**-31**" not in text
    assert "**50**" not in text
    assert "## measure discrete" in text


def over_betas(betas: Sequence[float], diverged: Sequence[float] = ()) -> Table:
    """Three seeds of each β; of some β, all of them failed."""
    failed = {"status": "failed", "reason": "diverged", "estimates": [], "comparability": {}, "facts": {}}
    rows = []
    for beta in betas:
        for seed in range(3):
            one = record(seed, {**VAE, "beta": beta}, axes=["model.beta", "seed"])
            estimates = [e._replace(value=e.value - beta) for e in one.estimates]
            rows.append(replace(one, **(failed if beta in diverged else {"estimates": estimates, "facts": {}})))
    return table.table(rows)


def test_a_row_whose_runs_all_failed_is_no_other_measure():
    whole, part = over_betas([0.5, 1.0, 2.0]), over_betas([0.5, 1.0, 2.0, 4.0], diverged=[4.0])
    assert len(part.blocks) == len(whole.blocks) + 1
    assert [q for _, (_, q, _) in number_panels(part)] == [q for _, (_, q, _) in number_panels(whole)] != []
    assert [title for title, _ in number_panels(part)] == [title for title, _ in number_panels(whole)]
    assert APART not in legend(part)
    assert answer(part)[:-1] == answer(whole)
    one, *_ = answer(over_betas([1.0, 4.0], diverged=[4.0]))
    assert "comparable with no other" not in one


def test_a_row_alone_is_not_the_best():
    made = table.table([record()])
    assert not any(entry.best for sheet in page(made).sheets for row in sheet.rows for entry in row)


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (2, 1, 0)])
def test_the_best_is_the_highest_bound_and_the_lowest_error(order):
    estimates = [[Estimate("elbo", -10.0 - i), Estimate("squared_error", 1.0 + i)] for i in order]
    models = [{**VAE, "latent_dim": i} for i in range(3)]
    made = table.table(
        [record(s, m, estimates=e) for m, e in zip(models, estimates, strict=True) for s in (0, 1)],
    )
    names = [q.name for q in made.quantities]
    for quantity in (q for q in made.quantities if q.name in ("elbo", "squared_error")):
        assert made.blocks[0].best(names.index(quantity.name), quantity) == {order.index(0)}
    assert not made.blocks[0].best(names.index("parameters"), Fact("parameters"))


def test_every_bound_of_the_suite_is_known_and_ranked():
    names = ("elbo", "iwae_1", "iwae_5000", "effective_sample_size_5%")
    found = quantities([record(estimates=[Estimate(name, 1.0) for name in names])])
    assert [(q.heading, q.description.sign) for q in with_role(found, Role.BOUND)] == [
        ("ELBO", 1), ("IWAE-1", 1), ("IWAE-5000", 1),
    ]  # fmt: skip
    assert [q.description.sign for q in found if q.heading == "ESS 5 %"] == [0]


def test_a_number_is_shown_as_the_record_describes_it():
    """Also under a name that an earlier version knew; and a record that describes a number speaks for all."""
    described = {"elbo": Description("my bound", Panel.RATE, better=Direction.LOWER)}
    own = [record(s, {**VAE, "latent_dim": 8}, descriptions=described) for s in (0, 1)]
    made = table.table([*own, *(record(s, estimates=[Estimate("elbo", s)]) for s in (4, 5))])
    column = next(q for q in made.quantities if q.name == "elbo")
    assert (column.heading, column.description.panel) == ("my bound", Panel.RATE)
    assert made.blocks[0].best(made.quantities.index(column), column) == {1}
