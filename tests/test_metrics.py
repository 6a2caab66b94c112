"""Every metric: the same batchwise, whole and over ranks; against references; blank where it must be."""

import json
import socket
import sys
from math import isclose
from pathlib import Path
from subprocess import PIPE, Popen

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from vaebench.config.registry import METRICS, MODELS, PRIORS
from vaebench.data.loaders import Batch
from vaebench.evaluation.measure import build_metrics, measure
from vaebench.models.draws import Draws
from vaebench.records.description import LAST
from vaebench.records.record import Estimate, NotApplicable
from vaebench.sweeps import meanings

N, K, L = 23, 20, 4


def drawn(seed: int = 0) -> Draws:
    """Draws of no model in particular, three of the units nearly collapsed."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=g)

    scale = torch.tensor([1.0, 0.3, 0.02, 0.001])
    posterior = Normal(normal(N, L) * scale, 1 - 0.9 * scale)
    return Draws(
        torch.rand(N, 1, 4, 4, generator=g), torch.arange(N) % 3, posterior, torch.rand(N, 1, 4, 4, generator=g),
        normal(2, N, L), -50 + normal(K, N), -5 + normal(K, N), normal(K, N),
    )  # fmt: skip


def part(draws: Draws, chosen: slice) -> Draws:
    return Draws(
        draws.x[chosen], draws.label[chosen], Normal(draws.posterior.mean[chosen], draws.posterior.stddev[chosen]),
        draws.reconstruction[chosen], draws.z[:, chosen], draws.log_px[:, chosen], draws.log_pz[:, chosen],
        draws.log_qz[:, chosen],
    )  # fmt: skip


def computed(name: str, parts: list[Draws]) -> tuple:
    metric = METRICS.build(name)
    for piece in parts:
        metric.update(piece)
    return metric.compute()


def merged(name: str, first: list[Draws], second: list[Draws]) -> tuple:
    """As two processes would: each state reduced as it declares."""
    ranks = []
    for pieces in (first, second):
        metric = METRICS.build(name)
        for piece in pieces:
            metric.update(piece)
        ranks.append(metric)
    whole = ranks[0]
    whole.merge_state(ranks[1])
    return whole.compute()


def assert_same(left: tuple, right: tuple) -> None:
    assert [e.name for e in left] == [e.name for e in right]
    for a, b in zip(left, right, strict=True):
        if isinstance(a, NotApplicable):
            assert a == b
            continue
        np.testing.assert_allclose(a.value, b.value, rtol=1e-10, atol=1e-12)
        assert a.n == b.n
        assert (a.standard_error is None) == (b.standard_error is None)
        assert a.standard_error is None or isclose(a.standard_error, b.standard_error, rel_tol=1e-8)


@pytest.mark.parametrize("name", METRICS)
def test_whole_batchwise_and_over_two_ranks_are_one_number(name):
    draws = drawn()
    whole = computed(name, [draws])
    pieces = [part(draws, slice(a, b)) for a, b in ((0, 1), (1, 10), (10, 12), (12, N))]
    assert_same(whole, computed(name, pieces))
    assert_same(whole, merged(name, pieces[:1], pieces[1:]))
    assert_same(whole, merged(name, pieces[2:], pieces[:2]))


@pytest.mark.slow
def test_two_processes_measure_what_one_does():
    """Over gloo, with sixteen observations in one and seven in the other; both end with the number of all."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    program = str(Path(__file__).with_name("two_processes.py"))
    both = [Popen([sys.executable, program, rank, port], stdout=PIPE, text=True) for rank in "01"]
    said = [json.loads(process.communicate(timeout=110)[0]) for process in both]
    assert said[0].keys() == said[1].keys() == set(METRICS)
    for ours in said:
        for name in METRICS:
            found = tuple((NotApplicable if blank else Estimate)(*fields) for blank, fields in ours[name])
            assert_same(found, computed(name, [drawn()]))


@pytest.mark.parametrize("name", METRICS)
def test_columns_are_those_computed(name):
    """A column is there with a number or with the reason why there is none."""
    numbers = [
        e.name for e in computed(name, [drawn()]) if isinstance(e, NotApplicable) or not isinstance(e.value, list)
    ]
    assert numbers == list(METRICS.build(name).columns(K))


