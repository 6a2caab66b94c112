"""Estimators of the evidence against exact answers; blank, or one clear error, where there is none.

`ErasedOrShifted`, which estimates no evidence, has `test_erased_or_shifted.py`.
"""

import math
import re
import sys
from collections.abc import Callable

import pytest
import torch

from vaebench import oracle
from vaebench.config.registry import ESTIMATORS, LIKELIHOODS, MODELS, PRIORS
from vaebench.data.loaders import Batch
from vaebench.evaluation.estimators.base import EvidenceEstimator, evenly_spaced, mean_over_observations, part_of
from vaebench.evaluation.measure import Measurement, build_estimators, estimate
from vaebench.models.draws import ChunkSize
from vaebench.models.linear_vae import LinearVAE
from vaebench.models.parts.posteriors import Form
from vaebench.models.vae import VAE
from vaebench.oracle.spectrum import Spectrum
from vaebench.records.description import Panel, Role, Weights, Within
from vaebench.records.record import Estimate

CHEAP = {
    "NaiveMonteCarlo": {"observations": 12, "draws": 2000},
    "AnnealedImportanceSampling": {
        "observations": 12, "chains": 8, "temperatures": 40, "leapfrog": 3, "acceptance": 0.65,
    },
}  # fmt: skip
"""Sizes for tests; every registered estimator of the evidence has an entry."""

EVIDENCE_ESTIMATORS = [name for name in ESTIMATORS if issubclass(ESTIMATORS[name], EvidenceEstimator)]


def cheap(name: str, **changed: object) -> dict[str, object]:
    return {"name": name, **CHEAP[name], **changed}


def at_optimum(eigenvalues: list[float], latent_dim: int, variance: float) -> tuple[LinearVAE, oracle.StationaryPoint]:
    """The linear VAE at the maximum of its ELBO on data of a spectrum, in float64, and what the oracle knows of it."""
    dim = len(eigenvalues)
    turn = torch.linalg.qr(torch.randn(dim, dim, generator=torch.Generator().manual_seed(dim), dtype=torch.float64))[0]
    point = oracle.beta_optimum(Spectrum.given(eigenvalues, turn, torch.arange(dim) / 10), latent_dim, 1.0, variance)
    likelihood = {"name": "Gaussian", "variance": variance}
    spec = {"name": "LinearVAE", "latent_dim": latent_dim, "likelihood": likelihood}
    model: LinearVAE = MODELS.build(spec, (dim,), 0).double()
    with torch.no_grad():
        model.decoder[0].weight.copy_(point.model.weight)
        model.decoder[0].bias.copy_(point.model.mean)
        model.encoder[1].weight.copy_(point.posterior.weight)
        model.encoder[1].bias.copy_(point.posterior.bias)
        model.log_variance.copy_(point.posterior.covariance.diagonal().log())
    return model, point


def found(model: torch.nn.Module, x: torch.Tensor, *specs: object, seed: int = 0) -> dict[str, Estimate]:
    seen = estimate(model, [Batch(x)], build_estimators(specs), seed)
    assert not seen.not_applicable
    return {e.name: e for e in seen.estimates}


@pytest.mark.parametrize("name", EVIDENCE_ESTIMATORS)
def test_every_estimator_comes_to_the_exact_evidence(name: str) -> None:
    """A linear VAE at the oracle's optimum, where all are good: within 0.1 nat, and within 6 Monte-Carlo errors.

    The estimate lies below by a bias that the Monte-Carlo error does not hold, so no rate of false alarms is claimed
    beyond the seed that is fixed.
    """
    model, point = at_optimum([3.0, 1.5, 0.6, 0.2], 2, 0.5)
    x = point.spectrum.points
    seen = found(model, x, cheap(name))
    lower = seen[next(iter(ESTIMATORS.build(cheap(name)).columns))]
    exact = float(point.model.log_prob(evenly_spaced([Batch(x)], lower.n).x).mean())
    assert abs(lower.value - exact) < 0.1
    assert abs(lower.value - exact) < 6 * lower.monte_carlo_error


@pytest.mark.parametrize("name", EVIDENCE_ESTIMATORS)
def test_columns_are_those_estimated(name: str) -> None:
    model, point = at_optimum([3.0, 1.5, 0.6], 2, 0.5)
    seen = found(model, point.spectrum.points, cheap(name, **few(name)))
    assert list(seen) == list(ESTIMATORS.build(cheap(name)).columns)
    assert all(math.isfinite(e.value) and e.n == 6 for e in seen.values())


