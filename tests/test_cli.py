"""The command line as a user meets it: verbs, one clear line for what can be mended, exit statuses."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from commands import vaebench

from vaebench.records import record

ROOT = Path(__file__).parents[1]

TINY = """
question: Is the command line usable?
model: {name: VAE, latent_dim: 2, network: {name: MLP, hidden: [8]}}
data: {name: Digits, binarize: Fixed}
train: {epochs: 1, batch_size: 512}
evaluate: {draws: 10}
grid: {seed: 0..1}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch) -> Path:
    """An empty project with one study."""
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/tiny.yaml").write_text(TINY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A project whose study was swept, and what the sweep said."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "conf").mkdir()
    (folder / "conf/tiny.yaml").write_text(TINY)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return folder, vaebench("sweep", "conf/tiny.yaml", "--wandb", "disabled")


@pytest.fixture
def swept(trained: tuple[Path, str], here: Path) -> str:
    """What the sweep said whose runs are in this project."""
    shutil.copytree(trained[0], here, dirs_exist_ok=True)
    return trained[1]


def test_a_sweep_ends_in_tables_and_publishing_makes_them_the_reference(here, swept):
    assert "2/2" in swept
    assert (here / "runs/tiny/table.csv").is_file()
    assert "nothing published" in swept
    assert "files written" in vaebench("publish", "conf/tiny.yaml")
    assert sorted(p.name for p in (here / "results/tiny").glob("table.*")) == ["table.csv", "table.md", "table.tex"]
    assert vaebench("table", "--check")
    published = (here / "results/tiny/table.md").read_bytes()
    (here / "results/tiny/table.md").write_text("edited by hand")
    assert "differ from their records" in vaebench("table", "--check", status=1)
    vaebench("table")
    assert (here / "results/tiny/table.md").read_bytes() == published
    (lost, _) = sorted(here.glob("runs/tiny/*/record.json"))
    lost.unlink()
    said = vaebench("publish", "conf/tiny.yaml", status=1)
    assert f"{lost.parent.name} is missing" in said
    assert "--incomplete" in said
    vaebench("publish", "conf/tiny.yaml", "--incomplete")
    assert len(record.read_all(here / "results/tiny")) == 1


@pytest.mark.slow
def test_a_sweep_leaves_a_page_and_publishing_one_of_the_same_numbers(here, swept):
    assert "runs/tiny/report.html" in swept
    (path, _) = sorted(here.glob("runs/tiny/*/record.json"))
    assert "KL per unit in nats" in vaebench("show", path.parent.name)
    vaebench("publish", "conf/tiny.yaml")
    assert "runs/tiny: model=VAE" in vaebench("compare", "runs/tiny", "results/tiny")
    page = here / "results/tiny/report.html"
    pages = (page, here / "runs/tiny/report.html")
    # A page in results/ links to the index as well.
    first, second = (re.sub(r"<nav.*?</nav>", "", p.read_text(), flags=re.S) for p in pages)
    assert first == second
    assert "Is the command line usable?" in page.read_text()
    assert "data:image/png;base64," in page.read_text()
    assert len([*here.glob("results/tiny/arrays/*.npz")]) == 1  # of two seeds, the one that the page shows
    assert vaebench("report", "--check") == ""
    page.write_text("edited by hand")
    assert "differ from their records: results/tiny/report.html" in vaebench("report", "--check", status=1)
    assert vaebench("report", "tiny").splitlines() == ["results/tiny/report.html", "results/index.html"]
    assert "nothing: no records" in vaebench("report", "nothing", status=1)


@pytest.mark.slow
def test_published_results_are_no_reason_to_skip_work(here, swept):
    vaebench("publish", "conf/tiny.yaml")
    (here / "runs").rename(here / "elsewhere")
    said = vaebench("sweep", "conf/tiny.yaml", "--wandb", "disabled")
    assert "[2/2]" in said
    assert len(record.read_all(here / "runs/tiny")) == 2


def test_a_study_may_end_in_yml(here):
    (here / "conf/tiny.yaml").rename(here / "conf/tiny.yml")
    assert "tiny.yml" in vaebench("list")
    vaebench("sweep", "conf/tiny.yml", "--wandb", "disabled")
    vaebench("publish", "conf/tiny.yml")
    assert "Is the command line usable?" in (here / "results/tiny/report.html").read_text()
    assert "results/tiny: 2 records" in vaebench("table", "conf/tiny.yml", "--check")
    assert "results/tiny/report.html" in vaebench("report", "conf/tiny.yml")
    assert "Is the command line usable?" in (here / "results/tiny/report.html").read_text()


