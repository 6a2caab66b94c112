"""Components from outside: read and not executed, checked, part of a run's id, the same in every process."""

import hashlib
import importlib
import io
import json
import logging
import os
import pickle
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import pytest
from commands import vaebench as called
from rich.console import Console

from vaebench.__main__ import app
from vaebench.cli.components import starters
from vaebench.config import ConfigError, Refused, Run, imports, load, schema
from vaebench.config.imports import Import
from vaebench.config.registry import METRICS, MODELS, REGISTRIES, Positive
from vaebench.data.datasets.base import data_root, find_path
from vaebench.records import record
from vaebench.records.description import Description
from vaebench.records.files import RESUME
from vaebench.reporting.page import site
from vaebench.reporting.tables import table as tables
from vaebench.sweeps import preflight
from vaebench.sweeps.engines import Engine, Inline
from vaebench.sweeps.run import Execution
from vaebench.sweeps.sweep import Outcome, sweep
from vaebench.sweeps.trained import reevaluate

ROOT = Path(__file__).parents[1]

MINE = '''
"""One component of every kind, in a file of its own."""

import os
from pathlib import Path
from typing import Any

import torch
import vaebench
from torch import nn
from torch.distributions import Distribution, Independent, Laplace, Normal
from vaebench import *
from vaebench import (
    BINARIZATIONS, CORRUPTIONS, DATASETS, ESTIMATORS, LIKELIHOODS, METRICS, MODELS, NETWORKS, PRIORS, SCHEDULES,
    VAE, Binarization, Corruption, Dataset, Description, Estimate, Estimator, Examples, Likelihood, Network, Positive,
    PositiveInt, Prior, ScalarMean, Schedule, Splits,
)
from vaebench.models.parts.networks import MLP

from parts_of_mine import half

with Path(os.environ.get("TRACE", os.devnull)).open("a") as trace:
    trace.write("executed\\n")


@vaebench.MODELS.register
class MyVAE(vaebench.VAE):
    """Halves the rate.

    Args:
        gamma: its weight.
    """

    def __init__(self, shape: tuple[int, ...], seed: int = 0, *, gamma: Positive = 1.0, **kwargs: Any) -> None:
        super().__init__(shape, seed, **kwargs)
        self.gamma = gamma

    def rate_weight(self):
        return half(self.gamma * self.beta)


@NETWORKS.register
class MyNetwork(MLP):
    """An MLP."""


@LIKELIHOODS.register
class MyLaplace(Likelihood):
    """Laplace noise.

    Args:
        scale: of the noise.
    """

    def __init__(self, shape: tuple[int, ...], *, scale: Positive = 1.0) -> None:
        super().__init__(shape)
        self.scale = scale

    def pixels(self, parameters):
        return Laplace(parameters, self.scale, validate_args=False)


@PRIORS.register
class MyPrior(Prior):
    """A wide one."""

    def forward(self, encode):
        one = next(iter(encode.__self__.parameters())).new_ones(self.latent_dim)
        return Independent(Normal(0 * one, 2 * one, validate_args=False), 1, validate_args=False)


@CORRUPTIONS.register
class MyCorruption(Corruption):
    """No corruption."""

    def draw(self, shape, generator):
        return torch.zeros(shape, device=generator.device)

    def __call__(self, x, noise):
        return x + noise


@SCHEDULES.register
class MySchedule(Schedule):
    """Always half."""

    def __call__(self, progress):
        return half(progress.new_ones(()))


@DATASETS.register
class MyData(Dataset):
    """Noise.

    Args:
        size: how many.
    """

    def __init__(self, *, size: PositiveInt = 200) -> None:
        super().__init__()
        self.size = size

    def load(self, root: Path) -> Splits:
        generator = torch.Generator().manual_seed(0)
        return Splits.of(Examples(torch.randn(self.size, 5, generator=generator)), scale=1.0)


@BINARIZATIONS.register
class MyBinarization(Binarization):
    """Everything is 1."""

    def __call__(self, p, u):
        return p >= 0


@METRICS.register
class MyMetric(ScalarMean):
    """Mean variance."""

    column = "my_metric"
    description = Description("my own heading")

    def per_observation(self, draws):
        return draws.posterior.variance.double().mean(-1)


@ESTIMATORS.register
class MyEstimator(Estimator):
    """A constant."""

    observations = 3

    @property
    def columns(self):
        return {"my_estimate": Description("my estimate")}

    def why_not_applicable(self, model):
        return None

    def estimate(self, model, batch, seed):
        return (Estimate("my_estimate", 7.0, None, len(batch.x)),)
'''

