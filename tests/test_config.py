"""Studies read, spanned and checked: what a good file means, and the one line that each bad one earns."""

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaebench import config
from vaebench.config import ConfigError, Refused, Run, Study, load
from vaebench.config.grid import merge
from vaebench.config.key_types import component_fields
from vaebench.config.registry import DATASETS, LIKELIHOODS, METRICS, MODELS, DrawsDivisor
from vaebench.records.files import PAPER

Write = Callable[[str], Path]

CONF = sorted((Path(__file__).parents[1] / "conf").rglob("*.yaml"))

HEAD = """\
question: Does it matter?
model: {name: BetaVAE, latent_dim: 8}
data: {name: Digits, binarize: Dynamic}
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a study as `study.yaml` into the working directory."""
    monkeypatch.chdir(tmp_path)

    def written(text: str) -> Path:
        Path("study.yaml").write_text(text, encoding="utf-8")
        return Path("study.yaml")

    return written


def refusal(path: Path | str, *assignments: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path, assignments)
    return str(caught.value)


def models(study: Study) -> list[dict[str, object]]:
    return [run.config["model"] for run in study.runs]


BAD = {
    "unknown section": (HEAD + "trian: {epochs: 2}", 4, "trian", "did you mean train?"),
    "unknown key": (HEAD + "train: {epoch: 2}", 4, "train.epoch", "did you mean epochs?"),
    "unknown key of a model": (HEAD.replace("latent_dim", "latent_dmi"), 2, "model.latent_dmi", "mean latent_dim?"),
    "unknown key, none near": (HEAD.replace("latent_dim", "zz"), 2, "model.zz", "BetaVAE takes beta, "),
    "key of another model": (HEAD.replace("BetaVAE", "VAE, beta: 2"), 2, "model.beta", "BetaVAE, LinearVAE would take"),
    "unknown model": (HEAD.replace("BetaVAE", "BetaVEA"), 2, "model.name", "did you mean BetaVAE?"),
    "unknown model, bare": (
        HEAD.replace("{name: BetaVAE, latent_dim: 8}", "betavae"),
        2,
        "model",
        "did you mean BetaVAE?",
    ),
    "unknown network": (HEAD.replace("8}", "8, network: ConvNet}"), 2, "model.network", "did you mean Conv?"),
    "no name": (HEAD.replace("name: BetaVAE, ", ""), 2, "model", "no `name`; expected the name of a model"),
    "name that is no text": (HEAD.replace("BetaVAE", "3"), 2, "model.name", "the name of a model"),
    "number for a model": (HEAD.replace("{name: BetaVAE, latent_dim: 8}", "8"), 2, "model", "the name of a model"),
    "missing section": ("question: Why?\nmodel: VAE", 1, "data", "missing; expected the name of a data set"),
    "missing keyword": (HEAD.replace("Digits", "Arrays"), 3, "data.path", "missing; expected text"),
    "out of range": (HEAD.replace("8}", "0}"), 2, "model.latent_dim", "expected a whole number > 0, got 0"),
    "negative": (HEAD.replace("8}", "8, beta: -1}"), 2, "model.beta", "expected a number ≥ 0, got -1"),
    "infinite": (HEAD.replace("8}", "8, beta: .inf}"), 2, "model.beta", "expected a number ≥ 0, got Infinity"),
    "wrong type": (HEAD.replace("8}", "8.5}"), 2, "model.latent_dim", "expected a whole number > 0, got 8.5"),
    "bool for a number": (HEAD.replace("8}", "true}"), 2, "model.latent_dim", "expected a whole number > 0, got true"),
    "quoted number": (HEAD.replace("8}", "'8'}"), 2, "model.latent_dim", 'got "8"; take the quotes away'),
    "several values outside the grid": (HEAD + "seed: [0, 1]", 4, "seed", "write it under `grid:`"),
    "range outside the grid": (HEAD + "seed: 0..4", 4, "seed", "write it under `grid:`"),
    "seed too large": (HEAD + "seed: 4294967296", 4, "seed", "< 4294967296"),
    "number for a list": (
        HEAD.replace("8}", "8, network: {name: MLP, hidden: 64}}"),
        2,
        "model.network.hidden",
        "a list",
    ),
    "wrong item": (
        HEAD.replace("8}", "8, network: {name: MLP, hidden: [64, x]}}"),
        2,
        "model.network.hidden",
        '[64, "x"]',
    ),
    "no choice": (HEAD + "evaluate: {split: tset}", 4, "evaluate.split", "expected train or validation or test"),
    "section that is no mapping": (HEAD + "train: 20", 4, "train", "expected a mapping with any of epochs, "),
    "empty section": (HEAD + "train:", 4, "train", "got nothing"),
    "unknown metric": (
        HEAD + "evaluate:\n  metrics:\n  - ELBO\n  - IWEA",
        7,
        "evaluate.metrics[1]",
        "did you mean IWAE?",
    ),
    "one metric without a list": (HEAD + "evaluate: {metrics: ELBO}", 4, "evaluate.metrics", 'write ["ELBO"]'),
    "no metric": (
        HEAD + "evaluate: {metrics: []}",
        4,
        "evaluate.metrics",
        "expected a list of at least one, each item the name of a metric",
    ),
    "a metric twice": (HEAD + "evaluate: {metrics: [ELBO, Rate, ELBO]}", 4, "evaluate.metrics", "ELBO named twice"),
    "a metric twice, otherwise": (
        HEAD + "evaluate: {metrics: [{name: IWAE, k: [1]}, {name: IWAE, k: [5]}]}",
        4,
        "evaluate.metrics",
        "IWAE named twice; name it once, with all that it takes",
    ),
    "an estimator twice": (
        HEAD + "evaluate: {estimators: [NaiveMonteCarlo, {name: NaiveMonteCarlo, observations: 3}]}",
        4,
        "evaluate.estimators",
        "NaiveMonteCarlo named twice",
    ),
    "no k": (
        HEAD + "evaluate:\n  metrics:\n  - {name: IWAE, k: []}",
        6,
        "evaluate.metrics[0].k",
        "expected a list of at least one, each item a whole number > 0",
    ),
    "a k twice": (
        HEAD + "evaluate:\n  metrics:\n  - {name: IWAE, k: [1, 5, 5]}",
        6,
        "evaluate.metrics[0].k",
        "5 named twice",
    ),
    "no question": (HEAD.replace("question: Does it matter?", "seed: 1"), 1, "question", "in one sentence"),
    "empty question": (HEAD.replace("Does it matter?", ""), 1, "question", "in one sentence; got nothing"),
    "grid without axes": (HEAD + "grid:", 4, "grid", "expected axes"),
    "empty axis": (HEAD + "grid:\n  model.beta: []", 5, "grid.model.beta", "expected at least one value"),
    "axis that is no list": (HEAD + "grid:\n  model.beta: 4", 5, "grid.model.beta", "write [4]"),
    "axis that is a mapping": (HEAD + "grid:\n  model: {beta: [1, 4]}", 5, "grid.model", "write model.beta: […]"),
    "backward range": (HEAD + "grid:\n  seed: 4..0", 5, "grid.seed", "write 0..4"),
    "axis by its short name": (HEAD + "grid:\n  beta: [1, 4]", 5, "grid.beta", "did you mean model.beta?"),
    "misspelt axis": (HEAD + "grid:\n  modle.beta: [1, 4]", 5, "grid.modle.beta", "did you mean model.beta?"),
    "misspelt end of an axis": (HEAD + "grid:\n  model.betta: [1, 2]", 5, "grid.model.betta", "did you mean beta?"),
    "one bad value of an axis": (HEAD + "grid:\n  model.beta:\n  - 1\n  - -4", 7, "grid.model.beta[1]", "≥ 0, got -4"),
    "bad value deep in an axis": (
        HEAD + "grid:\n  model:\n  - AE\n  - name: VAE\n    learning_rate: 0",
        8,
        "grid.model[1].learning_rate",
        "expected a number > 0, got 0",
    ),
    "base that one point cannot take": (
        HEAD.replace("8}", "8, beta: 2}") + "grid:\n  model: [AE, BetaVAE]\n  seed: 0..2",
        2,
        "model.beta",
        "(at grid point model=AE)",
    ),
    "same run twice": (
        HEAD + "grid:\n  model.beta: [1, 1.0]",
        4,
        "grid",
        "beta=1.0 is the same run as beta=1; take one",
    ),
    "far too many runs": (HEAD + "grid:\n  seed: 0..4000000000", 5, "grid", "expected at most 100000 runs"),
    "key twice": (HEAD + "seed: 0\nseed: 1", 5, "seed", "given twice, first on line 4"),
    "key twice on one line": (HEAD + "train: {epochs: 1, epochs: 2}", 4, "train.epochs", "given twice"),
    "key that is no name": (HEAD + "train: {3: 4}", 4, "train", "expected a name as a key, got '3'"),
    "tab": (HEAD + "train:\n\tepochs: 2", 5, None, "indent with two spaces"),
    "two colons": ("question: Why: because?\n", 1, None, "put text that holds `: ` in quotes"),
    "open bracket": (HEAD + "train: {epochs: 2\nseed: 1", 5, None, "check brackets"),
    "unknown tag": (HEAD + "seed: !python 3", 4, None, "unknown tag '!python'"),
    "two documents": (HEAD + "---\nseed: 1", 4, None, "expected a single document"),
    "list at the top": ("- model: VAE", 1, None, "start with `question:`"),
    "text at the top": ("hello", 1, None, "start with `question:`"),
    "empty file": ("# nothing yet\n", 1, None, "the file is empty"),
    "reference to nothing": (
        HEAD + "train: {epochs: '${model.epochs}'}",
        4,
        "train.epochs",
        "'model.epochs' not found",
    ),
    "unknown resolver": (HEAD + "seed: ${random:3}", 4, "seed", "Unsupported interpolation type random"),
    "reference left open": (HEAD + "seed: ${model", 4, "seed", "write `${model.latent_dim}`"),
    "reference to itself": (HEAD + "seed: ${seed}", 4, "seed", "Recursive interpolation"),
    "alias to itself": (HEAD + "train: &a {epochs: *a}", 4, "train.epochs", "write the value out"),
}


