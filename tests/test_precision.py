"""Every likelihood and every prior is what it claims in the precision in which it is used.

Over logits to ±200 and variances from 1e-8 to 1e8, in float32 and float64: total mass one, the mean and the gradient
that go with that density, and every quick form the same number. A density is integrated at points that the precision
holds exactly, the sums in float64, by rules whose own error is far below what rounding may leave.
"""

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import mpmath
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from vaebench.config.registry import LIKELIHOODS, PRIORS
from vaebench.models.parts.continuous_bernoulli import ContinuousBernoulli
from vaebench.models.parts.likelihoods import Likelihood
from vaebench.models.parts.posteriors import kl_from_standard_normal

PRECISIONS = [torch.float32, torch.float64]
SIZES = [200.0, 100.0, 50.0, 30.0, 16.0, 15.94, 5.0, 1.5, 1.0, 0.99, 0.5, 0.03, 1e-3, 1e-6, 1e-20]
VALUES = [*(-s for s in SIZES), 0.0, *SIZES[::-1]]
"""Parameters, the logits or the means of pixels."""

VARIANCES = [1e-8, 1e-4, 0.03, 1.0, 1e4, 1e8]
ROUNDINGS = 64
"""Units in the last place that a mass, a mean or a sum may be off: a few operations, each of some units."""


class Case(NamedTuple):
    """A registered likelihood of one pixel, and its variance where it has one."""

    name: str
    keywords: dict[str, Any]
    variance: float | None

    def build(self, precision: torch.dtype, shape: tuple[int, ...] = (1,)) -> Likelihood:
        made = LIKELIHOODS.build({"name": self.name, **self.keywords}, shape).to(precision).eval()
        if made.refits:
            made.refit(torch.tensor(self.variance, dtype=torch.float64))
        return made


def cases() -> Iterator[Any]:
    for name in LIKELIHOODS:
        known = LIKELIHOODS.keywords(name)
        real = LIKELIHOODS[name].support == "real"
        for variance in VARIANCES if real else [None]:
            own = {"variance": variance} if "variance" in known else {}
            switches = [{}, *({k: True} for k, p in known.items() if p.default is False)]
            for keywords in switches:
                label = "-".join([name, *keywords, *([f"{variance:g}"] if real else [])])
                yield pytest.param(Case(name, own | keywords, variance), id=label)


CASES = list(cases())


def lattice(mean: float, std: float) -> tuple[Tensor, Tensor]:
    """Points within 9 standard deviations and their weights, a power of two apart so that float32 holds them.

    The trapezoidal rule with steps under a quarter of σ integrates a Gaussian to e^−300.
    """
    step = 2.0 ** math.floor(math.log2(std / 4))
    count = math.ceil(9 * std / step)
    points = mean + step * torch.arange(-count, count + 1, dtype=torch.float64)
    return points, torch.full_like(points, step)


def interval() -> tuple[Tensor, Tensor]:
    """Boole's rule on [0, 1], in 1024 steps on each of 28 pieces that halve towards both ends.

    Its error on e^(200x) is below 1e-14 of the integral.
    """
    ends = [0.0, *(2.0**-k for k in range(14, 0, -1)), *(1 - 2.0**-k for k in range(2, 15)), 1.0]
    pattern = torch.tensor([14.0, 32.0, 12.0, 32.0], dtype=torch.float64).repeat(256)
    weights = torch.cat([pattern, torch.tensor([7.0], dtype=torch.float64)])
    weights[0] = 7.0
    points, shares = [], []
    for low, high in pairwise(ends):
        step = (high - low) / 1024
        points.append(low + step * torch.arange(1025, dtype=torch.float64))
        shares.append(weights * step * 2 / 45)
    return torch.cat(points), torch.cat(shares)


