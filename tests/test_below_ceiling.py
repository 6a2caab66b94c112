"""What a record says of the ceiling: values, blanks with their reasons, the cause of total collapse, and the cache."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from vaebench.config.registry import MODELS
from vaebench.data.datamodule import DataModule
from vaebench.data.datasets.own import Arrays
from vaebench.data.datasets.synthetic import LinearGaussian
from vaebench.evaluation import ceiling
from vaebench.evaluation.ceiling import BRACKET, CEILING, COLUMNS, Absent, Cache, Setting
from vaebench.evaluation.collapse import diagnose
from vaebench.evaluation.stationarity import linear_vae_at
from vaebench.models.base import Autoencoder
from vaebench.oracle import beta_optimum
from vaebench.oracle.spectrum import Spectrum
from vaebench.records.record import BELOW, DEPTH, ONSET


@pytest.fixture(scope="module")
def data() -> DataModule:
    module = DataModule(LinearGaussian(dim=6, n=100), batch_size=20)
    module.setup()
    return module


def measured(model: Autoencoder, data: DataModule, cache: Cache = ceiling.NO_CACHE) -> dict[str, float]:
    found = ceiling.below_the_ceiling(model.float().eval(), data, cache)
    assert set(COLUMNS) == {e.name for e in found.estimates} | set(found.not_applicable)
    assert set(found.descriptions) == {e.name for e in found.estimates}
    return {e.name: e.value for e in found.estimates if isinstance(e.value, float)}


def build(shape: tuple[int, ...], **spec: Any) -> Autoencoder:
    return MODELS.build({"name": "BetaVAE", "latent_dim": 3, **spec}, shape, 0)


@pytest.mark.parametrize("beta", [0.5, 1.0, 4.0])
def test_a_linear_optimum_is_below_by_what_depth_can_buy(data: DataModule, beta: float) -> None:
    """The optimum of a linear VAE is exactly so many nats below the ceiling, as another VAE can be above it."""
    spectrum = Spectrum.of(data.train.x)
    point = beta_optimum(spectrum, 3, beta, 0.3 * float(spectrum.eigenvalues[0]) / beta)
    found = measured(linear_vae_at(point), data)
    assert found[BELOW] == pytest.approx(found[DEPTH], abs=0.05)  # 32 draws of 70 observations
    assert found[CEILING] - found[BELOW] == pytest.approx(point.objective, abs=0.05)
    assert 0 <= found[BRACKET] <= 0.05 * beta
    assert found[ONSET] >= float(spectrum.eigenvalues[0]) * (1 - 1e-6)


@pytest.mark.parametrize("likelihood", ["Gaussian", "LearnedGaussian", {"name": "LearnedGaussian", "per_pixel": True}])
@pytest.mark.parametrize("prior", ["StandardNormal", "GaussianMixture"])
def test_no_model_is_above(data: DataModule, likelihood: Any, prior: str) -> None:
    torch.manual_seed(0)
    found = measured(build(data.shape, likelihood=likelihood, prior=prior, beta=0.7), data)
    assert found[BELOW] > 0
    assert found[DEPTH] >= 0


def test_total_collapse_has_its_cause_at_any_depth(data: DataModule) -> None:
    """An untrained deep VAE with a silent encoder: beyond the onset this is the optimum, below it is not."""
    onset = measured(build(data.shape, likelihood="Gaussian"), data)[ONSET]
    for share, cause in ((1.1, "by the objective"), (0.5, "by optimisation")):
        model = build(data.shape, likelihood={"name": "Gaussian", "variance": share * onset}, beta=1.0)
        with torch.no_grad():
            for parameter in model.encoder.parameters():
                parameter.zero_()
        found = diagnose(model.eval(), data)
        assert f"all collapsed {cause}" in found.facts["collapse"]
        counts = {e.name: e.value for e in found.measurement.estimates}
        expected = (3.0, 0.0) if share > 1 else (0.0, 3.0)
        assert (counts["collapsed_by_objective"], counts["collapsed_by_optimisation"]) == expected


def test_a_learned_variance_leaves_the_cause_of_total_collapse_open(data: DataModule) -> None:
    """At another σ² another VAE may be better, so that collapse beyond the onset of this σ² is no optimum of all."""
    onset = measured(build(data.shape, likelihood="Gaussian"), data)[ONSET]
    for likelihood in ("LearnedGaussian", "OptimalGaussian"):
        model = build(data.shape, likelihood=likelihood, beta=1.0)
        with torch.no_grad():
            for parameter in model.encoder.parameters():
                parameter.zero_()
            variance = model.likelihood.log_variance if likelihood == "LearnedGaussian" else model.likelihood.variance
            variance.fill_(math.log(2 * onset) if likelihood == "LearnedGaussian" else 2 * onset)
        assert ceiling.collapse_is_optimal(model.eval(), data, ceiling.NO_CACHE) is None
        assert "all collapsed" not in diagnose(model, data).facts["collapse"]


@pytest.mark.parametrize(
    ("binarize", "spec", "reason"),
    [
        (None, {"name": "AE", "likelihood": "Gaussian"}, Absent.NO_RATE),
        (None, {"likelihood": "ContinuousBernoulli"}, Absent.OTHER_LIKELIHOOD),
        (None, {"likelihood": "Gaussian", "beta": 0.0}, Absent.NO_WEIGHT),
        ("Dynamic", {"likelihood": "Bernoulli"}, Absent.NEW_PIXELS),
    ],
)
def test_a_blank_has_its_reason(tmp_path: Path, binarize: str | None, spec: dict[str, Any], reason: Absent) -> None:
    data = grey(tmp_path, binarize)
    found = ceiling.below_the_ceiling(build(data.shape, **spec), data, ceiling.NO_CACHE)
    assert found.not_applicable == dict.fromkeys(COLUMNS, reason.value)


@pytest.mark.parametrize("binarize", ["Fixed", "Threshold"])
def test_binary_pixels(tmp_path: Path, binarize: str) -> None:
    data = grey(tmp_path, binarize)
    model = build(data.shape, likelihood="Bernoulli", beta=2.0)
    found = ceiling.below_the_ceiling(model.eval(), data, ceiling.NO_CACHE)
    assert found.not_applicable == {DEPTH: Absent.NO_LINEAR.value}
    assert next(e for e in found.estimates if e.name == BELOW).value > 0  # type: ignore[operator]


def grey(folder: Path, binarize: str | None) -> DataModule:
    import numpy as np

    path = folder / "grey.npz"
    np.savez(path, x=np.random.default_rng(0).random((60, 1, 3, 3)).astype(np.float32))
    module = DataModule(Arrays(path=str(path), binarize=binarize), batch_size=10)
    module.setup()
    return module


def test_a_study_says_for_how_many_observations(data: DataModule) -> None:
    model = build(data.shape, likelihood="Gaussian").eval()
    assert ceiling.below_the_ceiling(model, data, Cache(None, 0)).not_applicable == dict.fromkeys(
        COLUMNS, Absent.NOT_ASKED.value
    )
    found = ceiling.below_the_ceiling(model, data, Cache(None, 40))
    for estimate in found.estimates:
        assert estimate.over is not None
        assert estimate.over.startswith("40 of ")
    assert next(e for e in found.estimates if e.name == BELOW).value > 0  # type: ignore[operator]


def test_each_value_is_computed_once(data: DataModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By any process that shares the folder; a damaged file is computed again."""
    model, cache = build(data.shape, likelihood="Gaussian"), Cache(tmp_path / "ceilings")
    first = measured(model, data, cache)
    files = sorted(cache.folder.iterdir())  # type: ignore[union-attr]
    assert len(files) == 2
    monkeypatch.setattr(Setting, "problem", property(lambda self: pytest.fail("computed again")))
    assert measured(model, data, Cache(tmp_path / "ceilings")) == first
    monkeypatch.undo()
    for damaged in ("{", "{}", "[1]", '{"onset": "high", "tau": null}', "\0"):
        for file in files:
            file.write_text(damaged)
        assert measured(model, data, cache) == first


def test_values_that_cannot_be_kept_are_computed(data: DataModule, tmp_path: Path) -> None:
    (tmp_path / "ceilings").touch()  # a file where the folder should be
    model = build(data.shape, likelihood="Gaussian")
    assert measured(model, data, Cache(tmp_path / "ceilings")) == measured(model, data)


def test_the_figure_shows_runs_and_the_linear_optimum_in_one_unit() -> None:
    """(ceiling − objective)/β over βσ²; a run whose ceiling is blank has no point."""
    from vaebench.records.record import Estimate, Record
    from vaebench.reporting.figures.planes import Point, _points
    from vaebench.reporting.tables.table import Group, Row

    def run(**values: float) -> Record:
        estimates = [Estimate(name, value) for name, value in values.items()]
        return Record(
            id="i",
            study="s",
            status="done",
            config={"model": {}},
            facts={"beta": 2.0, "variance": 0.5},
            estimates=estimates,
        )

    full = run(below_ceiling=3.0, depth_can_buy=4.0, collapse_onset=5.0)
    row = Row((), Group({}, {}, (full, run(below_ceiling=3.0)), ()), ())
    assert list(_points(row.group.done)) == [Point(1.0, 1.5, 2.0, 5.0)]
