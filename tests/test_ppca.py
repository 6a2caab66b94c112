"""Probabilistic PCA: EM against its closed form, against scikit-learn, and as a model of a study."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.decomposition import PCA
from torch.utils.data import DataLoader, TensorDataset
from trainers import trainer

from vaebench import oracle
from vaebench.config import Run
from vaebench.config.registry import DATASETS, MODELS
from vaebench.data.datamodule import DataModule
from vaebench.data.loaders import Batch
from vaebench.evaluation.measure import build_metrics, measure
from vaebench.oracle.probabilistic_pca import ProbabilisticPCA, expectation_maximisation
from vaebench.oracle.spectrum import Spectrum
from vaebench.sweeps.run import Execution, execute_pack
from vaebench.training.packed.capture import Unpackable
from vaebench.training.packed.module import Pack

CASES = [
    ((6.0, 3.0, 1.0, 0.5, 0.4), 3),
    ((9.0, 4.0, 1.0, 0.9), 2),
    ((2.0, 1.0), 1),
    ((6.0, 5.0, 4.0, 3.0, 2.0, 0.6, 0.5, 0.4), 5),
]
every_case = pytest.mark.parametrize(("eigenvalues", "latent_dim"), CASES, ids=str)


def normal(*size: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def spectrum_of(eigenvalues: tuple[float, ...], seed: int = 5) -> Spectrum:
    directions = torch.linalg.qr(normal(len(eigenvalues), len(eigenvalues), seed=seed))[0]
    return Spectrum.given(eigenvalues, directions, normal(len(eigenvalues), seed=seed + 1))


def mean_log_prob(model: ProbabilisticPCA, spectrum: Spectrum) -> float:
    return float(model.log_prob(spectrum.points).mean())


@every_case
@pytest.mark.parametrize("start", [1e-3, 1.0, 40.0])
def test_em_rises_to_the_closed_form(eigenvalues: tuple[float, ...], latent_dim: int, start: float) -> None:
    """From a random W of three sizes: monotone to rounding, and within 3000 iterations the closed form to 1e-10."""
    spectrum = spectrum_of(eigenvalues)
    model = ProbabilisticPCA(spectrum.mean, start * normal(len(eigenvalues), latent_dim), 1.0)
    heights = []
    best = oracle.maximum_likelihood(spectrum, latent_dim).model
    for i in range(3000):
        heights.append(mean_log_prob(model, spectrum)) if i < 200 else None
        model = expectation_maximisation(model, spectrum.covariance)
        if i % 100 == 0 and float((model.covariance - best.covariance).abs().max()) < 1e-13 * eigenvalues[0]:
            break
    assert all(b > a - 1e-12 * abs(a) for a, b in pairwise(heights))
    torch.testing.assert_close(model.covariance, best.covariance, rtol=0, atol=1e-10 * eigenvalues[0])
    assert float(model.noise[0]) == pytest.approx(float(best.variance), rel=1e-10)


@every_case
def test_the_closed_form_is_a_fixed_point_of_em_whatever_its_rotation(
    eigenvalues: tuple[float, ...], latent_dim: int
) -> None:
    spectrum = spectrum_of(eigenvalues)
    best = oracle.maximum_likelihood(spectrum, latent_dim).model
    rotation = torch.linalg.qr(normal(latent_dim, latent_dim))[0]
    turned = ProbabilisticPCA(best.mean, best.weight @ rotation, best.variance)
    again = expectation_maximisation(turned, spectrum.covariance)
    torch.testing.assert_close(again.weight, turned.weight, rtol=0, atol=1e-10)
    assert float(again.noise[0]) == pytest.approx(float(best.variance), rel=1e-10)


def test_em_with_a_fixed_variance_collapses_the_directions_below_it() -> None:
    spectrum = spectrum_of((5.0, 2.0, 0.5, 0.2))
    model = ProbabilisticPCA(spectrum.mean, normal(4, 3), 1.0)
    for _ in range(3000):
        model = expectation_maximisation(model, spectrum.covariance, fits_variance=False)
    best = oracle.beta_optimum(spectrum, 3, 1.0, 1.0).model
    torch.testing.assert_close(model.covariance, best.covariance, rtol=0, atol=1e-9)


# -- the model --------------------------------------------------------------------------------------------------------

SIZES = [{"dim": 9, "latent_dim": 3, "n": 800}, {"dim": 5, "latent_dim": 4, "noise": 2.0, "n": 400, "data_seed": 3}]


def data_of(**size: Any) -> DataModule:
    data = DataModule(DATASETS.build({"name": "LinearGaussian", **size}), batch_size=280)
    data.setup()
    return data


def fitted(data: DataModule, epochs: int = 1, latent_dim: int = 2, seed: int = 0, **keywords: Any) -> Any:
    model = MODELS.build({"name": "PPCA", "latent_dim": latent_dim, **keywords}, data.shape, seed).double()
    trainer(epochs).fit(model, datamodule=data)
    return model


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("latent_dim", [1, 2])
def test_it_has_the_likelihood_of_scikit_learn_on_any_split(size: dict[str, Any], latent_dim: int) -> None:
    data = data_of(**size)
    model, x = fitted(data, latent_dim=latent_dim), data.test.x.double()
    reference = PCA(latent_dim).fit(data.train.x.double().numpy())
    # scikit-learn divides by N − 1.
    share = len(data.train.x) / (len(data.train.x) - 1)
    ours = ProbabilisticPCA(model.density.mean, model.weight.detach() * share**0.5, model.density.noise[0] * share)
    assert float(ours.log_prob(x).mean()) == pytest.approx(reference.score(x.numpy()), rel=1e-6)
    torch.testing.assert_close(model.objective(x, x), model.density.log_prob(x))


@pytest.mark.parametrize("fit", ["closed_form", "EM"])
@pytest.mark.parametrize("likelihood", ["LearnedGaussian", {"name": "Gaussian", "variance": 0.3}], ids=str)
def test_every_bound_is_the_evidence(fit: str, likelihood: Any) -> None:
    """The posterior is exact at each epoch of EM, not only at its end."""
    data = data_of(**SIZES[0])
    model, x = fitted(data, 3, latent_dim=3, fit=fit, likelihood=likelihood), data.test.x.double()
    evidence = model.density.log_prob(x)
    weights = model.draws(Batch(x), 20, torch.Generator().manual_seed(0)).log_weight
    assert float((weights - evidence).abs().max()) < 1e-9
    seen = {e.name: e.value for e in measure(model, [Batch(x)], build_metrics(None), 10, 0).estimates}
    for name in ("elbo", "iwae_10"):
        assert seen.get(name, seen["elbo"]) == pytest.approx(float(evidence.mean()), rel=1e-9)
    assert seen["rate"] + seen["distortion"] == pytest.approx(-float(evidence.mean()), rel=1e-9)


def test_epochs_of_em_are_its_iterations_from_the_start_of_the_seed() -> None:
    data = data_of(**SIZES[0])
    spectrum = Spectrum.of(data.train.x.double())
    models = [fitted(data, epochs, fit="EM", seed=seed) for epochs, seed in ((1, 0), (2, 0), (2, 1))]
    step = expectation_maximisation(models[0].density, spectrum.covariance)
    torch.testing.assert_close(models[1].density.weight, step.weight, rtol=1e-6, atol=1e-6)
    assert not torch.allclose(models[1].density.weight, models[2].density.weight, atol=1e-3)
    noisy = data_of(**SIZES[1])
    enough = fitted(noisy, 150, latent_dim=1, fit="EM", seed=1)
    best = oracle.maximum_likelihood(Spectrum.of(noisy.train.x.double()), 1).model
    torch.testing.assert_close(enough.density.covariance, best.covariance, rtol=1e-6, atol=1e-6)


@pytest.mark.filterwarnings("ignore:You defined a `validation_step`", "ignore:The '.*_dataloader' does not have many")
def test_em_goes_on_from_a_checkpoint_with_a_plain_loader(tmp_path: Path) -> None:
    x = torch.randn(200, 5, generator=torch.Generator().manual_seed(0)) * torch.tensor([3.0, 2.0, 1.0, 1.0, 1.0])
    loader, path = DataLoader(TensorDataset(x), 50), tmp_path / "stopped.ckpt"

    def model() -> Any:
        return MODELS.build({"name": "PPCA", "latent_dim": 2, "fit": "EM"}, (5,), 0)

    whole, stopped, resumed = model(), model(), model()
    trainer(6).fit(whole, loader)
    first = trainer(3)
    first.fit(stopped, loader)
    first.save_checkpoint(path)
    trainer(6).fit(resumed, loader, ckpt_path=path, weights_only=False)
    torch.testing.assert_close(resumed.weight, whole.weight)


@pytest.mark.parametrize("likelihood", ["OptimalGaussian", {"name": "LearnedGaussian", "per_pixel": True}], ids=str)
def test_it_refuses_a_variance_that_it_cannot_fit(likelihood: Any) -> None:
    with pytest.raises(ValueError, match="PPCA expects one variance"):
        MODELS.build({"name": "PPCA", "likelihood": likelihood}, (9,), 0)


def test_as_many_units_as_directions_leave_no_variance() -> None:
    with pytest.raises(ValueError, match="take a latent dimension below the rank, or fix σ²"):
        MODELS.build({"name": "PPCA", "latent_dim": 5}, (5,), 0).prepare(normal(40, 5))


def test_it_is_no_member_of_a_pack_and_says_why() -> None:
    with pytest.raises(Unpackable, match="PPCA is not trained by gradients"):
        Pack([MODELS.build("PPCA", (9,), seed) for seed in range(2)])


@pytest.mark.parametrize("fit", ["closed_form", "EM"])
def test_it_runs_through_a_study(fit: str, tmp_path: Path) -> None:
    """Trained alone, whatever `gradient_clip` says; its record has the training curve and the probe of a linear VAE."""
    model = {"name": "PPCA", "latent_dim": 2, "fit": fit}
    run = Run.of(
        {
            "model": model,
            "data": {"name": "LinearGaussian", **SIZES[0]},
            "train": {"epochs": 80, "gradient_clip": 1.0, "validate_every": 40},
            "evaluate": {"draws": 10},
        }
    )
    quiet = Execution(wandb="disabled")
    record, *_ = execute_pack([run], "ppca", [], [tmp_path], quiet, lambda epoch, latest: None)
    assert record.status == "done", record.reason
    curve = [v for v in record.curve["train/objective"] if v is not None]
    assert len(curve) == 80
    assert all(b > a - 1e-5 for a, b in pairwise(curve))
    assert record.facts["stationary_verdict"] == "maximum"
