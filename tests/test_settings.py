"""No setting of monitoring or execution moves a number: not how often a run is validated or saved, not what trains
beside it, where, or who is told of it, and not what else is measured. To the bit, on a CPU with one thread."""

import io
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from vaebench.config import Run, Study
from vaebench.config.presentation import Presentation
from vaebench.config.registry import DATASETS, ESTIMATORS, LIKELIHOODS, METRICS, MODELS
from vaebench.data.datamodule import DataModule
from vaebench.evaluation.measure import Measurement, build_estimators, build_metrics, estimate, measure
from vaebench.records import record
from vaebench.records.record import Estimate, Record
from vaebench.sweeps.engines import Engine, Inline
from vaebench.sweeps.engines.processes import Processes
from vaebench.sweeps.run import Execution, execute_pack
from vaebench.sweeps.sweep import sweep
from vaebench.sweeps.trained import reevaluate

DRAWS = 6
EPOCHS = 3
SMALL = {"observations": 3, "draws": 20, "chains": 2, "temperatures": 2, "leapfrog": 1, "steps": 4}
"""Sizes that make an estimator quick, where it has them."""

ESTIMATED = [{"name": e, **{k: v for k, v in SMALL.items() if k in ESTIMATORS.keywords(e)}} for e in ESTIMATORS]
QUIET = Execution(wandb="disabled")


def legal() -> Iterator[tuple[str, str]]:
    """Every model with every likelihood that it takes."""
    for model in MODELS:
        for likelihood in LIKELIHOODS:
            try:
                MODELS.build({"name": model, "latent_dim": 2, "likelihood": likelihood}, (3,), 0)
            except ValueError:
                continue
            yield model, likelihood


def covering() -> Iterator[tuple[str, str]]:
    """Every model once. The likelihoods take turns, so that each of them is there several times."""
    legally, taken = list(legal()), Counter()
    for model in MODELS:
        likelihood = min((second for first, second in legally if first == model), key=lambda name: taken[name])
        taken[likelihood] += 1
        yield model, likelihood


PAIRS = list(covering())
DELICATE = ("VAE", next(name for name in LIKELIHOODS if LIKELIHOODS[name].refits))
"""A model whose likelihood takes something in whenever a run is validated."""