@pytest.mark.parametrize(("text", "line", "key", "remedy"), BAD.values(), ids=BAD)
def test_a_bad_study_earns_one_line_with_place_key_and_remedy(
    write: Write, text: str, line: int, key: str | None, remedy: str
) -> None:
    message = refusal(write(text))
    assert "\n" not in message
    assert message.startswith(f"study.yaml:{line}: " + (f"{key}: " if key else ""))
    assert remedy in message


def test_every_fault_is_told_at_once_in_the_order_of_the_file(write: Write) -> None:
    text = HEAD.replace("8}", "0, betta: 1}") + "train: {epochs: x}\ngrid:\n  seed: [0, -1]\n"
    lines = refusal(write(text)).splitlines()
    assert [line.split(" ")[0:2] for line in lines] == [
        ["study.yaml:2:", "model.latent_dim:"],
        ["study.yaml:2:", "model.betta:"],
        ["study.yaml:4:", "train.epochs:"],
        ["study.yaml:6:", "grid.seed[1]:"],
    ]


def test_a_flood_of_faults_is_cut(write: Write) -> None:
    lines = refusal(write(HEAD + f"grid:\n  seed: {[-1 - i for i in range(200)]}")).splitlines()
    assert len(lines) == 31
    assert lines[-1] == "… and 170 more"


