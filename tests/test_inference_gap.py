"""What the posterior costs: known answers of linear models, sums that come out, and reasons where there is no number.

Known answers at β = 1 are in `vaebench.calibration.model_cases`.
"""

import pytest
import torch

from vaebench.config.registry import MODELS
from vaebench.data.datamodule import DataModule
from vaebench.data.datasets.synthetic import LinearGaussian
from vaebench.data.loaders import Batch
from vaebench.evaluation.ceiling import DECODER, Absent, Cache, below_the_ceiling, decoder_gap
from vaebench.evaluation.estimators.inference_gap import AMORTISATION, EVIDENCE, FAMILY, InferenceGap
from vaebench.evaluation.measure import Measurement, estimate
from vaebench.evaluation.stationarity import linear_vae_at
from vaebench.models.vae import VAE
from vaebench.oracle import beta_optimum
from vaebench.oracle.spectrum import Spectrum
from vaebench.records.record import BELOW

FEW = InferenceGap(observations=20, draws=200, steps=40)


@pytest.fixture(scope="module")
def data() -> DataModule:
    module = DataModule(LinearGaussian(dim=6, n=100), batch_size=20)
    module.setup()
    return module


def vae(data: DataModule, **spec: object) -> VAE:
    built = MODELS.build({"name": "BetaVAE", "latent_dim": 2, "likelihood": "Gaussian", **spec}, data.shape, 0)
    assert isinstance(built, VAE)
    return built.eval()


def gaps(model: VAE, x: torch.Tensor, estimator: InferenceGap = FEW, seed: int = 0) -> dict[str, float]:
    found = estimate(model, [Batch(x)], [estimator], seed)
    assert not found.not_applicable
    return {e.name: e.value for e in found.estimates}  # type: ignore[misc]


@pytest.mark.parametrize("beta", [0.5, 1.0, 4.0])
def test_an_optimal_linear_vae_has_no_gap(data: DataModule, beta: float) -> None:
    """Its q is proportional to p(x|z)^{1/β} p(z), so the three are 0, 0 and its objective, up to float32."""
    spectrum = Spectrum.of(data.train.x)
    point = beta_optimum(spectrum, 2, beta, 0.3 * float(spectrum.eigenvalues[0]) / beta)
    found = gaps(linear_vae_at(point).float().eval(), data.train.x, InferenceGap(observations=70, draws=50, steps=40))
    assert found[FAMILY] == pytest.approx(0, abs=1e-4 * beta)
    assert found[AMORTISATION] == pytest.approx(0, abs=1e-4 * beta)
    assert found[EVIDENCE] == pytest.approx(point.objective, abs=1e-3)


@pytest.mark.parametrize("posterior", ["Diagonal", "FullCovariance"])
@pytest.mark.parametrize("prior", ["StandardNormal", "VampPrior"])
def test_an_untrained_encoder_has_a_gap(data: DataModule, posterior: str, prior: str) -> None:
    model = vae(data, posterior=posterior, prior=prior, beta=1.0, likelihood={"name": "Gaussian", "variance": 0.05})
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = gaps(model, data.train.x)
    assert found[AMORTISATION] > 0
    assert found[FAMILY] > -1e-6
    assert found == gaps(model, data.train.x)
    assert found != gaps(model, data.train.x, seed=1)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("beta", [0.7, 2.0])
def test_three_gaps_are_what_lacks_to_the_ceiling(data: DataModule, beta: float) -> None:
    """By the draws of two measurements: each may be wrong by 5 Monte-Carlo errors, once in 1.7 million."""
    model = vae(data, beta=beta)
    below = below_the_ceiling(model, data, Cache(None, 20))
    found = below.joined_with(estimate(model, data.batches("train"), [FEW], 0))
    whole = found.joined_with(decoder_gap(found, "train"))
    numbers = {e.name: e for e in whole.estimates}
    parts = [numbers[name] for name in (DECODER, FAMILY, AMORTISATION)]
    error = sum(e.monte_carlo_error for e in (*parts, numbers[BELOW]))
    assert sum(e.value for e in parts) == pytest.approx(numbers[BELOW].value, abs=5 * error)
    assert numbers[DECODER].value > 0
    assert whole.descriptions[DECODER].heading


def test_a_gap_to_the_ceiling_needs_the_same_observations(data: DataModule) -> None:
    model = vae(data)
    below = below_the_ceiling(model, data, Cache(None, 10))
    assert decoder_gap(below, "train") == Measurement([], {})
    found = below.joined_with(estimate(model, data.batches("train"), [FEW], 0))
    assert decoder_gap(found, "train").not_applicable == {DECODER: Absent.OTHER_OBSERVATIONS.value}
    assert decoder_gap(found, "test").not_applicable == {DECODER: Absent.OTHER_OBSERVATIONS.value}


def test_the_gap_to_the_ceiling_is_missing_for_the_reason_of_what_it_needs(data: DataModule) -> None:
    model, ours = vae(data), Absent.NOT_ASKED.value
    without_ceiling = below_the_ceiling(model, data, Cache(None, 0))
    gap = estimate(model, data.batches("train"), [FEW], 0)
    assert decoder_gap(without_ceiling.joined_with(gap), "train").not_applicable == {DECODER: ours}
    below, theirs = below_the_ceiling(model, data, Cache(None, 10)), "no posterior"
    refused = Measurement([], {EVIDENCE: theirs})
    assert decoder_gap(below.joined_with(refused), "train").not_applicable == {DECODER: theirs}


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"name": "AE"}, "AE has no posterior with a rate"),
        ({"posterior": "Flow"}, "the posterior of BetaVAE is a flow"),
        ({"name": "HierarchicalVAE"}, "the best one is sought for normal distributions"),
        ({"beta": 0.0}, "β = 0"),
    ],
)
def test_a_blank_has_its_reason(data: DataModule, spec: dict[str, object], reason: str) -> None:
    model = MODELS.build({"name": "BetaVAE", "latent_dim": 2, "likelihood": "Gaussian", **spec}, data.shape, 0)
    found = estimate(model, [Batch(data.train.x)], [FEW], 0)
    assert {*found.not_applicable} == {EVIDENCE, FAMILY, AMORTISATION}
    assert all(reason in why for why in found.not_applicable.values())