PARTS = "def half(x):\n    return x / 2\n"

STUDY = """
question: Does it work with what is mine?
imports: [mine.py]
model:
  name: MyVAE
  latent_dim: 2
  network: MyNetwork
  likelihood: {name: MyLaplace, scale: 0.5}
  prior: MyPrior
data: {name: MyData, size: 100}
train: {epochs: 1, batch_size: 64}
evaluate: {draws: 10, metrics: [ELBO, MyMetric], estimators: [MyEstimator]}
grid:
  model.gamma: [1, 2]
"""


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Later tests of the process see the components of the package alone."""
    known = {registry: dict(registry._classes) for registry in REGISTRIES}
    yield
    imports.give([])
    for registry, classes in known.items():
        added = registry._classes.keys() - classes.keys()
        for name in [n for n in added if not registry._classes[n].__module__.startswith("vaebench.")]:
            del registry._classes[name]


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a file of components, a file that it imports, and a study. Executing the file leaves a trace."""
    monkeypatch.setenv("TRACE", str(tmp_path / "trace"))
    monkeypatch.chdir(tmp_path)
    own = f"{MINE}\n# of {tmp_path}\n"  # a version is executed once in a process
    for name, text in {"mine.py": own, "parts_of_mine.py": PARTS, "study.yaml": STUDY}.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def swept(folder: Path, engine: Engine | None = None) -> Outcome:
    how = Execution(wandb="disabled")
    console = Console(file=io.StringIO())
    return sweep(load(folder / "study.yaml"), folder / "runs/study", how, console, engine or Inline())


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def vaebench(*arguments: str, code: int = 0, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "vaebench", *arguments],
        env={**os.environ, "COLUMNS": "200", "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_every_registry_takes_a_component_of_a_file_and_reading_does_not_execute_it(mine: Path) -> None:
    study = load(mine / "study.yaml")
    names = {name for registry in REGISTRIES for name in registry if registry.origin(name)}
    assert len(names) == MINE.count(".register")
    text = json.dumps(schema.schema())
    assert all(f'"{name}"' in text for name in names)
    assert len(study.runs) == 2
    assert not (mine / "trace").exists()


def test_no_registry_is_closed(mine: Path) -> None:
    kinds = {registry: f"Mine{registry.variable.title()}" for registry in REGISTRIES}
    parts = [f'@{r.variable}.register\nclass {name}:\n    """Mine."""\n' for r, name in kinds.items()]
    imported = ", ".join(registry.variable for registry in REGISTRIES)
    (mine / "all.py").write_text(f"from vaebench.config.registry import {imported}\n\n" + "\n".join(parts))
    imports.give(["all.py"])
    for registry, name in kinds.items():
        assert name in registry
        assert registry.source(name).summary == "Mine."
        assert registry[name].__name__ == name
    imports.give([])
    assert not any(name in registry for registry, name in kinds.items())


def test_a_sweep_measures_them_and_records_the_checksums(mine: Path) -> None:
    outcome = swept(mine)
    assert [r.status for r in outcome.records] == ["done"] * 2, outcome.records[0].reason
    for made in outcome.records:
        assert made.config["imports"] == {
            "mine": sha256(mine / "mine.py"),
            "parts_of_mine": sha256(mine / "parts_of_mine.py"),
        }
        assert made.estimate("my_estimate").value == 7
        assert made.descriptions["my_metric"] == Description("my own heading", meaning="Mean variance.")
        assert made.descriptions["my_estimate"].meaning == "A constant."
        assert made.descriptions["elbo"].meaning == "", "of this package"
    assert (mine / "trace").read_text() == "executed\n"
    again = vaebench("sweep", "study.yaml", "--wandb", "disabled")
    assert "2 of 2 runs are done" in again


def test_a_run_that_uses_none_of_them_has_the_id_that_it_always_had(mine: Path) -> None:
    plain = "question: And without?\nmodel: VAE\ndata: {name: Digits, binarize: Fixed}\nevaluate: {metrics: [ELBO]}\n"
    (mine / "plain.yaml").write_text(plain + "imports: [mine.py]\n")
    (mine / "bare.yaml").write_text(plain)
    used, bare = (load(mine / f"{name}.yaml").only() for name in ("plain", "bare"))
    assert used.id == bare.id
    assert "imports" not in used.config


def test_another_version_makes_other_runs_and_the_table_says_which(mine: Path) -> None:
    swept(mine)
    old = {run.id for run in load(mine / "study.yaml").runs}
    (mine / "parts_of_mine.py").write_text(PARTS.replace("x / 2", "x * 0.5"))
    swept(mine)
    new = {run.id for run in load(mine / "study.yaml").runs}
    assert not old & new
    imports.use([])
    records = record.read_all(mine / "runs/study")
    assert {r.id for r in records} == old | new
    found = tables.table(records)
    assert found.headings == ("gamma", "parts_of_mine")
    assert len({labels for row in found.rows for labels in [tuple(row.labels)]}) == 4


def test_records_tables_and_pages_are_read_without_the_file(mine: Path) -> None:
    made = swept(mine).records[0]
    (mine / "mine.py").unlink()
    (mine / "trace").unlink()
    vaebench("table", "runs/study")
    assert "Mean variance." in site.make(record.read_all(mine / "runs/study")).html
    assert "my own heading" in (mine / "runs/study/table.md").read_text()
    assert "my own heading" in vaebench("show", made.id)
    assert not (mine / "trace").exists()


def test_a_trained_run_asks_for_its_import(mine: Path) -> None:
    made = swept(mine).records[0]
    folder = mine / "runs/study" / made.id
    imports.use([])
    with pytest.raises(Refused, match=r"uses components of mine .* give it: --import mine\.py"):
        reevaluate(folder)
    text = (mine / "mine.py").read_text()
    (mine / "mine.py").write_text(text + "\n")
    imports.give(["mine.py"])
    with pytest.raises(Refused, match=r"mine is not the file that this run used .*restore that version"):
        reevaluate(folder)
    (mine / "mine.py").write_text(text)
    imports.give(["mine.py"])
    assert any(e.name == "my_metric" for e in reevaluate(folder, draws=4).estimates)


FAULTS = {
    "a key": (STUDY.replace("model.gamma", "model.gama"), MINE, r"study\.yaml:\d+: .*did you mean gamma"),
    "a name": (STUDY.replace("name: MyVAE", "name: MyVEA"), MINE, r"study\.yaml:5: .*did you mean MyVAE"),
    "a value": (STUDY.replace("scale: 0.5", "scale: -1"), MINE, r"study\.yaml:8: .*scale: expected a number > 0"),
    "no file": (STUDY.replace("mine.py", "yours.py"), MINE, r"study\.yaml:3: imports\[0\]: .*yours\.py: no such file"),
    "no module": (STUDY.replace("mine.py", "mine"), MINE, r"study\.yaml:3: .*no module 'mine'.*did you mean mine\.py"),
    "no Python": (STUDY, "x = (", r"study\.yaml:3: .*mine\.py:1: not Python"),
    "no component": (STUDY, "x = 1", r"study\.yaml:3: .*mine\.py: no component"),
    "no list": (STUDY.replace("[mine.py]", "mine.py"), MINE, r"study\.yaml:3: imports: expected a list"),
    "a known name": (STUDY, MINE.replace("MyVAE", "BetaVAE"), r"study\.yaml:3: .*'BetaVAE' is defined twice"),
    "a default": (STUDY, MINE.replace("Positive = 1.0", "Positive = open('x')"), r"mine\.py:\d+: .*cannot be read"),
    "code": (STUDY, MINE.replace("Positive = 1.0", "().__class__ = 1.0"), r"mine\.py:\d+: .*Attribute is not read"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_has_its_file_and_line_and_nothing_is_executed(mine: Path, case: str) -> None:
    study, source, said = FAULTS[case]
    (mine / "study.yaml").write_text(study)
    (mine / "mine.py").write_text(source)
    with pytest.raises(ConfigError, match=said):
        load(mine / "study.yaml")
    assert not (mine / "trace").exists()


def test_a_file_that_fails_is_named_with_its_line(mine: Path) -> None:
    (mine / "mine.py").write_text(MINE.replace('Path(os.environ.get("TRACE"', 'no_such_name(Path("TRACE"'))
    study = load(mine / "study.yaml")
    line = MINE[: MINE.index("with Path(os.environ")].count("\n") + 1
    with pytest.raises(ValueError, match=rf"mine\.py:{line}: cannot be imported \(NameError"):
        MODELS.build(study.runs[0].model, (5,), 0)


def test_the_version_that_was_checked_is_what_another_process_has(mine: Path) -> None:
    """A file that is edited, or is not on that machine, changes nothing for a worker."""
    run = load(mine / "study.yaml").runs[0]
    (mine / "run.pkl").write_bytes(pickle.dumps(run))
    (mine / "mine.py").unlink()
    (mine / "parts_of_mine.py").write_text("half = None")
    code = (
        "import pickle; from vaebench.config import imports; from vaebench.config.registry import MODELS\n"
        "run = pickle.load(open('run.pkl', 'rb')); imports.use(run.imports)\n"
        "print(run.id, float(MODELS.build(run.model, (5,), 0).rate_weight()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [run.id, "0.5"]


def test_two_versions_in_one_process_do_not_mix(mine: Path) -> None:
    first = load(mine / "study.yaml").runs[0]
    (mine / "parts_of_mine.py").write_text(PARTS.replace("2", "4"))
    second = load(mine / "study.yaml").runs[0]
    for run, weight in ((first, 0.5), (second, 0.25), (first, 0.5)):
        imports.use(run.imports)
        assert float(MODELS.build(run.model, (5,), 0).rate_weight()) == weight


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package whose module with components is an entry point."""
    there = tmp_path / "site"
    (there / "my_package").mkdir(parents=True)
    (there / "my_package/__init__.py").write_text('raise RuntimeError("executed")')
    (there / "my_package/parts.py").write_text(
        MINE.replace("from parts_of_mine", "from .halves").replace("My", "Their").replace("my_", "their_")
    )
    (there / "my_package/halves.py").write_text(PARTS)
    (there / "my_package-1.0.dist-info").mkdir()
    (there / "my_package-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (there / "my_package-1.0.dist-info/entry_points.txt").write_text("[vaebench.components]\nx = my_package.parts\n")
    monkeypatch.syspath_prepend(str(there))
    imports._installed.cache_clear()
    yield there
    imports._installed.cache_clear()
    for name in [name for name in sys.modules if name.startswith("my_package")]:
        del sys.modules[name]
    for registry in REGISTRIES:  # a class that stays would be measured, or refused, in every later test
        for name, cls in list(registry._classes.items()):
            if cls.__module__.startswith("my_package"):
                del registry._classes[name]


def test_an_installed_package_registers_itself_and_is_executed_only_where_it_is_named(package: Path) -> None:
    assert "TheirVAE" in MODELS
    assert "TheirMetric" in METRICS
    assert "TheirMetric" not in METRICS.measured_by_default(), "what is only installed is not measured by every study"
    assert Run.of({"model": "VAE", "data": {"name": "Digits", "binarize": "Fixed"}}).imports == ()
    assert "my_package" not in sys.modules
    run = Run.of({"model": "TheirVAE", "data": {"name": "Digits", "binarize": "Fixed"}})
    assert run.config["imports"].keys() == {"my_package/parts", "my_package/halves"}
    (package / "my_package/__init__.py").write_text("")
    assert float(MODELS.build(run.model, (5,), 0).rate_weight()) == 0.5
    assert "[my_package.parts]" in vaebench("list", PYTHONPATH=f"{package}{os.pathsep}{ROOT}")


def test_one_file_may_be_asked_for_twice_and_two_files_need_two_names(mine: Path) -> None:
    imports.give([str(mine / "mine.py")])
    ids = [run.id for run in load("study.yaml").runs]
    imports.give(["./mine.py"])
    assert [run.id for run in load(mine / "study.yaml").runs] == ids
    (mine / "other").mkdir()
    (mine / "other/mine.py").write_text(MINE.replace("My", "Their").replace("my_", "their_"))
    (mine / "other/parts_of_mine.py").write_text(PARTS + "# another")
    (mine / "study.yaml").write_text(STUDY.replace("[mine.py]", "[mine.py, other/mine.py]"))
    with pytest.raises(ConfigError, match=r"study\.yaml:3: imports\[1\]: two files are called mine"):
        load(mine / "study.yaml")


def test_every_verb_takes_import() -> None:
    from vaebench.__main__ import ABOUT, RESULTS, RUNS, USE

    assert len(app.registered_commands) == len((*RUNS, *USE, *RESULTS, *ABOUT))
    for command in app.registered_commands:
        assert "import_" in command.callback.__annotations__


def test_a_class_may_have_the_name_of_its_parent(tmp_path: Path) -> None:
    """A parent of the same name in another file is not the class itself."""
    (tmp_path / "mine.py").write_text(
        '"""Mine."""\n\nimport vaebench\n\n\nclass VAE(vaebench.VAE):\n    """Not registered."""\n\n\n'
        '@vaebench.MODELS.register\nclass NamedLikeItsParent(VAE):\n    """A VAE."""\n'
    )
    said = vaebench("list", "NamedLikeItsParent", "--import", str(tmp_path / "mine.py"))
    assert "latent_dim: a whole number > 0" in said


def test_list_shows_what_a_file_would_add(mine: Path) -> None:
    listed = vaebench("list", "--import", "mine.py")
    assert re.search(r"MyVAE +Halves the rate\. \[mine\.py\]", listed)
    assert not (mine / "trace").exists()
    assert "no such file" in vaebench("list", "--import", "yours.py", code=1)


def test_new_says_how_a_study_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative to the study: the line that it prints for a study in conf/ works there."""
    monkeypatch.chdir(tmp_path)
    said = vaebench("new", "prior", "WideNormal")
    assert "test it: python -m pytest test_wide_normal.py" in said
    (asked,) = re.findall(r"in a study in conf/: (imports: .*?\]);", said)
    Path("conf").mkdir()
    Path("conf/study.yaml").write_text(
        f"question: Is it found?\n{asked}\nmodel: {{name: VAE, prior: WideNormal, likelihood: Gaussian}}\n"
        "data: Digits\ntrain: {epochs: 1}\n"
    )
    assert load("conf/study.yaml").runs[0].config["model"]["prior"] == {"name": "WideNormal", "width": 2.0}


@pytest.mark.slow
def test_new_writes_files_that_pass_their_own_tests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vaebench.cli.components import Kind, starters

    names = dict(zip(get_args(Kind), ("WeightedVAE", "LargestVariance", "Circles", "WideNormal", "Noise"), strict=True))
    for kind, name in names.items():
        starters(kind, name, tmp_path)
        with pytest.raises(FileExistsError, match="exists already"):
            starters(kind, name, tmp_path)
    with pytest.raises(ValueError, match="a data set already"):
        starters("model", "Digits", tmp_path)
    with pytest.raises(ValueError, match="CamelCase"):
        starters("model", "my-vae", tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert "16 passed" in done.stdout
    (tmp_path / "study.yaml").write_text(
        "question: Do they work together?\n"
        "imports: [weighted_vae.py, largest_variance.py, circles.py, wide_normal.py, noise.py]\n"
        "model: {name: WeightedVAE, latent_dim: 1, prior: WideNormal, likelihood: Noise}\n"
        "data: Circles\ntrain: {epochs: 1}\nevaluate: {draws: 10, metrics: [ELBO, LargestVariance]}\n"
    )
    monkeypatch.chdir(tmp_path)
    (made,) = swept(tmp_path).records
    assert made.estimate("largest_variance").value > 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_workers_of_ray_are_killed_and_go_on_to_the_same_records(mine: Path) -> None:
    """Every kind of component is the user's own; SIGKILL comes at the first snapshot."""
    (mine / "study.yaml").write_text(STUDY.replace("epochs: 1", "epochs: 600"))
    runs = load(mine / "study.yaml").runs
    options = ("--wandb", "disabled", "--engine", "ray", "--workers", "2", "--save-every", "0.1")
    command = [sys.executable, "-m", "vaebench", "sweep", "study.yaml", *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as begun:
        while begun.poll() is None and not any((mine / "runs/study" / r.id / RESUME).is_file() for r in runs):
            time.sleep(0.05)
        begun.kill()
    assert not [*mine.glob("runs/study/*/record.json")], "killed in the middle"
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"run \w+ continues from epoch [1-9]\d* of 600", done.stdout)
    there = record.read_all(mine / "runs/study")
    (mine / "runs").rename(mine / "first")
    here = sorted(swept(mine).records, key=lambda r: r.id)
    assert [(r.id, r.estimates, r.curve) for r in there] == [(r.id, r.estimates, r.curve) for r in here]


def test_an_import_is_plain_data(mine: Path) -> None:
    found = imports.read("mine.py", mine)
    assert pickle.loads(pickle.dumps(found)) == found
    assert isinstance(found, Import)


def test_annotations_may_name_the_module_that_they_come_from(tmp_path: Path) -> None:
    """`import vaebench as vb` and `vb.Positive`, as well as `from vaebench import Positive`."""
    (tmp_path / "mine.py").write_text(
        "import typing as t\n\nimport vaebench as vb\n\n\n@vb.MODELS.register\nclass Mine(vb.VAE):\n"
        '    """Mine."""\n\n    def __init__(self, shape, seed=0, *, gamma: vb.Positive = 1.0, '
        "how: vb.PriorSpec | None = None, rest: t.Any = 1, **kwargs: t.Any) -> None:\n"
        "        super().__init__(shape, seed, **kwargs)\n"
    )
    imports.give([str(tmp_path / "mine.py")])
    assert MODELS.keywords("Mine").keys() == {"gamma", "how", "rest", *MODELS.keywords("VAE")}
    assert MODELS.keywords("Mine")["gamma"].annotation is Positive
    (tmp_path / "mine.py").write_text((tmp_path / "mine.py").read_text().replace("vb.Positive", "open('x')"))
    said = called("list", "Mine", "--import", str(tmp_path / "mine.py"), status=1)
    assert re.match(r"error: \S+mine\.py:10: Mine: .*open.* cannot be read without importing", said)


def test_a_name_may_come_by_a_star(tmp_path: Path) -> None:
    """`from vaebench import *` gives every name, and keywords of a parent that came by it are read; so from a file."""
    (tmp_path / "mine.py").write_text(
        "from vaebench import *\n\n\n@MODELS.register\nclass Mine(VAE):\n"
        '    """Mine."""\n\n    def __init__(self, shape, seed=0, *, gamma: Positive = 1.0, **kwargs):\n'
        "        super().__init__(shape, seed, **kwargs)\n        self.gamma, self.draw = gamma, reparameterise\n"
    )
    (tmp_path / "more.py").write_text(
        'from vaebench import MODELS\n\nfrom mine import *\n\n\n@MODELS.register\nclass More(Mine):\n    """More."""\n'
    )
    imports.give([str(tmp_path / "mine.py"), str(tmp_path / "more.py")])
    assert MODELS.keywords("More").keys() == {"gamma", *MODELS.keywords("VAE")}
    assert MODELS.build({"name": "More", "gamma": 2.0}, (3,), 0).gamma == 2.0


UNMADE = {
    "runs": ('"my_estimate", 7.0', "gone, 7.0", None),
    "estimator": (
        "    def why_not_applicable(self, model):\n        return None\n", "", r"evaluate\.estimators: .*abstract"
    ),
    "a metric of the time before": (
        'column = "my_metric"', "def applies_to(self, model):\n        pass",
        r"evaluate\.metrics: .*MyMetric: rename its method applies_to to why_not_applicable",
    ),
    "an estimator of the time before": (
        "    def why_not_applicable(self, model):\n        return None\n",
        "    def applies_to(self, model):\n        return None\n",
        r"evaluate\.estimators: .*MyEstimator: rename its method applies_to to why_not_applicable",
    ),
    "data set": ("self.size = size", "self.size = sizes", r"yaml:\d+: data: NameError: .*'sizes'.*\(\S+mine\.py:\d+\)"),
    "metric": (
        'column = "my_metric"', "def __init__(self):\n        gone", r"evaluate\.metrics: MyMetric.*NameError.*mine\.py"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", UNMADE)
def test_what_cannot_be_made_is_refused_before_training(mine: Path, case: str) -> None:
    old, new, said = UNMADE[case]
    assert old in MINE
    (mine / "mine.py").write_text(MINE.replace(old, new) + f"\n# of {mine}\n")
    study = load(mine / "study.yaml")
    if said is None:
        preflight.refuse(study, study.runs, Inline())
        return
    with pytest.raises(ConfigError, match=said):
        preflight.refuse(study, study.runs, Inline())


def test_a_failure_in_a_file_of_the_user_says_its_line(mine: Path) -> None:
    changed = MINE.replace("return half(self.gamma * self.beta)", "return gone")
    (mine / "mine.py").write_text(f"{changed}\n# of {mine}\n")
    line = changed[: changed.index("return gone")].count("\n") + 1
    for made in swept(mine).records:
        assert made.status == "failed"
        assert re.search(rf"NameError: .*'gone'.* \(\S*mine\.py:{line}\)$", made.reason), made.reason


def test_a_file_beside_a_checkout_belongs_to_no_version_of_this_package(tmp_path: Path) -> None:
    """The folder of the file has a package of this name; the file still gets the package that is running."""
    (tmp_path / "vaebench/models").mkdir(parents=True)
    for name in ("vaebench/__init__.py", "vaebench/models/__init__.py", "vaebench/models/vae.py"):
        (tmp_path / name).write_text("raise RuntimeError('executed')")
    (tmp_path / "beside_it.py").write_text(
        "from vaebench import MODELS\nfrom vaebench.models.vae import VAE\n\n\n@MODELS.register\n"
        'class Beside(VAE):\n    """Mine."""\n'
    )
    found = imports.read("beside_it.py", tmp_path)
    assert found.checksums.keys() == {"beside_it"}
    before = sys.modules["vaebench.models.vae"]
    imports.give([str(tmp_path / "beside_it.py")])
    assert MODELS["Beside"].__mro__[1] is before.VAE
    assert sys.modules["vaebench.models.vae"] is before


OWN = """
from vaebench import MODELS, VAE
IMPORTED

@MODELS.register
class NAME(VAE):
    \"\"\"Mine.\"\"\"

    def rate_weight(self):
        WEIGHT
"""
PLAIN = (
    "question: Whose?\nimports: [FILES]\nmodel: {name: NAME, latent_dim: 2}\ndata: {name: Digits, binarize: Fixed}\n"
)


def own(place: Path, name: str, imported: str = "", weight: str = "return 1.0") -> Path:
    """A file with one model, in a version of its own."""
    text = OWN.replace("IMPORTED", imported).replace("NAME", name).replace("WEIGHT", weight)
    place.write_text(f"{text}# of {place}\n")
    return place


def plain(folder: Path, name: str, *files: str) -> Run:
    """The run of a study that imports these files."""
    (folder / "plain.yaml").write_text(PLAIN.replace("FILES", ", ".join(files)).replace("NAME", name))
    return load(folder / "plain.yaml").runs[0]


HELPER_METRIC = """
from vaebench import METRICS, Description, Panel, ScalarMean
@METRICS.register
class HelperMetric(ScalarMean):
    \"\"\"Helps.\"\"\"
    column = "helped"
    description = Description("helped", Panel.OBJECTIVE, place=97)
    def per_observation(self, draws):
        return draws.posterior.variance.double().mean(-1)
"""


def test_what_a_run_measures_does_not_depend_on_what_else_its_process_executed(tmp_path: Path) -> None:
    """A component in a file beside an imported file is no component until that file is imported itself."""
    (tmp_path / "metric_beside.py").write_text(HELPER_METRIC)
    own(tmp_path / "uses.py", "UsingVAE", "import metric_beside")
    run, before = plain(tmp_path, "UsingVAE", "uses.py"), METRICS.measured_by_default()
    MODELS.build(run.model, (5,), 0)
    assert "metric_beside" in sys.modules
    assert METRICS.measured_by_default() == before
    assert "HelperMetric" not in METRICS
    both = plain(tmp_path, "UsingVAE", "uses.py", "metric_beside.py")
    assert "HelperMetric" in METRICS.measured_by_default()
    assert METRICS["HelperMetric"].column == "helped"
    assert set(run.config["imports"]) == set(both.config["imports"]) == {"uses", "metric_beside"}


@pytest.mark.parametrize("imported", ["import pk", "from pk import SCALE", "import pk.inner", "from pk.inner import X"])
def test_a_package_beside_a_file_belongs_to_its_version(tmp_path: Path, imported: str) -> None:
    (tmp_path / "pk").mkdir()
    (tmp_path / "pk/__init__.py").write_text(f"# {tmp_path}\nfrom .halves import HALF\nSCALE = HALF / 2\n")
    (tmp_path / "pk/halves.py").write_text("HALF = 0.5\n")
    (tmp_path / "pk/inner.py").write_text("from pk import SCALE\nX = SCALE\n")
    value = {"import pk": "pk.SCALE", "import pk.inner": "pk.inner.X"}.get(imported, imported.split()[-1])
    own(tmp_path / "uses.py", "PackageVAE", imported, f"return {value}")
    run = plain(tmp_path, "PackageVAE", "uses.py")
    assert {"uses", "pk", "pk/halves"} <= run.config["imports"].keys()
    assert MODELS.build(run.model, (5,), 0).rate_weight() == 0.25
    (tmp_path / "pk/halves.py").write_text("HALF = 1.0\n")
    other = plain(tmp_path, "PackageVAE", "uses.py")
    assert other.id != run.id
    assert MODELS.build(other.model, (5,), 0).rate_weight() == 0.5


@pytest.mark.parametrize(
    "change", [lambda t: t.replace(b"\n", b"\r\n"), lambda t: b"\xef\xbb\xbf" + t], ids=["CRLF", "BOM"]
)
@pytest.mark.parametrize("word", ["odd_ends.py", "odd_ends"])
def test_line_ends_and_a_byte_order_mark_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[bytes], bytes], word: str
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "odd_ends", raising=False)
    place = own(tmp_path / "odd_ends.py", "OddVAE")
    run = plain(tmp_path, "OddVAE", word)
    place.write_bytes(change(place.read_bytes()))
    importlib.invalidate_caches()
    again = plain(tmp_path, "OddVAE", word)
    assert again.id == run.id
    assert MODELS.build(again.model, (5,), 0).rate_weight() == 1.0
    monkeypatch.delitem(sys.modules, "odd_ends", raising=False)
    MODELS._classes.pop("OddVAE", None)


def test_two_imports_that_share_a_file_do_not_stand_for_one_another(tmp_path: Path) -> None:
    """The run of a record is the run, whichever of the two it used."""
    (tmp_path / "shared.py").write_text("X = 1\n")
    for name in ("First", "Second"):
        own(tmp_path / f"{name.lower()}.py", f"{name}VAE", "import shared")
    for name in ("First", "Second"):
        run = plain(tmp_path, f"{name}VAE", "first.py", "second.py")
        assert run.config["imports"].keys() == {name.lower(), "shared"}
        again = Run.of(run.config)
        assert (again.id, again.imports) == (run.id, run.imports)


def test_a_function_may_import_what_is_beside_its_file_after_another_file_was_executed(tmp_path: Path) -> None:
    (tmp_path / "late_beside.py").write_text("X = 0.125\n")
    weight = "import late_beside\n        return late_beside.X"
    own(tmp_path / "late.py", "LateVAE", "", weight)
    own(tmp_path / "early.py", "EarlyVAE")
    late = MODELS.build(plain(tmp_path, "LateVAE", "late.py").model, (5,), 0)
    MODELS.build(plain(tmp_path, "EarlyVAE", "early.py").model, (5,), 0)
    assert late.rate_weight() == 0.125


@pytest.mark.parametrize("word", ["~nobody-here/x.py"])
def test_the_home_of_an_unknown_user_is_one_clear_error(
    tmp_path: Path, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"x\.py: no such file"):
        plain(tmp_path, "VAE", word)
    with pytest.raises(FileNotFoundError, match="found neither"):
        find_path(word, tmp_path, "Arrays")
    monkeypatch.setenv("VAEBENCH_DATA", "~nobody-here")
    assert data_root() == Path("~nobody-here")


ANNOTATED = """
from vaebench import DATASETS, Dataset
UNIT = "unit"

@DATASETS.register
class Annotated(Dataset):
    \"\"\"Mine.\"\"\"
    support = SUPPORT

    def __init__(self, *, a: KIND = 1, **kwargs):
        super().__init__(**kwargs)
"""


def annotated(folder: Path, kind: str, support: str = '"unit"', a: str = "1") -> Run:
    (folder / "annotated.py").write_text(ANNOTATED.replace("KIND", kind).replace("SUPPORT", support))
    data = f"data: {{name: Annotated, binarize: Fixed, a: {a}}}"
    study = PLAIN.replace("FILES", "annotated.py").replace("NAME", "VAE")
    (folder / "annotated.yaml").write_text(re.sub("data: .*", data, study))
    return load(folder / "annotated.yaml").runs[0]


def test_annotations_in_quotes_are_annotations_and_what_cannot_be_one_is_named(tmp_path: Path) -> None:
    assert annotated(tmp_path, '"PositiveInt"').data["a"] == 1
    with pytest.raises(ConfigError, match="a: expected"):
        annotated(tmp_path, '"PositiveInt"', a="-1")
    with pytest.raises(ConfigError, match=r"annotated\.py:10: Annotated: 'Posi tive' is no annotation"):
        annotated(tmp_path, '"Posi tive"')
    with pytest.raises(ConfigError, match=r"annotated\.py:10: Annotated: 'list\[int\]'.* write tuple"):
        annotated(tmp_path, "list[int]")
    assert annotated(tmp_path, "tuple[int, ...]", a="[1, 2]").data["a"] == (1, 2)
    with pytest.raises(
        ConfigError, match=r"imports\[0\]: .*annotated\.py:8: Annotated: 'UNIT' cannot be read .* write the value"
    ):
        annotated(tmp_path, "int", support="UNIT")


def test_an_installed_package_that_cannot_be_read_is_named_and_stops_nothing(
    package: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (package / "broken-1.0.dist-info").mkdir()
    (package / "broken-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (package / "broken-1.0.dist-info/entry_points.txt").write_text("[vaebench.components]\nx = not_there_module\n")
    with caplog.at_level(logging.WARNING):
        assert "TheirVAE" in MODELS
    assert "installed package broken names components that cannot be read: no module 'not_there_module'" in caplog.text


@pytest.mark.parametrize("name", ["Types", "Torch", "Random", "Vaebench", "Lightning"])
def test_new_does_not_hide_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"would hide the module .* choose another name"):
        starters("model", name, Path())
    assert not list(tmp_path.iterdir())