@pytest.mark.parametrize(
    ("path", "remedy"),
    [
        ("conf/bta.yaml", "no such file (did you mean conf/beta.yaml?)"),
        ("zzz", "no such file; there is conf/beta.yaml"),
    ],
)
def test_a_missing_file_names_its_neighbours(write: Write, path: str, remedy: str) -> None:
    Path("conf").mkdir()
    Path("conf/beta.yaml").write_text(HEAD)
    assert refusal(path) == f"{path}: {remedy}"


def test_a_folder_or_bytes_are_no_study(write: Write) -> None:
    study = write(HEAD)
    assert refusal(".") == ".: a directory; name one study in it: study.yaml"
    study.write_bytes(b"question: caf\xe9")
    assert refusal(study) == "study.yaml: not text in UTF-8 (byte 13); save it as UTF-8"


# -- what a good file means -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", CONF, ids=lambda path: path.stem)
def test_every_shipped_study_is_valid_and_asks_a_question(path: Path) -> None:
    study = load(path)
    assert study.runs
    assert study.name == path.stem
    assert study.question.rstrip().endswith("?")
    assert path.read_text().startswith(
        f"# yaml-language-server: $schema={'../' * (path.parent.name == PAPER)}schema.json\n"
    )
    assert len({run.id for run in study.runs}) == len({run.slug for run in study.runs}) == len(study.runs)