def points(case: Case, value: float) -> tuple[Tensor, Tensor]:
    """Where the density of a pixel is looked at, and what each place weighs."""
    support = LIKELIHOODS[case.name].support
    if support == "binary":
        return torch.tensor([0.0, 1.0], dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    return interval() if support == "unit" else lattice(value, case.variance**0.5)


def scale(case: Case, value: float) -> float:
    """The size of what a pixel may be: against which its mean is off by rounding."""
    return abs(value) + case.variance**0.5 if case.variance else 1.0


def as_given(value: float, precision: torch.dtype) -> float:
    """The parameter that the precision has for this one."""
    return float(torch.tensor(value, dtype=precision))


@pytest.mark.parametrize("precision", PRECISIONS, ids=str)
@pytest.mark.parametrize("case", CASES)
def test_mass_mean_and_gradient_are_those_of_one_density(case, precision):
    """∫p = 1, ∫x·p is the mean, and ∫p·∂log p/∂η = 0 as for every normalised density."""
    likelihood, eps = case.build(precision), torch.finfo(precision).eps
    for value in (as_given(v, precision) for v in VALUES):
        x, weight = points(case, value)
        parameter = torch.full((len(x), 1), value, dtype=precision, requires_grad=True)
        log_prob = likelihood(parameter).log_prob(x.to(precision)[:, None])
        (slope,) = torch.autograd.grad(log_prob.sum(), parameter)
        mass = log_prob.detach().double().exp() * weight
        allowed = ROUNDINGS * eps
        assert abs(float(mass.sum()) - 1) < allowed, value
        mean = likelihood(parameter.detach()[:1]).mean.double()
        assert abs(float(mean - (mass * x).sum())) < allowed * scale(case, value), value
        slope = slope.double()[:, 0]
        rounded = 4 * eps if case.variance is None else 0.0  # of a mean near 1, which is taken from x
        assert abs(float((mass * slope).sum())) < allowed * float((mass * slope.abs()).sum()) + rounded, value


@pytest.mark.parametrize("case", CASES)
def test_single_precision_is_double_precision_rounded(case):
    """log p, its gradient, the mean and the quick form, of 784 pixels far and near: within 16 units in the last place
    of the terms that are added (Σ|log p| of the pixels; for the gradient of a pixel, of its largest at that x)."""
    shape, stream = (784,), torch.Generator().manual_seed(0)
    wide = torch.empty(3, 5, *shape, dtype=torch.float64).uniform_(-200, 200, generator=stream)
    for parameters in (wide, wide / 200, wide / 1e6, wide.sign() * 200, torch.zeros_like(wide)):
        mean, x = parameters.float(), observations(case, parameters, stream).float()
        single, double = case.build(torch.float32, shape), case.build(torch.float64, shape)
        exact = double.pixels(mean.double()).log_prob(x.double())
        allowed = 16 * torch.finfo(torch.float32).eps * (exact.abs() + abs(math.log(case.variance or 1)) + 1).sum(-1)
        with torch.no_grad():
            for found in (single(mean).log_prob(x), single.fast_log_prob(x)(mean.clone()), single.log_prob(mean, x)):
                assert bool(((found.double() - exact.sum(-1)).abs() <= allowed).all())
        slopes = [slope(which, mean.to(x_.dtype), x_) for which, x_ in ((single, x), (double, x.double()))]
        torch.testing.assert_close(slopes[0].double(), slopes[1], rtol=4e-6, atol=5e-7 if not case.variance else 0)
        means = [which(mean.to(t)).mean.double() for which, t in ((single, torch.float32), (double, torch.float64))]
        torch.testing.assert_close(*means, rtol=2e-6, atol=1e-37)


def observations(case: Case, parameters: Tensor, stream: torch.Generator) -> Tensor:
    """Of five observations, at the ends of the support, inside it, and at a few σ from the parameters."""
    uniform = torch.rand(parameters.shape[1:], generator=stream, dtype=torch.float64)
    support = LIKELIHOODS[case.name].support
    if support == "real":
        return parameters[0] + 6 * (uniform - 0.5) * case.variance**0.5
    uniform[:2] = (uniform[:2] > 0.5).double()
    uniform[1] = (parameters[0, 1] > 0).double()  # what the model is all but certain of
    return uniform if support == "unit" else (uniform > 0.5).double()


def slope(likelihood: Likelihood, parameters: Tensor, x: Tensor) -> Tensor:
    leaf = parameters.clone().requires_grad_()
    return torch.autograd.grad(likelihood(leaf).log_prob(x).sum(), leaf)[0]


@pytest.mark.parametrize("precision", PRECISIONS, ids=str)
@pytest.mark.parametrize("case", [c for c in CASES if c.values[0].variance])
def test_expectations_over_a_random_output_are_their_closed_form(case, precision):
    """−½ Σ ((x − m)² + s²)/σ² − D/2 · log 2πσ², in float64; s from σ/100 to 100σ."""
    stream, likelihood = torch.Generator().manual_seed(1), case.build(precision, (7,))
    sigma2 = likelihood.sigma2().detach().double().expand(7)
    mean = 10 * torch.randn(5, 7, generator=stream, dtype=torch.float64)
    x = mean + case.variance**0.5 * torch.randn(5, 7, generator=stream, dtype=torch.float64)
    for factor in (1e-4, 1.0, 1e4):
        given = [t.to(precision) for t in (mean, torch.full((7,), factor * case.variance), x)]
        m, s2, y = (t.double() for t in given)
        terms = 0.5 * ((y - m).square() + s2) / sigma2, 0.5 * (2 * math.pi * sigma2).log()
        allowed = 16 * torch.finfo(precision).eps * sum(t.abs() for t in terms).sum(-1)
        found = likelihood.expected_log_prob(*given).double()
        assert bool(((found + sum(terms).sum(-1)).abs() <= allowed).all())


@pytest.mark.parametrize("expected", [False, True], ids=["one draw", "closed form"])
def test_an_optimal_variance_is_the_maximiser_and_never_zero(expected):
    """In training the batch's own, in evaluation what it was refitted to; an exact reconstruction has a finite number
    and a finite gradient."""
    for size in (0.0, 1e-4, 1.0, 1e4):
        likelihood = LIKELIHOODS.build("OptimalGaussian", (3,)).train()
        stream = torch.Generator().manual_seed(2)
        x, spread = torch.randn(8, 3, generator=stream), torch.full((3,), 0.5 * size**2 if expected else 0.0)
        mean = (x + size * torch.randn(8, 3, generator=stream)).requires_grad_()
        objective = likelihood.expected_log_prob(mean, spread, x) if expected else likelihood.log_prob(mean, x)
        (gradient,) = torch.autograd.grad(objective.sum(), mean)
        assert bool(objective.isfinite().all())
        assert bool(gradient.isfinite().all())
        likelihood.refit(((x - mean).square() + spread).double().mean().detach())
        likelihood.eval()
        mean = mean.detach()
        best = float(likelihood.expected_log_prob(mean, spread, x).mean())
        assert float(objective.mean().detach()) == pytest.approx(best, rel=1e-5, abs=1e-5)
        for factor in (0.9, 1.1) if size else ():
            other = LIKELIHOODS.build({"name": "Gaussian", "variance": factor * float(likelihood.sigma2())}, (3,))
            assert float(other.expected_log_prob(mean, spread, x).mean()) < best


# -- the continuous Bernoulli against arithmetic of 100 digits --------------------------------------------------------


def by_mpmath(logit: float, x: float) -> dict[str, float]:
    with mpmath.workdps(100):
        eta, at = mpmath.mpf(logit), mpmath.mpf(x)
        if eta == 0:
            return {"log_prob": 0.0, "slope": float(at - 0.5), "curvature": -1 / 12, "mean": 0.5, "variance": 1 / 12}
        mean = 1 / (1 - mpmath.exp(-eta)) - 1 / eta
        variance = 1 / eta**2 - mpmath.exp(eta) / mpmath.expm1(eta) ** 2
        log_prob = eta * at - mpmath.log(mpmath.expm1(eta) / eta)
        found = {"log_prob": log_prob, "slope": at - mean, "curvature": -variance, "mean": mean, "variance": variance}
        return {name: float(value) for name, value in found.items()}


@pytest.mark.parametrize("precision", PRECISIONS, ids=str)
@pytest.mark.parametrize("x", [0.0, 0.25, 0.5, 1.0])
def test_the_continuous_bernoulli_is_its_closed_form(x, precision):
    """Density, mean, variance, and two derivatives, each to 32 units in the last place; near a logit of zero, where
    terms of the closed form cancel, too."""
    logits = torch.tensor(VALUES, dtype=precision, requires_grad=True)
    at = torch.full_like(logits, x)
    log_prob = ContinuousBernoulli(logits).log_prob(at)
    (slope,) = torch.autograd.grad(log_prob.sum(), logits, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), logits)
    p = ContinuousBernoulli(logits.detach())
    found = {"log_prob": log_prob, "slope": slope, "curvature": curvature, "mean": p.mean, "variance": p.variance}
    exact = [by_mpmath(float(logit), x) for logit in logits.detach()]
    eps = torch.finfo(precision).eps
    for name, values in found.items():
        expected = torch.tensor([e[name] for e in exact], dtype=torch.float64)
        # What is added: up to log|η| and η·x in a density; x and the mean in a slope.
        absolute = {"log_prob": 16 * eps, "slope": 0.0 if x in (0.0, 1.0) else 4 * eps}.get(name, 0.0)
        torch.testing.assert_close(values.detach().double(), expected, rtol=32 * eps, atol=absolute, msg=name)