@pytest.mark.parametrize("name", EVIDENCE_ESTIMATORS)
def test_every_column_has_a_heading_and_none_stands_for_the_whole_split(name: str) -> None:
    """Bits per dimension are of the tightest bound at hand, and an estimate on some observations is none of those."""
    for description in ESTIMATORS.build(name).columns.values():
        assert description.heading
        assert (description.panel, description.within) == (Panel.EVIDENCE, Within.OBSERVATIONS)
        assert description.role is not Role.BOUND


@pytest.mark.parametrize("name", EVIDENCE_ESTIMATORS)
@pytest.mark.parametrize("model", MODELS)
def test_an_estimator_measures_a_model_or_says_why_not(name: str, model: str) -> None:
    built = MODELS.build({"name": model, "likelihood": "Gaussian", "latent_dim": 2}, (1, 2, 2), 0)
    training = built.training
    seen = estimate(built, [Batch(torch.rand(3, 1, 2, 2))], build_estimators([cheap(name, **few(name))]), 0)
    columns = set(ESTIMATORS.build(cheap(name)).columns)
    assert built.training == training
    if built.stochastic and built.form is not Form.NONE:
        assert {e.name for e in seen.estimates} == columns
        assert not seen.not_applicable
    else:
        reason = f"{model} has no prior p(z)" + ("" if built.stochastic else ", and so no log p(x)")
        assert seen == Measurement([], dict.fromkeys(columns, reason))


def few(name: str) -> dict[str, int]:
    return {"draws": 50} if name == "NaiveMonteCarlo" else {"chains": 2, "temperatures": 4, "leapfrog": 2}


# -- linear-Gaussian models, where every answer is known --------------------------------------------------------------

HARD = [  # eigenvalues, L, σ², temperatures
    ([2.0] * 4, 3, 1.0, 40),  # degenerate
    ([10.0, 5.0, 2.0, 1.0, 0.5, 0.1], 4, 0.1, 120),
    ([5.0, 1.0, 0.3], 7, 0.5, 40),  # more units than directions that pay
    ([10.0, 3.0, 1.0, 1e-3, 1e-3], 3, 1e-3, 120),
]