def test_the_grid_spans_every_combination_the_last_axis_fastest(write: Write) -> None:
    study = load(write(HEAD + "grid:\n  model.beta: [0.1, 1e-3]\n  seed: 3..5"))
    assert study.axes == ("model.beta", "seed")
    assert [(run.config["model"]["beta"], run.seed) for run in study.runs] == [
        (0.1, 3), (0.1, 4), (0.1, 5), (0.001, 3), (0.001, 4), (0.001, 5),
    ]  # fmt: skip
    assert [run.slug for run in study.runs][:2] == ["beta=0.1,seed=3", "beta=0.1,seed=4"]


def test_a_model_axis_is_laid_over_a_base_without_a_name(write: Write) -> None:
    text = HEAD.replace("name: BetaVAE, ", "") + "grid:\n  model: [AE, {name: BetaVAE, beta: 2}]"
    study = load(write(text))
    assert [(m["name"], m["latent_dim"], m.get("beta")) for m in models(study)] == [
        ("AE", 8, None),
        ("BetaVAE", 8, 2.0),
    ]
    assert [run.slug for run in study.runs] == ["model=AE", "model=BetaVAE(beta=2)"]


def test_an_axis_reaches_into_a_component_given_by_its_name(write: Write) -> None:
    text = HEAD.replace("8}", "8, network: MLP}") + "grid:\n  model.network.hidden: [[32], [64, 64]]"
    study = load(write(text))
    assert [m["network"] for m in models(study)] == [
        {"name": "MLP", "hidden": [32], "activation": "ReLU"},
        {"name": "MLP", "hidden": [64, 64], "activation": "ReLU"},
    ]
    assert [run.slug for run in study.runs] == ["hidden=32", "hidden=64-64"]


def test_a_component_without_a_name_is_the_default_one(write: Write) -> None:
    study = load(write(HEAD.replace("8}", "8, network: {hidden: [3]}}")))
    assert models(study)[0]["network"] == {"name": "MLP", "hidden": [3], "activation": "ReLU"}


def test_references_follow_the_grid(write: Write) -> None:
    study = load(write(HEAD + "train: {epochs: '${model.latent_dim}'}\ngrid:\n  model.latent_dim: [3, 5]"))
    assert [run.train.epochs for run in study.runs] == [3, 5]