@pytest.mark.parametrize("logit", [-200.0, -30.0, -1e-3, 0.0, 0.7, 30.0, 200.0])
def test_samples_of_the_continuous_bernoulli_are_from_it(logit):
    """By the probability that Kolmogorov and Smirnov give to 4000 samples, over 1e-6: a false alarm once in 140 000
    runs of all seven."""
    from scipy.stats import kstest

    torch.manual_seed(0)
    p = ContinuousBernoulli(torch.tensor(logit, dtype=torch.float64))
    sample = p.sample((4000,))
    assert bool(((sample >= 0) & (sample <= 1)).all())
    assert kstest(sample.numpy(), lambda x: p.cdf(torch.from_numpy(x)).numpy()).pvalue > 1e-6
    torch.testing.assert_close(p.icdf(p.cdf(sample)), sample, rtol=1e-9, atol=1e-9)
    grid, weight = interval()
    below = (p.log_prob(grid).exp() * weight * (grid <= 0.5)).sum()
    torch.testing.assert_close(p.cdf(torch.tensor(0.5).double()), below, rtol=1e-9, atol=1e-4)
    entropy = -(p.log_prob(grid).exp() * p.log_prob(grid) * weight).sum()
    torch.testing.assert_close(p.entropy(), entropy, rtol=1e-9, atol=1e-9)