def test_every_column_has_a_heading_and_a_place_of_its_own():
    """Numbers of metrics, estimators and known truths, and facts of models."""
    described = meanings.descriptions()
    assert all(d.heading and d.place < LAST for d in described.values())
    places = [(d.panel, d.place) for n, d in described.items() if not n.startswith("iwae_")]
    assert len(places) == len(set(places))


@pytest.mark.parametrize("name", METRICS)
def test_every_estimate_says_how_many_observations_it_rests_on(name):
    assert all(e.n == N for e in computed(name, [drawn()]) if isinstance(e, Estimate))


@pytest.mark.parametrize("name", METRICS)
def test_one_observation_has_no_standard_error(name):
    """An error of 0 would say that the number is exact."""
    found = computed(name, [part(drawn(), slice(0, 1))])
    assert all(e.standard_error is None for e in found if isinstance(e, Estimate))


@pytest.mark.parametrize("unit", [1, 3], ids=["active", "collapsed"])
@pytest.mark.parametrize("name", METRICS)
def test_a_code_that_is_not_a_number_gives_no_other_number(name, unit):
    """Each number is as before, if it does not depend on this unit, or not finite. Else NaN would seem to collapse."""
    draws = drawn()
    mean = draws.posterior.mean.clone()
    mean[2, unit] = torch.nan
    broken = draws._replace(posterior=Normal(mean, draws.posterior.stddev, validate_args=False))
    before = {e.name: e.value for e in computed(name, [draws]) if isinstance(e, Estimate)}
    after = {e.name: e.value for e in outcome(name, broken) if isinstance(e, Estimate)}
    others = {n: v for n, v in after.items() if not isinstance(v, list) and np.isfinite(v)}
    assert others == {n: before[n] for n in others}


def outcome(name: str, draws: Draws) -> tuple:
    """What a metric gives, or nothing if it refuses the draws."""
    try:
        return computed(name, [draws])
    except (ValueError, FloatingPointError):
        return ()


def kinds() -> list[dict[str, str]]:
    """Every model, with each prior that it may have."""
    priors = {name: list(PRIORS) if "prior" in MODELS.keywords(name) else [None] for name in MODELS}
    return [{"name": name} | ({"prior": prior} if prior else {}) for name in MODELS for prior in priors[name]]


@pytest.mark.parametrize("model", kinds(), ids=lambda model: "-".join(model.values()))
def test_every_metric_measures_a_model_or_says_why_not(model):
    """A blank has a reason, and where there is none every number is finite."""
    built = MODELS.build({**model, "likelihood": "Gaussian", "latent_dim": 3}, (1, 4, 4), 0)
    x = torch.rand(9, 1, 4, 4)
    built.prepare(x)
    seen = measure(built, [Batch(x[:5]), Batch(x[5:])], build_metrics(list(METRICS)), 10, 0)
    assert all(len(reason) > 20 for reason in seen.not_applicable.values())
    assert not seen.not_applicable.keys() & {e.name for e in seen.estimates}
    for name in METRICS:
        missing = METRICS.build(name).columns(10).keys() - seen.not_applicable.keys() - {e.name for e in seen.estimates}
        assert not missing, name
    for estimate in seen.estimates:
        assert np.isfinite(estimate.value).all(), estimate.name


def value(name: str, column: str) -> float:
    return next(e for e in computed(name, [drawn()]) if e.name == column).value


def test_elbo_is_minus_rate_minus_distortion():
    elbo, rate, distortion = value("ELBO", "elbo"), value("Rate", "rate"), value("Distortion", "distortion")
    assert isclose(elbo, -(rate + distortion), rel_tol=1e-6)


def test_the_first_iwae_is_the_elbo_and_the_rest_follow_the_definition():
    weights = drawn().log_weight.double().numpy()
    assert isclose(value("IWAE", "iwae_1"), value("ELBO", "elbo"), rel_tol=1e-12)
    groups = np.log(np.exp(weights.reshape(4, 5, N)).mean(1))
    assert isclose(value("IWAE", "iwae_5"), groups.mean(), rel_tol=1e-9)


def test_standard_errors_are_those_of_a_mean():
    values = drawn().log_weight.double().mean(0)
    (estimate,) = computed("ELBO", [drawn()])
    assert isclose(estimate.standard_error, float(values.std()) / N**0.5, rel_tol=1e-9)


