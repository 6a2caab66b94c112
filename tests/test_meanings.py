"""What the numbers mean: gathered from whatever describes them, and shown on the pages."""

from pathlib import Path

from vaebench.records import record as records
from vaebench.records.description import FILE, meaning
from vaebench.records.run_folder import published_studies
from vaebench.reporting.tables import table as tables
from vaebench.sweeps import meanings

ROOT = Path(__file__).parents[1]


def test_the_file_says_what_metrics_estimators_and_models_say() -> None:
    shipped = (ROOT / "vaebench/records" / FILE).read_text(encoding="utf-8")
    assert shipped == meanings.text(), "run `python -m vaebench.sweeps.meanings`"


def test_every_column_of_a_published_table_has_a_meaning() -> None:
    for folder in published_studies(ROOT / "results"):
        one = records.read_all(folder)[:1]
        assert [q.name for q in tables.table(one).quantities if not q.meaning] == [], folder.name


def test_a_meaning_is_no_part_of_a_record() -> None:
    from vaebench.evaluation.ceiling import BELOW, COLUMNS

    assert meaning(BELOW) == COLUMNS[BELOW].meaning != ""
    assert "meaning" not in COLUMNS[BELOW].entries
