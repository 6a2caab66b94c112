"""What a reader sees first: the headline of a table, and the answer of a study with its numbers filled in."""

from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from test_rendering import record

from vaebench.config import ConfigError, load, presentation
from vaebench.config.presentation import Axes, Presentation
from vaebench.records import record as records_of
from vaebench.records.description import Description, Direction, Panel, Role, Weights
from vaebench.records.files import published_studies
from vaebench.records.record import Estimate
from vaebench.reporting import figures
from vaebench.reporting.answer import UnfilledError, answer, filled, interval
from vaebench.reporting.figures.headline import Kind, _band, chosen, number_panels
from vaebench.reporting.figures.headline import quantity as asked_quantity
from vaebench.reporting.page.site import folded
from vaebench.reporting.tables import table as tables
from vaebench.reporting.tables.intervals import t_interval
from vaebench.reporting.tables.labels import is_number
from vaebench.reporting.tables.layout import MOST_HEADLINE, Page, comparability, headline, page, shown
from vaebench.reporting.tables.table import Table
from vaebench.reporting.terminal import headline as in_terminal

ROOT = Path(__file__).parents[1]
PUBLISHED = published_studies(ROOT / "results")


def published(folder: Path) -> Table:
    name = folder.relative_to(ROOT / "results").as_posix()
    asked = presentation.read(ROOT / f"conf/{name}.yaml")
    return tables.table(records_of.read_all(folder), (), asked)


@pytest.fixture(scope="module", params=PUBLISHED, ids=lambda path: path.name)
def table(request: pytest.FixtureRequest) -> Table:
    return published(request.param)


def test_the_answer_of_every_published_study_is_filled(table: Table) -> None:
    if table.presentation.answer:
        said = filled(table.presentation.answer, table)
        assert "{" not in said
        assert answer(table)[0].startswith(said)


def test_the_names_in_every_headline_are_columns(table: Table) -> None:
    assert {q.name for q in table.quantities} >= set(table.presentation.headline)


def test_no_column_stands_twice_and_none_is_lost(table: Table) -> None:
    for block in table.blocks:
        found = [s for s in page(table).sheets if s.block == comparability(table, block)]
        assert len(found[0].headings) <= MOST_HEADLINE
        text = " ".join(sheet.constants for sheet in found)
        shown_once = [h.text for sheet in found for h in sheet.headings[sheet.fixed :]]
        assert len(shown_once) == len(set(shown_once))
        assert not set(shown_once) & set(table.headings)
        for i, quantity in enumerate(table.quantities):
            if any(row.cells[i].interval for row in block.rows) and quantity.heading not in shown_once:
                assert quantity.heading in text or _is_repeated(quantity, table)


def test_the_number_of_seeds_is_a_column_or_one_sentence_of_the_first_sheet(table: Table) -> None:
    for block in table.blocks:
        found = [s for s in page(table).sheets if s.block == comparability(table, block) and s.rows]
        is_column = {any(h.text == "seeds" for h in sheet.headings) for sheet in found}
        assert len(is_column) == 1
        assert [("Seeds of each row" in sheet.constants) for sheet in found].count(True) == (is_column == {False})
        counts = {(len(row.group.done), len(row.group.failed)) for row in block.rows}
        assert is_column == {len(counts) > 1}


def test_a_long_headline_is_folded_by_its_first_label_and_loses_nothing(table: Table) -> None:
    for sheet in (s for s in page(table).sheets if s.is_headline):
        parts = folded(sheet)
        assert len(parts) == 1 or len(sheet.rows) > 12
        rows = [row for _, part in parts for row in part.rows]
        assert rows == [row[len(parts) > 1 :] for row in sheet.rows]
        assert all(len(part.headings) == len(row) for _, part in parts for row in part.rows)


def _is_repeated(quantity, table: Table) -> bool:
    """A bound that another bound equals, or a fact that is a label."""
    return quantity.description.role is Role.BOUND or any(
        all(
            row.cells[table.quantities.index(quantity)].interval.mean == pytest.approx(float(row.labels[i]))
            for row in table.rows
        )
        for i, path in enumerate(table.axes)
        if path.split(".")[-1] == quantity.name and all(is_number(row.labels[i]) for row in table.rows)
    )


def test_the_end_of_a_sweep_fits_80_columns(table: Table) -> None:
    console = Console(width=80, markup=False, file=StringIO(), record=True)
    console.print(in_terminal(table))
    said = console.export_text()
    assert max(map(len, said.splitlines())) <= 80
    assert "…" not in said.replace(answer(table)[0], "")


