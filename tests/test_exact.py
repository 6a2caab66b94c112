"""The ruler held against the truth: a linear VAE at its exact optimum, and bounds below an exact evidence."""

from itertools import cycle

import pytest
import torch

from vaebench import oracle
from vaebench.config.registry import DATASETS, MODELS
from vaebench.config.seeding import generator
from vaebench.data.datamodule import DataModule
from vaebench.data.loaders import Batch
from vaebench.evaluation import bounds
from vaebench.evaluation.measure import build_metrics, measure
from vaebench.models.linear_vae import LinearVAE
from vaebench.oracle.probabilistic_pca import ProbabilisticPCA
from vaebench.oracle.spectrum import Spectrum

SIZES = [
    {"dim": 6, "latent_dim": 2, "noise": 0.3},
    {"dim": 16, "latent_dim": 4, "noise": 0.1},
    {"dim": 40, "latent_dim": 7, "noise": 2.5, "data_seed": 3},
]


def data_of(**size) -> DataModule:
    data = DataModule(DATASETS.build({"name": "LinearGaussian", "n": 1500, **size}), batch_size=256)
    data.setup()
    return data


def at_optimum(point: oracle.StationaryPoint, dim: int) -> LinearVAE:
    """The linear VAE whose parameters are the closed form's."""
    latent_dim = point.model.weight.shape[1]
    model = MODELS.build(
        {"name": "LinearVAE", "latent_dim": latent_dim, "likelihood": {"name": "Gaussian", "variance": point.variance}},
        (dim,),
        0,
    ).double()
    posterior = point.posterior
    with torch.no_grad():
        model.decoder[0].weight.copy_(point.model.weight)
        model.decoder[0].bias.copy_(point.model.mean)
        model.encoder[1].weight.copy_(posterior.weight)
        model.encoder[1].bias.copy_(posterior.bias)
        model.log_variance.copy_(posterior.covariance.diagonal().log())
    return model


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_at_the_optimum_every_log_weight_is_the_evidence(size):
    """σ² and W by maximum likelihood: the posterior is exact, so nothing is left of the draw, to 1e-9 in float64."""
    data = data_of(**size)
    x = data.train.x.double()
    point = oracle.maximum_likelihood(Spectrum.of(x), size["latent_dim"])
    model = at_optimum(point, size["dim"])
    drawn = model.draws(Batch(x), 20, generator(0, "evaluation"))
    exact = point.model.log_prob(x)
    assert float((drawn.log_weight - exact).abs().max()) < 1e-9
    for k in (1, 4, 20):
        assert float((bounds.iwae(drawn.log_weight, k) - exact).abs().max()) < 1e-9
    with torch.no_grad():
        objective = model.objective(x, model.noise(len(x), generator(0, "noise")).double())
    assert float((objective - exact).abs().max()) < 1e-9


VAES = [m for m in MODELS if MODELS[m].stochastic and MODELS[m].trained_by_gradient]


@pytest.mark.parametrize(("name", "size"), [*zip(VAES, cycle(SIZES), strict=False)], ids=str)
def test_no_bound_exceeds_the_exact_evidence(name, size):
    """ELBO ≤ IWAE-k ≤ log p(x), where p is the model's own density.

    A model with a fixed linear decoder has an exact evidence whatever its encoder: here W and σ² of the data, and an
    encoder that knows nothing. Means over 1050 observations of the upper bound log p(x); the bounds lie below by more
    than the 5 standard errors of their difference, so a false alarm is out of reach.
    """
    data = data_of(**size)
    x = data.train.x
    extra = {} if name == "LinearVAE" else {"network": "Affine"}
    extra |= {"steps": 1} if name == "AugmentedFlow" else {}
    likelihood = {"name": "Gaussian", "variance": size["noise"]}
    model = MODELS.build({"name": name, "latent_dim": 3, "likelihood": likelihood, **extra}, (size["dim"],), 0)
    model.prepare(x)
    exact = ProbabilisticPCA(
        model.decoder[0].bias.detach().double(), model.decoder[0].weight.detach().double(), size["noise"]
    ).log_prob(x.double())
    drawn = model.draws(Batch(x), 100, generator(0, "evaluation"))
    estimates = torch.stack([bounds.iwae(drawn.log_weight, k) for k in (1, 10, 100)])
    assert (estimates.diff(dim=0) >= -1e-9).all()
    assert float((estimates - exact).mean(1).max()) < 0


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_data_sets_evidence_is_above_what_a_model_of_it_reaches(size):
    """The mean evidence under the truth exceeds that under any model, up to the noise of 1050 observations: for a model
    fitted to them by at most about parameters/(2·1050) nats (Wilks), three times that is allowed."""
    data = data_of(**size)
    x = data.train.x.double()
    fitted = oracle.maximum_likelihood(Spectrum.of(x), size["latent_dim"])
    parameters = size["dim"] * (size["latent_dim"] + 1) + 1
    excess = float((fitted.model.log_prob(x) - data.dataset.evidence(x)).mean())
    assert 0 < excess < 3 * parameters / (2 * len(x))


def test_the_measured_numbers_at_the_optimum_are_the_oracles():
    """Rate, distortion and active units of `measure`, against the closed form: 400 draws of 1050 observations, within 5
    Monte-Carlo errors (a false alarm once in a million)."""
    data = data_of(**SIZES[1])
    x = data.train.x.double()
    point = oracle.beta_optimum(Spectrum.of(x), 6, 4.0, 0.1)
    model = at_optimum(point, 16)
    model.beta.fill_(4.0)
    seen = {e.name: e for e in measure(model, [Batch(x)], build_metrics(None), 400, 0).estimates}
    assert abs(seen["rate"].value - point.rate) < 5 * seen["rate"].monte_carlo_error
    assert abs(seen["distortion"].value - point.distortion) < 5 * seen["distortion"].monte_carlo_error
    assert seen["active_units"].value == oracle.forecast(Spectrum.of(x), 6, 0.4).active_units == 4
    spectrum = point.variance_of_mean().sort(descending=True).values
    measured = torch.tensor(seen["variance_spectrum"].value, dtype=torch.float64)
    torch.testing.assert_close(measured, spectrum, rtol=1e-9, atol=1e-12)