def test_active_units_follow_the_variance_not_the_standard_deviation():
    """Burda's threshold is on Var > 0.01: a unit of standard deviation 0.05 is inactive, one of 0.2 active."""
    spread = torch.tensor([1.0, 0.2, 0.05, 0.0])
    mean = torch.tensor([-1.0, 1.0] * 50)[:, None] * spread
    base = drawn()
    draws = base._replace(posterior=Normal(mean, torch.ones_like(mean)))
    count, spectrum = computed("ActiveUnits", [draws])
    assert count.value == 2
    np.testing.assert_allclose(spectrum.value, [1.0, 0.04, 0.0025, 0.0], atol=1e-7)


def test_collapse_allows_the_share_delta_of_exceptions():
    """A unit whose KL exceeds ε on exactly δ of the observations has collapsed, on one more it has not."""
    mean = torch.zeros(100, 2)
    mean[:1, 0], mean[:2, 1] = 1.0, 1.0
    draws = drawn()._replace(posterior=Normal(mean, torch.ones_like(mean)))
    count, curve, epsilon = computed("CollapsedUnits", [draws])
    assert count.value == 1
    assert len(curve.value) == len(epsilon.value)
    assert curve.value[-1] == 1.0
    assert np.all(np.diff(curve.value) >= 0)


def test_kl_per_unit_is_the_closed_form():
    posterior = drawn().posterior
    expected = torch.distributions.kl_divergence(posterior, Normal(0.0, 1.0)).mean(0)
    np.testing.assert_allclose(computed("KLPerUnit", [drawn()])[0].value, expected, rtol=1e-5, atol=1e-7)


def weighted(tail: float, count: int = 1000) -> Draws:
    """Draws whose weights have a Pareto tail of this shape; all but equal weights for a shape of 0."""
    u = torch.rand(count, N, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    none = torch.zeros_like(u)
    return drawn()._replace(log_px=-(tail + 1e-9) * u.log(), log_pz=none, log_qz=none)


@pytest.mark.parametrize(("tail", "unreliable"), [(0.0, False), (0.3, False), (1.5, True)])
def test_a_bound_on_heavy_weights_is_marked_and_no_other_is(tail, unreliable):
    """At k = K only, with the numbers that the metrics of the weights give for the same draws."""
    draws = weighted(tail)
    *others, last = measured({"name": "IWAE", "k": (1, 50, 1000)}, draws)
    assert [e.weights for e in others] == [None, None]
    assert last.unreliable == unreliable
    shape, size = measured("ParetoK", draws)[0].value, measured("EffectiveSampleSize", draws)[0].value
    assert last.weights == (shape, size, 1000)


@pytest.mark.parametrize("count", [1, 2, 24])
def test_weights_of_few_draws_have_no_tail(count):
    (last,) = measured({"name": "IWAE", "k": (count,)}, weighted(0.3, count))
    assert last.weights is None if count == 1 else last.weights[0::2] == (None, count)


def measured(spec, draws: Draws) -> tuple:
    metric = METRICS.build(spec)
    metric.update(draws)
    return metric.compute()


def test_squared_error_sums_over_pixels():
    draws = drawn()
    expected = ((draws.x - draws.reconstruction) ** 2).sum((1, 2, 3)).mean()
    assert isclose(value("SquaredError", "squared_error"), float(expected), rel_tol=1e-6)


@pytest.mark.parametrize("one", ["Tensor", "torch.Tensor"])
@pytest.mark.parametrize("future", ["", "from __future__ import annotations\n"])
def test_what_a_metric_declares_as_a_tensor_is_its_state(one: str, future: str) -> None:
    """However the type is written, and whether Python keeps annotations as text."""
    made: dict[str, type] = {}
    text = f"class Own(Metric):\n    total: {one}\n    parts: list[{one}]\n    weight: float\n"
    exec(f"{future}import torch\nfrom torch import Tensor\nfrom vaebench import Metric\n{text}", made)
    own = made["Own"]
    own.__abstractmethods__ = frozenset()
    metric = own()
    assert metric._defaults.keys() == {"total", "parts"}
    assert metric.total.dtype == torch.float64