def test_the_canonical_form_does_not_depend_on_how_it_is_written(write: Write) -> None:
    short = load(
        write("question: Why?\nmodel: VAE\ndata: {name: Digits, binarize: Fixed}\ntrain: {gradient_clip: 1}")
    ).runs
    long = load(
        write(
            "question: Or why not?\ndata:\n  binarize: {name: Fixed}\n  name: Digits\nseed: 0\n"
            "train: {gradient_clip: 1.0, epochs: 100}\nmodel: {network: MLP, name: VAE, likelihood: {name: Bernoulli}}"
        )
    ).runs
    assert short == long
    assert short[0].id == long[0].id
    assert json.dumps(short[0].config) == json.dumps(long[0].config)


def test_a_run_survives_json_and_pickle(write: Write) -> None:
    study = load(write(HEAD + "evaluate: {metrics: [ELBO, {name: IWAE, k: [1, 50]}]}\ngrid:\n  seed: 0..1"))
    assert pickle.loads(pickle.dumps(study)) == study
    for run in study.runs:
        again = Run.of(json.loads(json.dumps(run.config)))
        assert again == run
        assert (again.id, again.config) == (run.id, run.config)


def test_a_run_has_every_default_filled_in_and_the_kinds_that_constructors_expect(write: Write) -> None:
    run = load(write(HEAD)).only()
    assert run.config["train"] == {"epochs": 100, "batch_size": 64, "validate_every": 1, "gradient_clip": None}
    first = {key for key, field in component_fields(MODELS, "BetaVAE").items() if not field.later}
    assert run.config["model"].keys() == {"name", *first}
    assert isinstance(run.config["model"]["network"]["hidden"], list)
    assert isinstance(dict(run.model)["network"]["hidden"], tuple)  # type: ignore[call-overload]
    assert "slug" not in run.config


def test_a_configuration_of_another_version_is_refused(write: Write) -> None:
    values = load(write(HEAD)).only().config
    values["model"]["dropout"] = 0.1
    with pytest.raises(Refused, match=r"^model\.dropout: unknown key"):
        Run.of(values)


@pytest.mark.parametrize("grid", ["model.beta: [1, 4]\n  seed: 0..2", "seed: [5, 7]\n  model.latent_dim: [3, 5]"])
def test_seeds_that_share_their_checks_are_the_runs_that_they_would_be_alone(write: Write, grid: str) -> None:
    text = HEAD + f"train: {{devices: 2, stages: [{{epochs: 100, factor: 1}}]}}\ngrid:\n  {grid}"
    for run in load(write(text)).runs:
        alone = Run.of(run.config | {"train": run.config["train"] | {"devices": 2}})
        assert (run.id, run.unseeded, run) == (alone.id, alone.unseeded, alone)


def test_a_value_may_refer_to_the_seed(write: Write) -> None:
    study = load(write(HEAD + "train: {epochs: '${seed}'}\ngrid:\n  seed: 1..3"))
    assert [(run.seed, run.train.epochs) for run in study.runs] == [(1, 1), (2, 2), (3, 3)]
    study = load(write(HEAD + "grid:\n  train.epochs: ['${seed}', 7]\n  seed: 1..2"))
    assert [run.train.epochs for run in study.runs] == [1, 2, 7, 7]


@given(seed=st.integers(0, 2**32 - 1), beta=st.floats(0, 1e6), latent=st.integers(1, 10**6))
def test_different_runs_have_different_ids(seed: int, beta: float, latent: int) -> None:
    def of(seed: int, beta: float, latent: int) -> Run:
        model = {"name": "BetaVAE", "beta": beta, "latent_dim": latent}
        return Run.of({"model": model, "data": {"name": "Digits", "binarize": "Fixed"}, "seed": seed})

    run = of(seed, beta, latent)
    assert run.id == of(seed, beta, latent).id
    assert run.id not in {
        of((seed + 1) % 2**32, beta, latent).id,
        of(seed, beta + 1, latent).id,
        of(seed, beta, latent + 1).id,
    }
    assert len(run.id) == 10
    assert set(run.id) <= set("0123456789abcdef")


NESTED = st.recursive(
    st.integers() | st.lists(st.integers(), max_size=2), lambda inner: st.dictionaries(st.sampled_from("abc"), inner)
)