def test_no_study_has_the_place_of_the_protocols(here):
    (here / "conf/tiny.yaml").rename(here / "conf/paper.yaml")
    assert "conf/paper.yaml: expected another name" in vaebench("sweep", "conf/paper.yaml", status=1)
    assert "expected another name" in vaebench("list")
    (here / "conf/paper").mkdir()
    (here / "conf/paper.yaml").rename(here / "conf/paper/paper.yaml")
    assert "expected another name" not in vaebench("sweep", "conf/paper/paper.yaml", "--dry-run")


def test_the_command_in_a_record_makes_it_again(here):
    """Of a study with a name that a shell would part, and of values that are not in its file."""
    study = here / "my studies" / "β étude.yaml"
    study.parent.mkdir()
    study.write_text(TINY)
    vaebench("sweep", "my studies/β étude.yaml", "seed=7", "model.latent_dim=3", "--wandb", "disabled")
    (path,) = here.glob("runs/*/*/record.json")
    made = record.read(path)
    path.unlink()
    python, m, name, *arguments = shlex.split(made.provenance["command"])
    assert (python, m, name) == ("python", "-m", "vaebench")
    vaebench(*arguments, "--wandb", "disabled")
    assert record.read(path).estimates == made.estimates


@pytest.mark.parametrize("damage", ["half", "empty", "zeros", "text", "another model", "no model"])
def test_a_checkpoint_that_cannot_be_measured_is_one_line(here, swept, damage):
    both = sorted(here.glob("runs/tiny/*/model.ckpt"))
    path, content = both[0], both[0].read_bytes()
    wrong = {"half": content[: len(content) // 2], "empty": b"", "zeros": bytes(999), "text": b"hello"}
    if damage == "another model":
        vaebench("train", "conf/tiny.yaml", "seed=0", "model.latent_dim=3", "--wandb", "disabled")
        (other,) = {*here.glob("runs/tiny/*/model.ckpt")} - {*both}
        wrong[damage] = other.read_bytes()
    elif damage == "no model":
        torch.save({"weights": 1}, path)
    path.write_bytes(wrong.get(damage, path.read_bytes()))
    said = vaebench("evaluate", str(path.parent), status=1)
    assert said.startswith(f"error: {path}: ")
    assert "train the run again: python -m vaebench train conf/tiny.yaml --id" in said
    assert said.count("\n") == 1


def test_one_run_by_its_id_and_measured_again(here):
    said = vaebench("train", "conf/tiny.yaml", "--id", "seed=1", "--wandb", "disabled")
    (path,) = here.glob("runs/tiny/*/record.json")
    assert str(path.relative_to(here)) in said
    once = record.read(path).estimate("elbo").value
    again = vaebench("evaluate", str(path.parent))
    assert f"{once:.4f}" in again
    assert "iwae_16" in vaebench("evaluate", str(path.parent), "--draws", "64", "--k", "1,16,64")
    annealed = "{name: AnnealedImportanceSampling, observations: 3, temperatures: 5}"
    said = vaebench("evaluate", str(path.parent), "--estimators", f"NaiveMonteCarlo, {annealed}")
    assert all(name in said for name in ("naive_monte_carlo", "ais", "bdmc_lower", "bdmc_upper", "bdmc_gap"))
    assert "did you mean NaiveMonteCarlo?" in vaebench(
        "evaluate", str(path.parent), "--estimators", "NaiveMonteCarl", status=1
    )
    assert "quote it as YAML would" in vaebench("evaluate", str(path.parent), "--estimators", "{name:", status=1)


def test_what_is_measured_later_reaches_the_record_and_the_tables(here, swept):
    (path, _) = sorted(here.glob("runs/tiny/*/record.json"))
    once = record.read(path)
    said = vaebench("evaluate", str(path.parent), "--draws", "64", "--k", "1,64", "--save")
    assert "added to the record: iwae_64; already there: iwae_1" in said
    later = record.read(path)
    assert later.id == once.id
    assert [e for e in later.estimates if e.name != "iwae_64"] == once.estimates
    (origin,) = later.provenance["later"]
    assert origin["names"] == ["iwae_64"]
    assert origin["versions"] == once.provenance["versions"]
    vaebench("table", "runs/tiny")
    assert "iwae_64" in (here / "runs/tiny/table.csv").read_text()
    again = vaebench("evaluate", str(path.parent), "--draws", "64", "--k", "1,64", "--save")
    assert "added to the record: nothing" in again
    assert record.read(path) == later
    refused = vaebench("evaluate", str(path.parent), "--split", "train", "--k", "2", "--draws", "2", "--save", status=1)
    assert "the record has numbers of the test split, and these are of the train split" in refused


def test_what_a_run_has_no_number_for_is_said_with_the_reason(here):
    study = TINY.replace("VAE", "AE").replace("draws: 10", "draws: 10, estimators: [NaiveMonteCarlo]")
    (here / "conf/tiny.yaml").write_text(study.replace("0..1", "[0]"))
    vaebench("train", "conf/tiny.yaml", "--wandb", "disabled")
    (path,) = here.glob("runs/tiny/*/record.json")
    assert record.read(path).not_applicable["naive_monte_carlo"] == "AE has no prior p(z), and so no log p(x)"
    said = vaebench("evaluate", str(path.parent), "--estimators", "AnnealedImportanceSampling")
    assert f"{'ais':43} AE has no prior p(z), and so no log p(x)" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sweep", "conf/tyni.yaml"], "conf/tyni.yaml: no such file (did you mean conf/tiny.yaml?)"),
        (["sweep", "conf/tiny.yaml", "latent=3"], "latent"),
        (["sweep", "conf/tiny.yaml", "model.prior=Normal"], "StandardNormal"),
        (["train", "conf/tiny.yaml"], "2 runs are meant; choose one by its id"),
        (["train", "conf/tiny.yaml", "--id", "zzz"], "no run 'zzz'"),
        (["evaluate", "runs/tiny/nothing"], "nothing of that name"),
        (["publish", "conf/tiny.yaml"], "tiny"),
        (["show", "zzz"], "expected a run's folder"),
        (["compare", "zzz", "yyy"], "zzz: nothing of that name"),
        (["table", "conf/tiny.yaml"], "no records; run `python -m vaebench sweep conf/tiny.yaml`"),
    ],
)
def test_what_a_user_can_mend_is_one_line_and_status_one(here, arguments, message):
    said = vaebench(*arguments, status=1)
    assert said.startswith("error: ")
    assert message in said
    assert "Traceback" not in said