# -- priors -----------------------------------------------------------------------------------------------------------


def encode(x: Tensor) -> Normal:
    """A stand-in for an encoder whose posteriors lie far apart and have variances from 1e-8 to 1e8."""
    return Normal(300 * x[..., :1], (9.2 * x[..., 1:]).exp(), validate_args=False)


def extreme(name: str) -> Any:
    """A prior over one unit whose components are as far apart, as narrow and as wide as training may make them."""
    torch.manual_seed(0)
    few = {k: 8 for k, p in PRIORS.keywords(name).items() if isinstance(p.default, int)}
    prior = PRIORS.build({"name": name, **few}, 1, (2,))
    stretch = torch.linspace(-1, 1, 8)
    with torch.no_grad():
        for key, parameter in prior.named_parameters():
            if "std" in key:
                parameter.copy_(9.2 * stretch[:, None])
            elif parameter.ndim == 1:
                parameter.copy_(20 * stretch.flip(0))
            else:
                parameter.copy_(stretch[:, None] * (200 if parameter.shape[1:] == (1,) else torch.tensor([1.0, -1.0])))
    return prior


@pytest.mark.parametrize("precision", PRECISIONS, ids=str)
@pytest.mark.parametrize("name", PRIORS)
def test_a_prior_has_mass_one(name, precision):
    """∫p, each component's share over the points that are its own; and log p in single precision is that in double."""
    prior, exact = extreme(name).to(precision), extreme(name).double()
    p, reference = prior(encode), exact(encode)
    parts = getattr(reference, "component_distribution", None)
    weights = reference.mixture_distribution.probs if parts else torch.ones(1)
    normal = (parts or reference).base_dist
    if not isinstance(normal, Normal):
        pytest.skip("its components are not normal; test_priors.py has its mass")
    eps, total = torch.finfo(precision).eps, 0.0
    with torch.no_grad():
        for weight, mean, std in zip(weights, normal.loc.flatten(), normal.scale.flatten(), strict=True):
            z, volume = lattice(float(mean), float(std))
            z = z.to(precision)
            log_p, truth = p.log_prob(z[:, None]).double(), reference.log_prob(z.double()[:, None])
            allowed = ROUNDINGS * eps * (truth.abs() + 50)
            assert bool(((log_p - truth).abs() <= allowed).all())
            share = weight * Normal(mean, std).log_prob(z.double()).exp() * (log_p - truth).exp() * volume
            total += float(share.sum())
    assert total == pytest.approx(1.0, abs=ROUNDINGS * eps * 50)


@pytest.mark.parametrize("name", PRIORS)
def test_a_rate_in_single_precision_is_that_in_double(name):
    """Posteriors of variances from 1e-8 to 1e8 and means to ±200, by closed form or by one draw."""
    prior, exact = extreme(name), extreme(name).double()
    std = torch.logspace(-4, 4, 81)[:, None]
    for mean in (0.0, 0.3, -200.0):
        posterior = Normal(torch.full_like(std, mean), std)
        z = posterior.mean + 1.5 * std
        wide = Normal(posterior.mean.double(), std.double())
        truth = exact.rate(wide, z.double(), encode)
        own = wide.log_prob(z.double()).abs().sum(-1)  # what is subtracted from: log q(z|x), of a rounded z
        allowed = 16 * torch.finfo(torch.float32).eps * (truth.abs() + own + 1)
        assert bool(((prior.rate(posterior, z, encode).double() - truth).abs() <= allowed).all())


def test_a_divergence_near_the_prior_is_exact_to_rounding():
    """½(m² + s² − 1 − log s²) is below 1e-12 there, and no farther than 4 roundings of 1 from it in float32."""
    for off in (0.0, 1e-6, 1e-3, -1e-3):
        near = Normal(torch.tensor([off]), torch.tensor([1 + off]))
        wide = Normal(near.mean.double(), near.stddev.double())
        difference = float(kl_from_standard_normal(near).double() - kl_from_standard_normal(wide))
        assert abs(difference) < 4 * torch.finfo(torch.float32).eps