@given(base=st.dictionaries(st.sampled_from("abc"), NESTED), over=st.dictionaries(st.sampled_from("abc"), NESTED))
def test_merging_is_idempotent_and_the_later_value_counts(base: dict[str, object], over: dict[str, object]) -> None:
    result = merge(base, over)
    assert merge(result, over) == result
    assert merge(base, {}) == base
    assert merge({}, over) == over
    assert set(result) == set(base) | set(over)
    assert all(result[key] == value for key, value in over.items() if not isinstance(value, dict))


def test_one_run_is_found_by_id_start_of_id_or_slug(write: Write) -> None:
    study = load(write(HEAD + "grid:\n  seed: 0..4"))
    run = study.runs[3]
    assert study.only(run.id) is study.only(run.id[:8]) is study.only("seed=3") is run
    for name, reason in (("seed=9", "no run 'seed=9'"), ("", "5 runs are meant"), (None, "5 runs are meant")):
        with pytest.raises(ConfigError, match=reason):
            study.only(name)


# -- overrides --------------------------------------------------------------------------------------------------------


def test_an_override_replaces_the_axis_of_its_key_or_is_one_more(write: Write) -> None:
    path = write(HEAD + "grid:\n  model.beta: [1, 2, 3]\n  seed: 0..4")
    study = load(path, ["seed=7", "latent_dim=2,4", "model.beta=1e-1"])
    assert study.axes == ("model.beta", "seed", "model.latent_dim")
    assert [run.slug for run in study.runs] == ["beta=0.1,seed=7,latent_dim=2", "beta=0.1,seed=7,latent_dim=4"]


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("model=AE,LinearVAE", ["model=AE", "model=LinearVAE"]),
        ("model={name: VAE, latent_dim: 3},AE", ["model=VAE(latent_dim=3)", "model=AE"]),
        ("network.hidden=[64,64],[32]", ["hidden=64-64", "hidden=32"]),
        ("network=Affine", ["network=Affine"]),
        ("epochs=1", ["epochs=1"]),
        ("seed=0..2", ["seed=0", "seed=1", "seed=2"]),
        ("gradient_clip=null,0.5", ["gradient_clip=null", "gradient_clip=0.5"]),
    ],
)
def test_overrides_are_read_as_yaml(write: Write, assignment: str, expected: list[str]) -> None:
    text = HEAD.replace("name: BetaVAE", "name: BetaVAE, likelihood: Gaussian")
    assert [run.slug for run in load(write(text), [assignment]).runs] == expected


def test_a_section_is_overridden_before_the_keys_in_it(write: Write) -> None:
    runs = load(write(HEAD), ["cycles=2", "schedule=Cyclic", "model=LinearVAE"]).runs
    assert [m["schedule"]["name"] for m in (run.config["model"] for run in runs)] == ["Cyclic"]


OVERRIDES = {
    "unknown": ("betta=4", "betta: unknown key (did you mean model.beta?)"),
    "unknown, nothing near": ("zzz=4", "zzz: unknown key; the keys are data, data.binarize"),
    "not of this model": ("corruption=Masking", "corruption: unknown key"),
    "ambiguous": ("name=VAE", "name: ambiguous; write data.binarize.name or data.name or model.likelihood.name or "),
    "without a value": ("beta=", "beta=: expected key=value"),
    "without a sign": ("beta", "beta: expected key=value"),
    "unreadable": ("beta=[1", "beta: expected values with commas between them, got '[1'"),
    "backward": ("seed=4..0", "seed: expected a range a..b with a ≤ b, got 4..0; write 0..4"),
    "out of range": ("beta=1,-1", "model.beta: expected a number ≥ 0, got -1"),
    "wrong type": ("epochs=many", 'train.epochs: expected a whole number > 0, got "many"'),
    "unknown name": ("model=VEA", "model.name: unknown model 'VEA' (did you mean VAE?)"),
    "too many": ("seed=0..99999999999", "grid: expected at most 100000 runs"),
    "the same twice": ("beta=1,1", "grid: beta=1 is the same run as beta=1; take one"),
}


