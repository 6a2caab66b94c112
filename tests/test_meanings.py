"""What the numbers mean: gathered from whatever describes them, and shown on the pages."""

import json
from dataclasses import replace
from pathlib import Path

from vaebench.config.registry import ESTIMATORS, METRICS
from vaebench.records import record as records
from vaebench.records.description import Description, meaning
from vaebench.records.files import published_studies
from vaebench.reporting.tables import table as tables
from vaebench.sweeps import meanings

ROOT = Path(__file__).parents[1]


def test_the_file_says_what_metrics_estimators_and_models_say() -> None:
    for file, text in meanings.texts().items():
        shipped = (ROOT / "vaebench/records" / file).read_text(encoding="utf-8")
        assert shipped == text, "run `python -m vaebench.sweeps.meanings`"


def test_every_column_of_a_published_table_has_a_meaning() -> None:
    for folder in published_studies(ROOT / "results"):
        one = records.read_all(folder)[:1]
        assert [q.name for q in tables.table(one).quantities if not q.meaning] == [], folder.name


def test_a_record_has_the_meanings_of_numbers_that_are_not_of_this_package_alone() -> None:
    from vaebench.evaluation.ceiling import COLUMNS
    from vaebench.records.record import BELOW

    assert meaning(BELOW) == COLUMNS[BELOW].meaning != ""
    own = Description("mine", meaning="Mine.")
    made = records.Record(
        id="0" * 10, study="s", status="done", config={}, descriptions={BELOW: COLUMNS[BELOW], "mine": own}
    )
    assert '"meaning"' not in json.dumps(COLUMNS[BELOW].recorded(BELOW).entries)
    assert records.encode(replace(made, id=records.identity({}))).count(b'"meaning"') == 1
    assert own.recorded("mine") == own


def test_a_number_without_a_meaning_has_the_first_paragraph_of_its_class() -> None:
    class Mine:
        """A number
        of mine.

        And more.
        """

    assert Description("mine").explained("mine", Mine).meaning == "A number of mine."
    assert Description("mine", meaning="Own.").explained("mine", Mine).meaning == "Own."
    assert Description("mine").explained("elbo", Mine).meaning == "", "of this package"


def test_every_shipped_number_has_its_meaning_in_the_file() -> None:
    """So no record of shipped metrics and estimators carries a meaning."""
    for registry in (METRICS, ESTIMATORS):
        for _, described in meanings._measured(registry):
            assert all(d.recorded(name) == d._replace(meaning="") and meaning(name) for name, d in described.items())