def every(pairs: list[tuple[str, str]], quick: int) -> list[Any]:
    """Parameters of a test: as many as `quick`, evenly spaced, are always tried, the others in the slow tests."""
    chosen = {len(pairs) - 1 - i * len(pairs) // quick for i in range(quick)}
    slow = pytest.mark.slow
    return [pytest.param(p, id="-".join(p), marks=() if i in chosen else slow) for i, p in enumerate(pairs)]


def test_every_model_and_every_likelihood_is_tried():
    assert {model for model, _ in PAIRS} == {*MODELS}
    assert {likelihood for _, likelihood in PAIRS} == {*LIKELIHOODS}


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> str:
    """90 images of 0 and 1, which every likelihood takes, in classes that can be told apart."""
    stream, file = np.random.default_rng(0), tmp_path_factory.mktemp("data") / "images.npz"
    label = np.arange(90) % 3
    x = stream.random((90, 1, 4, 4)) < 0.1 + 0.4 * label[:, None, None, None] * (np.arange(4) < 2)
    np.savez(file, x=x.astype(np.float32), label=label)
    return str(file)


def made(pair: tuple[str, str], path: str, seed: int = 0, **changes: Any) -> Run:
    model: dict[str, Any] = {"name": pair[0], "latent_dim": 2, "likelihood": pair[1]}
    if not MODELS[pair[0]].linear:
        model["network"] = {"name": "MLP", "hidden": [8]}
    evaluate = {"draws": DRAWS, "estimators": ESTIMATED, **changes.pop("evaluate", {})}
    train = {"epochs": EPOCHS, "batch_size": 20, **changes.pop("train", {})}
    data = {"name": "Arrays", "path": path}
    return Run.of({"model": model | changes, "data": data, "train": train, "evaluate": evaluate, "seed": seed})


def executed(folder: Path, *runs: Run, how: Execution = QUIET) -> Record:
    """The record of the first of runs that train together."""
    folders = [folder / str(i) for i in range(len(runs))]
    first, *_ = execute_pack(runs, "settings", [], folders, how, lambda epoch, latest: None)
    assert first.status == "done", first.reason
    return first


def unmoved(one: Record, other: Record) -> None:
    """Every estimate that both have, every fact, and every point of a curve that both have, to the bit."""
    assert one.facts == other.facts
    same_estimates(one.estimates, other.estimates)
    assert len(one.curve["train/objective"]) == len(other.curve["train/objective"]) == EPOCHS
    assert one.curve["train/objective"] == other.curve["train/objective"]
    for name in one.curve.keys() & other.curve.keys():
        both = zip(one.curve[name], other.curve[name], strict=True)
        assert all(a == b for a, b in both if a is not None and b is not None), name


def same_estimates(one: list[Estimate], other: list[Estimate]) -> None:
    """By their text, since a number that is none equals nothing."""
    first, second = ({e.name: repr(e) for e in estimates} for estimates in (one, other))
    common = first.keys() & second.keys()
    assert common
    assert {name: first[name] for name in common} == {name: second[name] for name in common}


ENDED_BY_VALIDATION = {"AggressiveVAE"}
"""Models whose validations are a part of their training, so that `validate_every` changes them."""


@pytest.mark.parametrize("pair", every(PAIRS, quick=3))
def test_all_settings_at_once_move_nothing(pair, path, tmp_path):
    """Alone, validated after every epoch and measured by everything; between two others, never validated, saved after
    every epoch and measured by a few."""
    few = {"metrics": ["SquaredError", "ELBO", "Rate"], "estimators": ESTIMATED[-1:]}
    validated = pair[0] in ENDED_BY_VALIDATION
    never = {"evaluate": few} if validated else {"train": {"validate_every": 1000}, "evaluate": few}
    others = (
        made(pair, path, seed=3, learning_rate=0.02, **never),
        made(pair, path, seed=0, learning_rate=3e-4, **never),
    )
    alone = executed(tmp_path / "alone", made(pair, path))
    beside = executed(
        tmp_path / "beside", made(pair, path, **never), *others, how=Execution(wandb="disabled", save_every=0.0)
    )
    unmoved(alone, beside)
    assert [v is None for v in alone.curve["val/objective"]] == [False] * EPOCHS
    assert ("val/objective" in beside.curve) == validated


@pytest.fixture(scope="module")
def plain(path, tmp_path_factory) -> tuple[Record, Path]:
    """The delicate pair as it comes: its record, and its folder."""
    folder = tmp_path_factory.mktemp("plain")
    return executed(folder, made(DELICATE, path)), folder / "0"


SETTINGS: dict[str, dict[str, Any]] = {
    "validated after every second epoch": {"train": {"validate_every": 2}},
    "never validated": {"train": {"validate_every": 1000}},
    "saved after every epoch": {"how": Execution(wandb="disabled", save_every=0.0)},
    "W&B": {"how": Execution(wandb="offline")},
    "other logs": {"how": Execution(wandb="disabled", loggers=("csv", "tensorboard"))},
    "packs of two": {"beside": 1},
    "other metrics": {"evaluate": {"metrics": [*METRICS][::-1]}},
    "no estimators": {"evaluate": {"estimators": []}},
}


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_moves_nothing(setting, plain, path, tmp_path):
    changes = dict(SETTINGS[setting])
    how, beside = changes.pop("how", QUIET), changes.pop("beside", 0)
    runs = [made(DELICATE, path, seed=seed, **changes) for seed in range(1 + beside)]
    unmoved(plain[0], executed(tmp_path, *runs, how=how))


def test_a_run_measured_again_has_the_numbers_of_its_record(plain, tmp_path):
    first, folder = plain
    kept = Path(shutil.copytree(folder, tmp_path / first.id))
    record.write(first, kept / "record.json")
    again = reevaluate(kept)
    asked = {e.name for e in again.estimates}
    assert asked
    same_estimates(again.estimates, [e for e in first.estimates if e.name in asked])


@pytest.mark.parametrize("name", MODELS)
def test_what_else_is_measured_moves_nothing(name, path):
    """All metrics and estimators against two halves of them in another order; of the VAE also each by itself."""
    data = DataModule(DATASETS.build({"name": "Arrays", "path": path}), 0, batch_size=7)
    data.setup("test")
    model = MODELS.build(made((name, "Gaussian"), path).model, data.shape, 0).eval()
    batches = data.batches("test")

    def measured(chosen: Any) -> Measurement:
        return measure(model, batches, build_metrics(chosen), DRAWS, 0)

    def estimated(chosen: Any) -> Measurement:
        return estimate(model, batches, build_estimators(chosen), 0)

    for by, everything in ((measured, list(METRICS)), (estimated, ESTIMATED)):
        whole = by(everything)
        backwards = everything[::-1]
        for some in (backwards[::2], backwards[1::2], *([one] for one in everything if name == "VAE")):
            part = by(some)
            assert {e.name for e in part.estimates} <= {e.name for e in whole.estimates}
            if part.estimates:
                same_estimates(whole.estimates, part.estimates)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_where_a_run_is_executed_moves_nothing(path, tmp_path):
    """Every model and likelihood, every metric and estimator: in this process, and in two others."""
    runs = [made(pair, path).named("-".join(pair), "") for pair in PAIRS]
    study = Study("settings", tmp_path / "settings.yaml", Presentation("Where?"), tuple(runs), ())

    def swept(name: str, engine: Engine) -> list[Record]:
        outcome = sweep(study, tmp_path / name, QUIET, Console(file=io.StringIO()), engine)
        assert not outcome.missing
        assert not outcome.failed
        return outcome.records

    for one, other in zip(swept("here", Inline()), swept("there", Processes(2)), strict=True):
        unmoved(one, other)