@pytest.mark.slow
@pytest.mark.parametrize(("eigenvalues", "latent_dim", "variance", "temperatures"), HARD)
def test_annealing_comes_to_the_exact_evidence(
    eigenvalues: list[float], latent_dim: int, variance: float, temperatures: int
) -> None:
    """Within 0.1 nat on observations of the model's own distribution; and the bracket holds their mean evidence.

    That mean is −½(D log 2πe + log det C), the bounds are of 20 draws of it whose evidence has the variance D/2: 5
    standard errors √(D/40) beside the 0.1 nat, a false alarm once in a million.
    """
    model, point = at_optimum(eigenvalues, latent_dim, variance)
    dim, covariance = len(eigenvalues), point.model.covariance
    noise = torch.randn(20, dim, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    x = point.model.mean + noise @ torch.linalg.cholesky(covariance).mT
    spec = cheap("AnnealedImportanceSampling", observations=20, chains=24, temperatures=temperatures, leapfrog=2)
    seen = found(model, x, spec)
    assert abs(seen["ais"].value - float(point.model.log_prob(x).mean())) < 0.1
    mean = -0.5 * (dim * math.log(2 * math.pi * math.e) + float(torch.logdet(covariance)))
    margin = 5 * math.sqrt(dim / 40) + 0.1
    assert seen["bdmc_lower"].value - margin < mean < seen["bdmc_upper"].value + margin
    # Markov, of 20 independent observations: the bounds are the wrong way round by 2 · 9.2/20 nats once in 5000.
    assert -2 * 9.2 / 20 < seen["bdmc_gap"].value < 0.2
    assert seen["bdmc_gap"].value == pytest.approx(seen["bdmc_upper"].value - seen["bdmc_lower"].value, abs=1e-9)


def test_naive_monte_carlo_collapses_where_annealing_does_not() -> None:
    """The rate is 20 nats and the draws are e^7.6: one draw of 2000 carries the mean, which is nats below."""
    model, point = at_optimum([10.0] * 6 + [0.01, 0.01], 6, 0.01)
    assert point.rate > 20
    x = point.spectrum.points
    naive, annealed = cheap("NaiveMonteCarlo"), cheap("AnnealedImportanceSampling", temperatures=100, bracket=False)
    seen = found(model, x, naive, annealed)
    exact = float(point.model.log_prob(evenly_spaced([Batch(x)], 12).x).mean())
    assert seen["naive_monte_carlo"].value < exact - 10
    assert seen["naive_monte_carlo_effective_sample_size"].value < 1.5
    assert seen["naive_monte_carlo"].unreliable
    assert not seen["ais"].unreliable
    assert abs(seen["ais"].value - exact) < 0.5
    assert "bdmc_lower" not in seen


def test_naive_monte_carlo_is_exact_where_the_latent_says_nothing() -> None:
    """Every unit has collapsed: p(x|z) = p(x) whatever z is, every weight is equal and all draws are effective."""
    model, point = at_optimum([1.0, 0.5, 0.2], 2, 1.5)
    x = point.spectrum.points
    seen = found(model, x, cheap("NaiveMonteCarlo", draws=100))
    assert seen["naive_monte_carlo"].value == pytest.approx(float(point.model.log_prob(x).mean()), abs=1e-9)
    assert seen["naive_monte_carlo_effective_sample_size"].value == pytest.approx(100)
    assert not seen["naive_monte_carlo"].unreliable
    assert seen["naive_monte_carlo"].monte_carlo_error == pytest.approx(0, abs=1e-6)


# -- models of which no answer is known -------------------------------------------------------------------------------


def quadrature(model: VAE, x: torch.Tensor, density: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """log ∫ p(z) p(x|z) dz over one latent unit by the trapezium rule, for a p(z) that is handed over."""
    z = torch.linspace(-12, 12, 4001, dtype=x.dtype)[:, None]
    with torch.no_grad():
        integrand = density(z) + model.decode(z[:, None, :]).log_prob(x).mT
    return torch.logsumexp(integrand.double(), 1) + math.log(24 / 4000)


def normal_density(mean: torch.Tensor, std: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    return -0.5 * ((z - mean) / std).square() - std.log() - 0.5 * math.log(2 * math.pi)


def move_mixture(model: VAE) -> None:
    model.prior.mean.add_(2.0)
    model.prior.logits.copy_(torch.linspace(-2, 2, 10))


def move_posteriors(model: VAE) -> None:
    model.encoder[-1].bias.copy_(torch.tensor([-2.0, -1.0]))


MOVE = {"GaussianMixture": move_mixture, "VampPrior": move_posteriors}
"""How the priors that training can move are moved. A new prior needs no entry."""


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("name", EVIDENCE_ESTIMATORS)
def test_log_p_z_is_the_model_s_prior(name: str, prior: str) -> None:
    """A Bernoulli VAE with hidden layers in float32, one latent unit, against the integral: within 0.05 nat.

    The density is the prior's own, which `test_priors.py` checks. A prior that can be moved is moved away from N(0, 1),
    so that the integral with N(0, 1) differs by more than 0.1 nat.
    """
    few = {key: min(20, p.default) for key, p in PRIORS.keywords(prior).items() if isinstance(p.default, int)}
    spec = {"name": "VAE", "latent_dim": 1, "network": {"name": "MLP", "hidden": [16, 16]}}
    model: VAE = MODELS.build({**spec, "prior": {"name": prior, **few}}, (1, 4, 4), 3).eval()
    stream = torch.Generator().manual_seed(0)
    x = (torch.rand(12, 1, 4, 4, generator=stream) > 0.5).float()
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.mul_(3.0)  # a decoder that tells its latents apart
        MOVE.get(prior, lambda _: None)(model)
        exact = float(quadrature(model, x, model.prior(model.encode).log_prob).mean())
        other = float(quadrature(model, x, lambda z: normal_density(torch.zeros(()), torch.ones(()), z)[:, 0]).mean())
    assert prior not in MOVE or abs(exact - other) > 0.1
    many = cheap(name, draws=40_000) if name == "NaiveMonteCarlo" else cheap(name, chains=64, bracket=False)
    estimated = next(iter(found(model, x, many).values()))
    assert abs(estimated.value - exact) < 0.05


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_every_likelihood_is_simulated_from_and_bracketed(name: str) -> None:
    model = MODELS.build({"name": "VAE", "latent_dim": 2, "likelihood": name}, (1, 3, 3), 0).eval()
    seen = found(
        model, torch.rand(6, 1, 3, 3).round(), cheap("AnnealedImportanceSampling", **few("AnnealedImportanceSampling"))
    )
    assert -2 * 9.2 / 6 < seen["bdmc_gap"].value < 1
    assert seen["bdmc_lower"].n == 6


# -- when something is wrong ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", EVIDENCE_ESTIMATORS)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_diverged_decoder_is_one_clear_error_and_a_blank_in_a_record(name: str, value: float) -> None:
    model = MODELS.build({"name": "VAE", "latent_dim": 2, "likelihood": "Gaussian"}, (1, 3, 3), 0).eval()
    with torch.no_grad():
        model.decoder[-2].bias.fill_(value)
    (estimator,), x = build_estimators([cheap(name)]), torch.rand(4, 1, 3, 3)
    message = "expected a finite log p(x|z) at samples of the prior"
    with pytest.raises(FloatingPointError, match=re.escape(message)):
        estimator.estimate(model, Batch(x), 0)
    seen = estimate(model, [Batch(x)], [estimator], 0)
    assert seen.estimates == []
    assert set(seen.not_applicable) == set(estimator.columns)
    assert all("train again with a lower model.learning_rate" in reason for reason in seen.not_applicable.values())


@pytest.mark.parametrize("name", EVIDENCE_ESTIMATORS)
def test_the_seed_decides_and_nothing_else_is_touched(name: str) -> None:
    """The same numbers again whatever torch's own generator did; the model, its mode and that generator as before."""
    model, point = at_optimum([3.0, 1.5, 0.6], 2, 0.5)
    model.train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    spec, x = cheap(name, **few(name)), point.spectrum.points
    state = torch.manual_seed(1).get_state()
    first = found(model, x, spec, seed=4)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert found(model, x, spec, seed=4) == first
    assert found(model, x, spec, seed=5) != first
    assert model.training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_observations_are_evenly_spaced_in_the_split() -> None:
    x, label = torch.arange(10.0)[:, None], torch.arange(10)
    batches = [Batch(x[:3], label[:3]), Batch(x[3:4], label[3:4]), Batch(x[4:], label[4:])]
    assert evenly_spaced(batches, 3).x[:, 0].tolist() == [0, 3, 6]
    assert evenly_spaced(batches, 5).x[:, 0].tolist() == [0, 2, 4, 6, 8]
    assert evenly_spaced(batches, 1).x[:, 0].tolist() == [0]
    assert evenly_spaced(batches, 10).x[:, 0].tolist() == list(range(10))
    assert evenly_spaced(batches, 99).x[:, 0].tolist() == list(range(10))
    assert evenly_spaced(batches, 3).label.tolist() == [0, 3, 6]
    assert evenly_spaced([Batch(x)], 3).label is None


def test_what_an_estimate_was_taken_over_is_equal_where_the_observations_are() -> None:
    """And says nothing of the whole split, however many are asked for."""
    parts = {(total, count): part_of(total, count) for total in range(1, 30) for count in range(1, 30)}
    for (total, count), told in parts.items():
        assert (told is None) == (count >= total)
    told = [part for part in parts.values() if part is not None]
    assert len(set(told)) == len(told)
    assert part_of(360, 4) == part_of(360, 4)
    assert str(part_of(360, 4)).startswith("4 of 360, ")


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimate_says_over_which_observations(name: str) -> None:
    """All of an estimator's, arrays as well; those of observations that the model simulates differ with the seed."""
    model = MODELS.build({"name": "VAE", "latent_dim": 2, "likelihood": "Gaussian"}, (1, 3, 3), 0).eval()
    x = torch.rand(30, 1, 3, 3)
    small = cheap(name, **few(name)) if name in CHEAP else {"name": name}

    def over(count: int, seed: int = 0) -> dict[str, str | None]:
        seen = estimate(model, [Batch(x[:7]), Batch(x[7:])], build_estimators([{**small, "observations": count}]), seed)
        return {e.name: e.over for e in seen.estimates}

    whole, part, reseeded, larger = over(30), over(10), over(10, 1), over(12)
    observed = {column for column, number in whole.items() if number is None}
    assert observed
    for column, number in part.items():
        assert str(number).startswith("10 of 30, " if column in observed else "10 simulated, ")
        assert (reseeded[column] == number) == (column in observed)
        assert larger[column] != number


def test_many_chains_are_taken_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts are fewer observations at once, not other ones."""
    model, point = at_optimum([3.0, 1.5, 0.6], 2, 0.5)
    module = sys.modules[ESTIMATORS["AnnealedImportanceSampling"].__module__]
    monkeypatch.setattr(module, "ROWS", ChunkSize(32, 32))
    seen = found(model, point.spectrum.points, cheap("AnnealedImportanceSampling", temperatures=20, leapfrog=2))
    assert {e.n for e in seen.values()} == {6}
    assert abs(seen["ais"].value - float(point.model.log_prob(point.spectrum.points).mean())) < 0.2


def test_a_mean_states_its_errors() -> None:
    values, noise = torch.tensor([1.0, 2.0, 6.0]), torch.tensor([0.5, 0.5, 1.25])
    weights = Weights(0.9, 2.0, 100)
    stated = mean_over_observations("a", values, noise, weights)
    assert stated == Estimate("a", 3.0, pytest.approx(math.sqrt(7 / 3)), 3, pytest.approx(0.5), weights=weights)
    assert mean_over_observations("a", values[:1]) == Estimate("a", 1.0, None, 1)
