"""The decomposition of the rate against linear-Gaussian models, where every part has a closed form."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, Normal

from vaebench.config.registry import METRICS, MODELS
from vaebench.data.loaders import Batch
from vaebench.evaluation.measure import build_metrics, measure
from vaebench.models.draws import Draws
from vaebench.oracle.probabilistic_pca import LinearPosterior
from vaebench.records.record import Estimate

BOTH = ("RateDecomposition", "TotalCorrelation")
PARTS = ("mutual_information", "aggregate_kl", "total_correlation", "dimension_kl")


def posterior(units: int, seed: int, strength: float = 1.0, std: float = 1.0) -> LinearPosterior:
    """A linear posterior on observations of as many dimensions as units; correlated units, none of them the prior."""
    stream = torch.Generator().manual_seed(seed)
    weight = strength * torch.randn(units, units, generator=stream, dtype=torch.float64) / units**0.5
    bias, spread = (torch.randn(units, generator=stream, dtype=torch.float64) for _ in range(2))
    return LinearPosterior.diagonal(weight, 0.3 * bias, (std * (0.3 * spread).exp()) ** 2)


def drawn(q: LinearPosterior, n: int, seed: int, kept: int = 1) -> Draws:
    """What a model with this posterior and the prior N(0, I) says of n observations x ~ N(0, I)."""
    stream = torch.Generator().manual_seed(seed)
    x = torch.randn(n, q.weight.shape[1], generator=stream, dtype=torch.float64)
    mean, std = q.mean(x), q.covariance.diagonal().sqrt().expand(n, -1)
    z = mean + std * torch.randn(kept, *mean.shape, generator=stream, dtype=torch.float64)
    log_pz, log_qz = (Independent(d, 1).log_prob(z) for d in (Normal(torch.zeros_like(mean), 1.0), Normal(mean, std)))
    return Draws(x, None, Normal(mean, std), x, z, torch.zeros_like(log_pz), log_pz, log_qz)


def computed(draws: Draws, *names: str) -> dict[str, Estimate]:
    found = {}
    for name in names or BOTH:
        metric = METRICS.build(name)
        metric.update(draws)
        found |= {e.name: e for e in metric.compute()}
    return found


def exact(q: LinearPosterior) -> dict[str, float]:
    parts = q.decompose(torch.zeros(q.weight.shape[1]), torch.eye(q.weight.shape[1]))
    return dict(
        zip(
            PARTS,
            (parts.mutual_information, parts.aggregate_kl, parts.total_correlation, float(parts.dimension_kl.sum())),
            strict=True,
        )
    )


def expected(q: LinearPosterior, n: int) -> dict[str, float]:
    """The exact parts plus what the docstrings say a split of n adds, to first order."""
    whole = q.decompose(torch.zeros(q.weight.shape[1]), torch.eye(q.weight.shape[1]))
    aggregate = (q.weight @ q.weight.mT + q.covariance).diagonal()
    units = float((aggregate / q.covariance.diagonal() - 1).sum()) / (2 * n)  # e^{2I_i} − 1
    shift = (whole.split_bias(n), -whole.split_bias(n), -whole.split_bias(n) - units, units)
    return {name: value + s for (name, value), s in zip(exact(q).items(), shift, strict=True)}


@pytest.mark.parametrize(
    ("units", "n", "strength"),
    [(1, 100, 1.0), (2, 300, 1.0), (3, 1000, 0.7), (6, 2000, 0.5), (2, 10_000, 1.5), (2, 1000, 0.0)],
)
def test_parts_are_the_closed_forms_within_their_stated_errors(units: int, n: int, strength: float) -> None:
    """Within 4.5 standard errors and a fifth of the split's bias, the bound on its second order; false alarms: 24 tests
    of 7e-6, 2e-4 in all.
    """
    q = posterior(units, units, strength)
    found, bias = computed(drawn(q, n, seed=n)), exact(q)
    for name, value in expected(q, n).items():
        allowed = 4.5 * found[name].standard_error + 0.2 * abs(value - bias[name]) + 1e-12
        assert abs(found[name].value - value) <= allowed, name


def test_units_are_measured_one_by_one() -> None:
    """Each within 4.5 standard errors, the same for all; five units at n = 3000: false alarms 3e-5."""
    q = posterior(5, 11, 0.5)
    found = computed(drawn(q, 3000, 0), "TotalCorrelation")["dimension_kl_per_unit"].value
    truth = q.decompose(torch.zeros(5), torch.eye(5)).dimension_kl
    np.testing.assert_allclose(found, truth, atol=4.5 * float((2 * truth + 0.1).max() / 3000) ** 0.5)


def test_standard_errors_are_the_spread_over_splits() -> None:
    """Over 200 splits of n = 200, the variance of (measured − expected)/standard error is 1 ± 0.4, four of its own
    standard errors √(2/200): false alarms 4 × 6e-5.
    """
    q, n = posterior(2, 5), 200
    scores = {name: [] for name in PARTS}
    for seed in range(200):
        found = computed(drawn(q, n, seed))
        for name, value in expected(q, n).items():
            scores[name].append((found[name].value - value) / found[name].standard_error)
    for name, values in scores.items():
        assert abs(np.mean(np.square(values)) - 1) < 0.4, name


def test_bias_of_a_split_is_the_predicted_one() -> None:
    """The luck of the draws taken out by the exact densities at the same draws, 300 splits of n = 100: the mean is the
    predicted bias within 4 standard errors (4 tests: false alarms 3e-4) and 15 % of it, for the second order.
    """
    q, n = posterior(2, 8, 0.8), 100
    aggregate = MultivariateNormal(q.bias, q.weight @ q.weight.mT + q.covariance)
    units = Normal(q.bias, aggregate.variance.sqrt())
    off: dict[str, list[float]] = {name: [] for name in PARTS}
    for seed in range(300):
        draws = drawn(q, n, seed)
        found, log_q, log_units = computed(draws), aggregate.log_prob(draws.z), units.log_prob(draws.z).sum(-1)
        lucky = (draws.log_qz - log_q, log_q - draws.log_pz, log_q - log_units, log_units - draws.log_pz)
        for name, values in zip(PARTS, lucky, strict=True):
            off[name].append(found[name].value - float(values.mean()))
    for name, value in expected(q, n).items():
        predicted = value - exact(q)[name]
        allowed = 4 * np.std(off[name]) / 300**0.5 + 0.15 * abs(predicted)
        assert abs(np.mean(off[name]) - predicted) < allowed, name


@pytest.mark.parametrize("kept", [1, 3])
def test_parts_add_up_to_the_rate_of_the_same_draws(kept: int) -> None:
    """In double precision to 1e-9 nats; nothing is remarked, and the identity stands in the record."""
    draws = drawn(posterior(4, 2), 500, 0, kept)
    found, rate = computed(draws), float((draws.log_qz - draws.log_pz).mean())
    value = {name: found[name].value for name in PARTS}
    assert math.isclose(value["mutual_information"] + value["aggregate_kl"], rate, abs_tol=1e-9)
    assert math.isclose(value["total_correlation"] + value["dimension_kl"], value["aggregate_kl"], abs_tol=1e-9)
    total, information, correlation, units, gap, rounding = found["rate_identity"].value
    assert math.isclose(total, rate, abs_tol=1e-12)
    assert math.isclose(information + correlation + units + gap, rate, abs_tol=1e-9)
    assert abs(gap) < rounding < 1e-9
    assert all(found[name].note is None for name in PARTS)
    assert all((found[name].monte_carlo_error is None) == (kept == 1) for name in PARTS)


def test_more_kept_draws_leave_the_monte_carlo_error_that_is_stated() -> None:
    """64 times 4 other draws of the same observations: their spread is the stated error within a factor of 0.65 to 1.35
    (four standard errors of a standard deviation of 64, 1/√128: false alarms 1e-4).
    """
    q = posterior(2, 4)
    draws, values, stated = drawn(q, 100, 0), [], []
    for seed in range(64):
        other = drawn(q, 100, seed, kept=4)
        z = draws.posterior.mean + other.z - other.posterior.mean
        log_pz = Normal(0.0, 1.0).log_prob(z).sum(-1)
        found = computed(draws._replace(z=z, log_pz=log_pz, log_qz=draws.posterior.log_prob(z).sum(-1)))
        values.append(found["mutual_information"].value)
        stated.append(found["mutual_information"].monte_carlo_error)
    assert 0.65 < np.std(values, ddof=1) / np.mean(stated) < 1.35


def test_densities_that_contradict_the_posterior_are_remarked_on() -> None:
    """A log q(z|x) or a prior other than the one that the parts are made of shows beside every number."""
    draws = drawn(posterior(3, 0), 200, 0)
    found = computed(draws._replace(log_qz=draws.log_qz + 0.01))
    assert all("miss the rate of the same draws by 0.01 nats" in found[name].note for name in PARTS)
    found = computed(draws._replace(log_pz=draws.log_pz + 0.01))
    assert "miss the rate" in found["dimension_kl"].note
    assert found["aggregate_kl"].note is None  # of any prior


def test_too_small_a_split_stops_at_its_cap_and_says_so() -> None:
    """I = 6.2 nats exactly; 50 observations can show log 50 = 3.912, and 4000 within a nat of the truth."""
    q = posterior(4, 3, 3.0, std=0.3)
    found = computed(drawn(q, 50, 0))
    assert exact(q)["mutual_information"] > 6
    assert math.log(50) - 0.1 < found["mutual_information"].value <= math.log(50)
    assert math.isclose(found["mutual_information_cap"].value, math.log(50))
    assert found["mutual_information"].note == "saturated: within 0.1 nats of its cap log N = 3.912"
    assert found["aggregate_kl"].note == found["mutual_information"].note
    more = computed(drawn(q, 4000, 0), "RateDecomposition")["mutual_information"]
    assert more.note is None
    assert more.value > exact(q)["mutual_information"] - 1


def test_a_posterior_that_ignores_x_has_nothing_to_tell() -> None:
    """q(z|x) = N(0, I) for all x: every part is 0, whatever the draws."""
    q = LinearPosterior.diagonal(torch.zeros(3, 3), torch.zeros(3), torch.ones(3))
    np.testing.assert_allclose([computed(drawn(q, 80, 0))[name].value for name in PARTS], 0, atol=1e-12)


@pytest.mark.parametrize("prior", ["GaussianMixture", {"name": "VampPrior", "pseudo_inputs": 7}, "StandardNormal"])
def test_models_are_measured_by_their_own_prior(prior: object) -> None:
    """Against log q(z) summed over [N, N, L] and the model's log p(z); parts by unit only where the prior has them."""
    model = MODELS.build({"name": "VAE", "prior": prior, "latent_dim": 3, "likelihood": "Gaussian"}, (1, 4, 4), 0)
    x = torch.rand(40, 1, 4, 4)
    model.prepare(x)
    seen = measure(model, [Batch(x[:33]), Batch(x[33:])], build_metrics(BOTH), 2, 0)
    found = {e.name: e for e in seen.estimates}
    again = measure(model, [Batch(x[:33]), Batch(x[33:])], [keeper := Keeper()], 2, 0)
    assert not again.not_applicable
    draws = keeper.draws()
    table = draws.posterior.log_prob(draws.z[0][:, None]).sum(-1).double()  # [z, posterior]
    log_q = table.logsumexp(1) - math.log(40)
    np.testing.assert_allclose(found["mutual_information"].value, (table.diagonal() - log_q).mean(), atol=1e-5)
    np.testing.assert_allclose(found["aggregate_kl"].value, (log_q - draws.log_pz[0].double()).mean(), atol=1e-5)
    assert found["mutual_information"].note is None
    units = {"total_correlation", "dimension_kl"}
    assert units <= (found.keys() if model.standard_normal_prior else seen.not_applicable.keys())
    assert not units & (seen.not_applicable.keys() if model.standard_normal_prior else found.keys())
    assert all("is not N(0, I)" in seen.not_applicable[name] for name in units & seen.not_applicable.keys())


class Keeper(METRICS["RateDecomposition"]):
    """Measures nothing and keeps what it was shown."""

    def compute(self) -> tuple[Estimate, ...]:
        return ()

    def draws(self) -> Draws:
        mean, std, z, log_pz, log_qz = map(torch.cat, (self.mean, self.std, self.z, self.log_pz, self.log_qz))
        return Draws(mean, None, Normal(mean, std), mean, z.transpose(0, 1), log_qz.mT, log_pz.mT, log_qz.mT)