@pytest.mark.parametrize(("width", "is_narrow"), [(80, False), (20, True)])
def test_a_terminal_breaks_no_interval_and_names_the_columns_without_room(width: int, is_narrow: bool) -> None:
    made = tables.table([record(seed, {"name": name}) for name in ("VAE", "AE") for seed in (0, 1)])
    console = Console(width=width, markup=False, file=StringIO(), record=True)
    console.print(in_terminal(made))
    grid = console.export_text().partition("The highest")[0]
    assert all(line.count("[") == line.count("]") for line in grid.splitlines())
    assert ("[" in grid) is not is_narrow
    assert ("no room here for" in grid) is is_narrow


def test_a_bound_that_one_row_has_is_no_headline() -> None:
    rows = [record(seed) for seed in (0, 1)]
    rows += [record(seed, {"name": "IWAE"}, estimates=[Estimate("elbo", -20.0 - seed, 0.1, 360)]) for seed in (0, 1)]
    made = tables.table(rows)
    assert [made.quantities[i].name for i in headline(made, made.blocks[0])] == ["elbo"]


def test_the_bound_of_a_headline_rests_on_no_collapsed_weights() -> None:
    bad = Weights(effective=2.0, pareto_k=1.5, draws=50)
    tight = Estimate("iwae_50", -19.0, 0.1, 360, weights=bad)
    made = tables.table([record(seed, estimates=[Estimate("elbo", -20.0, 0.1, 360), tight]) for seed in (0, 1, 2)])
    assert [made.quantities[i].name for i in headline(made, made.blocks[0])][:1] == ["elbo"]


def test_the_first_figure_is_what_the_study_asks_for(table: Table) -> None:
    asked = table.presentation.figure
    if asked is None:
        return
    found = chosen(table)
    assert found is not None
    first = figures.first(table)
    assert first is not None
    assert first.name == {Kind.NUMBERS: "headline", Kind.WORDS: "rows", Kind.EPOCHS: "over-epochs"}[found.kind]
    titles = [panel.title for panel in first.panels]
    headings = [q.heading for q in found.numbers] or [title for _, title in asked.panels]
    assert all(any(title.startswith(heading) for title in titles) for heading in headings)


def test_without_a_figure_the_first_one_has_the_headline_over_the_axis() -> None:
    made = published(ROOT / "results/beta")
    made = replace(made, presentation=replace(made.presentation, figure=None))
    panels = number_panels(made)
    assert [title for title, _ in panels] == [made.quantities[i].heading for i in headline(made, made.blocks[0])]


def test_a_band_shows_only_what_is_possible() -> None:
    made = published(ROOT / "results/beta")
    (panel,) = (p for _, p in number_panels(made) if p.quantity.name == "active_units")
    for line in panel.lines:
        drawn = _band(line.points, panel.quantity)
        assert min(drawn.low) >= 0
        assert max(drawn.high) <= 10


def test_a_number_against_another_a_sum_and_a_curve() -> None:
    rows = [record(seed, {"name": name}) for name in ("VAE", "AE") for seed in (0, 1, 2)]
    rows = [replace(r, curve={"epoch": [1, 2], "train/objective": [-30.0, -25.0]}) for r in rows]

    def first(axes: Axes) -> figures.Drawn | None:
        return figures.first(tables.table(rows, (), Presentation("Why?", figure=axes)))

    pair = first(Axes("elbo", ("iwae_50",), "model"))
    assert (pair.name, [text for _, text in pair.legend]) == ("pair", ["AE", "VAE"])
    summed = asked_quantity(tables.table(rows), "iwae_50 - elbo")
    assert (summed.heading, summed.read(rows[0]).value) == ("IWAE-50 − ELBO", pytest.approx(1.0))
    curve = first(Axes("epoch", {"what is gained": "elbo - train/objective"}))
    assert (curve.name, curve.panels[0].title.split(",")[0]) == ("over-epochs", "what is gained")
    assert first(Axes("sigma", ("elbo",))).name == first(Axes("model", ("elbow",))).name == "rows"


def test_two_seeds_show_both_values() -> None:
    assert shown(t_interval([1.0, 2.0]), 1) == ("1.5", "[1.0, 2.0]")
    assert shown(t_interval([1.0, 1.0]), 1) == ("1.0", None)
    assert shown(t_interval([1.0, 2.0, 3.0]), 1)[1] == "± 2.5"


def test_a_number_that_is_the_same_in_every_row_is_a_sentence() -> None:
    rows = [record(seed, {"name": name}) for name in ("VAE", "AE") for seed in (0, 1)]
    made: Page = page(tables.table(rows))
    assert any("parameters 100" in sheet.constants for sheet in made.sheets)
    assert all("parameters" not in [h.text for h in sheet.headings] for sheet in made.sheets)


def test_equal_digits_are_not_the_same_number() -> None:
    def constants(values: list[float], over: str | None = None) -> str:
        names = ("VAE", "AE", "IWAE")
        rows = [
            record(0, {"name": name}, estimates=[Estimate("rate", value, 0.1, 360, over=over)])
            for name, value in zip(names, values, strict=True)
        ]
        return " ".join(sheet.constants for sheet in page(tables.table(rows)).sheets)

    assert "rate" not in constants([-12345.6, -12345.9, -12346.2])
    assert "rate 5.2017 (over 50 of 360)" in constants([5.2017] * 3, "50 of 360, ab")
    assert "rate 5.2017" in constants([5.2017, 5.2017 * (1 + 2.0**-30), 5.2017])


