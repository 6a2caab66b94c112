"""Runs that a study's file does not ask for: found again, and never in the place of the study's own silently."""

import shutil
from pathlib import Path

import pytest
from commands import vaebench

from vaebench.config import ConfigError, Run, load
from vaebench.records import record
from vaebench.records.record import Estimate, Record
from vaebench.reporting.tables import rendering
from vaebench.sweeps.status import find_run

STUDY = """\
question: Is it found again?
model: {name: BetaVAE, latent_dim: 2, network: {name: MLP, hidden: [8]}}
data: {name: Digits, binarize: Fixed}
train: {epochs: 1, batch_size: 512}
evaluate: {draws: 10}
grid:
  model.beta: [1, 2]
  seed: 0..1
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/tiny.yaml").write_text(STUDY)
    return tmp_path


def made(*assignments: str, root: str = "runs") -> list[Record]:
    """The records of a sweep as it would leave them, with numbers that nobody measured."""
    study, found = load("conf/tiny.yaml", assignments), []
    for run in study.runs:
        value = -100.0 - run.config["model"]["beta"] - run.seed
        found.append(
            Record(
                id=run.id,
                study="tiny",
                status="done",
                axes=list(study.axes),
                config=run.config,
                comparability={"split": "test"},
                estimates=[Estimate("elbo", value, 1.0, 360)],
                provenance={"command": f"python -m vaebench train {run.source} --id {run.id}"},
            )
        )
        folder = Path(root, "tiny")
        path = folder / run.id / "record.json" if root == "runs" else folder / "records" / f"{run.id}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        record.write(found[-1], path)
    return found


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("root", ["runs", "results"])
@pytest.mark.parametrize(
    "assignments", [["beta=7"], ["model.latent_dim=3", "seed=5"], ["likelihood=Bernoulli", "seed=8"]]
)
def test_a_run_that_only_a_record_knows_is_found_by_its_id(root: str, assignments: list[str]) -> None:
    study, (first, *_) = load("conf/tiny.yaml"), made(*assignments, root=root)
    folders = (Path("runs/tiny"), Path("results/tiny"))
    for name in (first.id, first.id[:7]):
        run, axes = find_run(study, name, folders)
        assert (run.id, run.config, list(axes)) == (first.id, first.config, first.axes)
        assert run.source == load("conf/tiny.yaml", assignments).runs[0].source
    assert find_run(study, study.runs[2].id, folders)[0] is study.runs[2]


@pytest.mark.usefixtures("here")
def test_what_is_not_found_or_is_ambiguous_is_said() -> None:
    study, folders = load("conf/tiny.yaml"), (Path("runs/tiny"),)
    for name, text in (("zzz", "no run 'zzz'"), ("", "4 runs are meant"), (None, "4 runs are meant")):
        with pytest.raises(ConfigError, match=text):
            find_run(study, name, folders)
    found = made("beta=3..99", "seed=0")
    start = next(s for s in "0123456789abcdef" if sum(r.id.startswith(s) for r in found) > 1)
    with pytest.raises(ConfigError, match=r"begin with it|are meant"):
        find_run(study, start, folders)


@pytest.mark.usefixtures("here")
def test_a_record_that_is_not_its_own_is_not_trained() -> None:
    (first, *_) = made("beta=7")
    path = Path("runs/tiny", first.id, "record.json")
    path.write_text(path.read_text().replace('"beta": 7', '"beta": 8'))
    with pytest.raises(ValueError, match=rf"{first.id}.*") as caught:
        find_run(load("conf/tiny.yaml"), first.id, (Path("runs/tiny"),))
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("here")
def test_the_tables_of_a_folder_are_made_of_all_its_records_and_say_what_is_not_of_the_study() -> None:
    records = made()
    vaebench("table", "runs/tiny")
    alone = Path("runs/tiny/table.md").read_text()
    assert alone.encode() == _markdown(records)
    assert "not those of" not in alone
    more = [*records, *made("beta=7", "seed=0..2")]
    assert "differ from their records" in vaebench("table", "runs/tiny", "--check", status=1)
    vaebench("table", "runs/tiny")
    text = Path("runs/tiny/table.md").read_text()
    assert "3 of 7 runs are not those of conf/tiny.yaml, but of beta=7 seed=0..2." in text
    assert len(more) == 7
    assert text.count("\n| 7 ") >= 1
    assert "beta=7 seed=0..2" in Path("runs/tiny/table.csv").read_text().splitlines()[1]
    vaebench("table", "runs/tiny", "--check")
    shutil.rmtree("conf")
    vaebench("table", "runs/tiny")
    assert "not those of" not in Path("runs/tiny/table.md").read_text()


@pytest.mark.usefixtures("here")
def test_a_sweep_of_an_override_says_so_and_nothing_is_lost() -> None:
    made(), made("beta=7")
    vaebench("sweep", "conf/tiny.yaml", "--wandb", "disabled")  # everything is done, nothing is trained
    own = {path: path.read_bytes() for path in Path("runs/tiny").glob("table.*")}
    assert b"verridden" not in b"".join(own.values())
    said = vaebench("sweep", "conf/tiny.yaml", "beta=7", "--wandb", "disabled")
    assert (
        "Overridden on the command line: beta=7. The 2 runs of that sweep alone; vaebench table runs/tiny"
        in " ".join(said.split())
    )
    for path in (*own, Path("runs/tiny/report.html")):
        assert "verridden on the command line" in path.read_text(), path
    vaebench("sweep", "conf/tiny.yaml", "--wandb", "disabled")
    assert {path: path.read_bytes() for path in own} == own


def test_a_run_that_a_record_knows_is_trained_again(here: Path) -> None:
    said = vaebench("train", "conf/tiny.yaml", "beta=7", "seed=3", "--wandb", "disabled")
    (path,) = here.glob("runs/tiny/*/record.json")
    assert str(path.relative_to(here)) in said
    once = record.read(path)
    said = vaebench("train", "conf/tiny.yaml", "--id", path.parent.name, "--wandb", "disabled")
    assert "beta=7.0,seed=3" in said
    again = record.read(path)
    assert again.estimates == once.estimates
    assert (again.axes, again.provenance["command"]) == (once.axes, once.provenance["command"])
    assert Run.of(again.config).id == again.id


def _markdown(records: list[Record]) -> bytes:
    folder = Path("elsewhere")
    folder.mkdir()
    rendering.write(records, folder)
    return (folder / "table.md").read_bytes()