def test_a_failed_run_is_said_and_the_status_tells(here):
    said = vaebench("sweep", "conf/tiny.yaml", "model.learning_rate=1e18", "--wandb", "disabled", status=1)
    assert "lower model.learning_rate" in said
    assert "2 failed" in said


def test_list_names_everything_with_a_line(here):
    from vaebench.config.registry import REGISTRIES

    said = vaebench("list")
    for registry in REGISTRIES:
        for name in registry:
            line = next(line for line in said.splitlines() if line.split()[:1] == [name])
            assert len(line.split()) > 2
    assert "Is the command line usable? (2 runs)" in said


def test_schema_is_json(here):
    vaebench("schema", "conf/schema.json")
    assert "properties" in json.loads((here / "conf/schema.json").read_text())


def test_doctor_finds_the_data_root(here, monkeypatch):
    monkeypatch.setenv("VAEBENCH_DATA", str(here / "my data"))
    assert "my data" in vaebench("doctor")


LIGHT_VERBS = (
    ["--help"],
    ["sweep", "--help"],
    ["sweep", "missing.yaml"],
    ["table"],
    ["report"],
    ["ledger"],
    ["show", "0"],
)


@pytest.mark.parametrize("arguments", LIGHT_VERBS)
def test_light_verbs_import_nothing_heavy(here, arguments):
    """In a process of its own, what was imported by the end."""
    code = (
        "import sys\nfrom vaebench.__main__ import app\n"
        f"try: app({arguments!r}, standalone_mode=False)\nexcept BaseException: pass\n"
        "print(*[m for m in ('torch', 'lightning', 'torchmetrics', 'sklearn', 'wandb') if m in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.splitlines()[-1] == ""


def test_a_sweep_says_something_before_it_imports_torch(here):
    """In a process where torch cannot be imported."""
    code = (
        "import sys\nsys.modules['torch'] = None\nfrom vaebench.__main__ import app\n"
        f"app(['sweep', {str(ROOT / 'conf/smoke.yaml')!r}], standalone_mode=False)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert "import of torch halted" in done.stderr
    first = done.stdout.splitlines()[0]
    assert first.startswith("smoke: ")
    assert "4 runs" in first


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_plan_imports_only_what_training_needs(here):
    """A dry run of a study without images to score or labels to probe; W&B and charts come after the first training."""
    later = ("scipy", "sklearn", "pandas", "matplotlib", "torchvision", "wandb", "ray", "vaebench.reporting.page.site")
    code = (
        "import sys\nfrom vaebench.__main__ import app\n"
        f"app(['sweep', {str(ROOT / 'conf/smoke.yaml')!r}, '--dry-run'], standalone_mode=False)\n"
        f"print(*[m for m in {later} if m in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.splitlines()[-1] == ""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_sweep_imports_no_library_of_statistics(here):
    """A sweep in one process, logged in W&B; its probes need L-BFGS alone."""
    needless = ("sklearn", "scipy.stats", "pandas", "sympy", "torch._dynamo.eval_frame", "torchvision")
    code = (
        "import sys\nfrom vaebench.__main__ import app\n"
        f"app(['sweep', {str(ROOT / 'conf/smoke.yaml')!r}, 'seed=0', '--engine', 'inline'], standalone_mode=False)\n"
        f"print(*[m for m in ('scipy.optimize', 'wandb', *{needless}) if m in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.splitlines()[-1] == "scipy.optimize wandb"