def over_axes(axes: int) -> Table:
    """Eight rows over so many axes, each with several numbers that differ."""
    rows = []
    for row in range(8):
        config = {f"k{i}": int(i == row) for i in range(axes)}
        estimates = [Estimate("elbo", -20.0 - row, 0.1, 360), Estimate("squared_error", 1.0 + row, 0.1, 360)]
        rows.append(
            record(row, config={"train": config}, axes=[f"train.k{i}" for i in range(axes)], estimates=estimates)
        )
    return tables.table([replace(r, config={**r.config, "seed": 0}) for r in rows])


@pytest.mark.parametrize("axes", [3, 6, 7, 8])
def test_a_headline_has_no_more_columns_than_there_is_room(axes: int) -> None:
    made = over_axes(axes)
    assert len(made.headings) == axes
    assert len(headline(made, made.blocks[0])) <= max(0, MOST_HEADLINE - axes - 1)


def test_a_lead_with_a_wide_interval_keeps_it() -> None:
    assert interval(t_interval([1.0, -1.0, 0.5, -0.4999])) == "0.0 ± 1.5"
    assert interval(t_interval([2e-5])) == "2e-05"
    assert interval(t_interval([0.0, 0.0])) == "0"


def test_places_of_an_answer() -> None:
    made = tables.table([record(seed, {"name": name}) for name in ("VAE", "AE") for seed in (0, 1, 2)])
    assert filled("{elbo @ model=VAE} nats", made) == "-21.0 ± 2.5 nats"
    assert filled("{iwae_50 - elbo @ model=AE}", made) == "1"
    for wrong in ("{elbo}", "{elbow @ model=VAE}", "{elbo @ model=VA}", "{elbo @ beta=1}", "{elbo - ais @ model=AE}"):
        with pytest.raises(UnfilledError):
            filled(wrong, made)


def test_rows_are_ranked_in_the_tightest_bound_that_two_of_them_have() -> None:
    rows = [record(seed, {"name": name}) for name in ("VAE", "AE", "IWAE") for seed in (0, 1)]
    before = answer(tables.table(rows))
    described = {"iwae_9000": Description("IWAE-9000", Panel.BOUNDS, 20, "nats", Direction.HIGHER, role=Role.BOUND)}
    tighter = [*rows[0].estimates, Estimate("iwae_9000", -10.0, 0.1, 360)]
    rows[0] = replace(rows[0], estimates=tighter, descriptions=described)
    assert answer(tables.table(rows)) == before
    assert "The highest IWAE-50" in before[0]


def test_an_answer_that_is_not_filled_is_not_shown() -> None:
    asked = Presentation("Why?", answer="Because of {ais @ model=VAE}.")
    made = tables.table([record()], (), asked)
    assert answer(made) == answer(tables.table([record()]))


@pytest.mark.parametrize(
    ("key", "value"), [("headline", "elbo"), ("headline", "[1]"), ("answer", "[a]"), ("figure", "elbo")]
)
def test_a_wrong_presentation_is_a_fault_with_its_line(tmp_path: Path, key: str, value: str) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text(f"question: Why?\n{key}: {value}\nmodel: AE\ndata: {{name: Digits, binarize: Dynamic}}\n")
    with pytest.raises(ConfigError, match=rf"odd.yaml:2: {key}: expected "):
        load(path)


@pytest.mark.parametrize(
    ("figure", "said"),
    [
        ("{x: betta, y: [elbo]}", r'figure.x: expected an axis of the grid, .* got "betta" \(did you mean beta\?\)'),
        ("{x: beta}", "figure.y: missing; expected a list of at least one, each item text or a mapping"),
        ("{x: beta, y: []}", "figure.y: expected a list of at least one"),
        ("{x: beta, y: [elbo-rate - ]}", "figure.y: expected numbers by their names"),
        ("{x: beta, y: [elbo], series: modle}", 'figure.series: expected the axis of the grid .* got "modle"'),
        ("{x: beta, y: [elbo], colour: model}", "figure.colour: unknown key"),
    ],
)
def test_wrong_axes_are_a_fault_with_their_line(tmp_path: Path, figure: str, said: str) -> None:
    path = tmp_path / "odd.yaml"
    grid = "grid: {model.beta: [1, 2]}\n"
    path.write_text(
        f"question: Why?\nmodel: BetaVAE\ndata: {{name: Digits, binarize: Dynamic}}\n{grid}figure: {figure}\n"
    )
    with pytest.raises(ConfigError, match=rf"odd.yaml:5: {said}"):
        load(path)