@pytest.mark.parametrize(("assignment", "message"), OVERRIDES.values(), ids=OVERRIDES)
def test_a_bad_override_earns_one_line(write: Write, assignment: str, message: str) -> None:
    found = refusal(write(HEAD), assignment)
    assert found.startswith(f"command line: {message}")
    assert "\n" not in found


# -- what two parts must agree on -------------------------------------------------------------------------------------


class Divided:
    """A metric for these tests."""

    def __init__(self, *, sizes: tuple[DrawsDivisor, ...] = (1, 50)) -> None: ...


class Grey:
    """Data in [0, 1] for these tests."""

    support = "unit"

    def __init__(self, *, binarize: str | None = None) -> None: ...


class Binary:
    """A likelihood of 0 and 1 for these tests."""

    support = "binary"


class Wide:
    """A likelihood on R for these tests."""

    support = "real"


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the parts above for the while of a test."""
    for registry, cls in ((METRICS, Divided), (DATASETS, Grey), (LIKELIHOODS, Binary), (LIKELIHOODS, Wide)):
        monkeypatch.setitem(registry._classes, cls.__name__, cls)


@pytest.mark.parametrize("pair", [("beta=1", "beta=2"), ("beta=1", "model.beta=1"), ("seed=0..4", "seed=5")])
def test_an_override_that_is_given_twice_is_refused(write: Write, pair: tuple[str, str]) -> None:
    """By its short name and in full: neither is the one that is meant."""
    key = "seed" if "seed" in pair[0] else "model.beta"
    message = refusal(write(HEAD), *pair)
    assert message == f"command line: {key}: given twice; give its values once, with commas between them"


@pytest.mark.usefixtures("parts")
def test_sizes_must_divide_the_draws(write: Write) -> None:
    text = HEAD + "evaluate:\n  draws: 100\n  metrics:\n  - ELBO\n  - {name: Divided, sizes: [1, 30, 100]}\n"
    message = refusal(write(text))
    assert message == (
        "study.yaml:8: evaluate.metrics[1].sizes: expected a divisor of evaluate.draws = 100, got 30; "
        "change one of the two"
    )
    assert "got 50" in refusal(write(HEAD + "evaluate: {draws: 99, metrics: [Divided]}"))
    assert load(write(text.replace("30", "20"))).runs
    assert "grid.evaluate.draws[0]" not in refusal(write(text), "draws=50")


@pytest.mark.usefixtures("parts")
def test_a_likelihood_must_cover_the_data(write: Write) -> None:
    text = "question: Why?\nmodel: {name: VAE, likelihood: Binary}\ndata: Grey\n"
    message = refusal(write(text))
    assert message.startswith(
        "study.yaml:2: model.likelihood: Binary expects x in {0, 1}, got Grey with x in [0, 1]; set "
    )
    assert "Wide" in message
    assert load(write(text.replace("Binary", "Wide"))).runs
    assert load(
        write(text.replace("Grey", "Digits").replace("data: Digits", "data: {name: Digits, binarize: Fixed}"))
    ).runs


# -- light ------------------------------------------------------------------------------------------------------------


def test_a_study_is_read_without_importing_what_trains(write: Write) -> None:
    path = write(HEAD + "grid:\n  model: [AE, VAE, BetaVAE]\n  seed: 0..4")
    script = "import sys; from vaebench.config import load; load(sys.argv[1]); print(*sys.modules, sep='\\n')"
    root = str(Path(config.__file__).parents[1])
    found = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=True,
    )
    heavy = {"torch", "torchvision", "lightning", "torchmetrics", "sklearn", "scipy", "pandas", "matplotlib", "wandb"}
    assert heavy.isdisjoint(found.stdout.split())
