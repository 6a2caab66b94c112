"""Distributions of the user's own: exact answers under any change of variables, blanks with reasons, odd shapes."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import (
    Bernoulli,
    Beta,
    Categorical,
    Cauchy,
    ComposeTransform,
    Distribution,
    Exponential,
    Gamma,
    Independent,
    Laplace,
    LogNormal,
    LowRankMultivariateNormal,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    OneHotCategorical,
    Poisson,
    TransformedDistribution,
    kl_divergence,
)
from torch.distributions.transforms import AffineTransform, ExpTransform, SigmoidTransform, TanhTransform

from vaebench.config.registry import ESTIMATORS
from vaebench.data.loaders import Batch
from vaebench.evaluation.measure import build_metrics, estimate, measure
from vaebench.evaluation.scoring import score
from vaebench.models.subject import DeterministicSubject, Subject

GENERATOR = torch.Generator().manual_seed(1)
W, B, VARIANCE = torch.randn(5, 2, generator=GENERATOR), torch.randn(5, generator=GENERATOR), 0.4
X = torch.randn(20, 5, generator=GENERATOR) @ torch.diag(torch.tensor([1.0, 2.0, 0.5, 1.0, 1.0]))
COVARIANCE = torch.linalg.inv(torch.eye(2) + W.T @ W / VARIANCE)
EVIDENCE = MultivariateNormal(B, W @ W.T + VARIANCE * torch.eye(5)).log_prob(X)


def exact(x: Tensor) -> MultivariateNormal:
    """p(u|x) of x = W u + b + noise, u ~ N(0, I)."""
    return MultivariateNormal((x - B) @ W / VARIANCE @ COVARIANCE, COVARIANCE)


def through(transform, joint: bool = True) -> Subject:
    """The linear model with z = f(u) as its latent: another model, whose evidence is the same."""

    def pushed(base: Distribution) -> Distribution:
        return TransformedDistribution(base, [transform])

    prior = pushed(Independent(Normal(torch.zeros(2), torch.ones(2)), 1))
    return Subject(
        lambda x: pushed(exact(x)), lambda z: Normal(transform.inv(z) @ W.T + B, VARIANCE**0.5), X, prior=prior
    )


TRANSFORMS = {
    "exp": ExpTransform(),
    "sigmoid": SigmoidTransform(),
    "affine, then tanh": ComposeTransform([AffineTransform(0.1, 0.3), TanhTransform()]),
}


@pytest.mark.parametrize("name", TRANSFORMS)
def test_the_evidence_does_not_depend_on_the_names_of_the_latents(name: str) -> None:
    """With the exact posterior each weight is p(x), in any coordinates of z."""
    subject = through(TRANSFORMS[name])
    torch.testing.assert_close(score(subject, X, draws=5).log_px, EVIDENCE.double(), rtol=1e-4, atol=1e-3)
    found = measure(subject, X, draws=20)
    values = {e.name: e.value for e in found.estimates}
    assert values["elbo"] == pytest.approx(EVIDENCE.mean().item(), rel=1e-4, abs=1e-3)
    reason = "its q(z|x), a TransformedDistribution, has no mean in closed form"
    assert found.not_applicable["squared_error"] == found.not_applicable["active_units"] == reason
    assert "no normal distribution" in found.not_applicable["mutual_information"]
    with pytest.raises(ValueError, match="has no mean in closed form"):
        subject.reconstruct(X)
    assert subject.sample(7).shape == (7, 5)


class Repeated(nn.Module):
    """Returns its own bias, with the memory of the parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.ones(5))

    def forward(self, z: Tensor) -> Tensor:
        return self.bias.expand(len(z), 5)


SHARED = {
    "z itself": nn.Identity(),
    "a view of z": nn.Unflatten(-1, (5,)),
    "a parameter": Repeated(),
    "a slice of z": lambda z: z[:, :5],
}
"""Decoders whose output has the memory of another tensor."""


@pytest.mark.parametrize("likelihood", ["Gaussian", "Bernoulli"])
@pytest.mark.parametrize("name", SHARED)
def test_what_a_decoder_returns_is_not_overwritten(name: str, likelihood: str) -> None:
    """The quick log-densities work in place. Every number is that of a decoder which returns a copy."""
    shared, x = SHARED[name], (X > 0).float()

    def numbers(decoder: Any) -> dict[str, Any]:
        subject = Subject(lambda x: (x / 2, torch.full_like(x, -1.0)), decoder, x, likelihood=likelihood)
        found = measure(subject, x, draws=20).estimates
        gaps = estimate(subject, [Batch(x)], [ESTIMATORS.build({"name": "InferenceGap", "steps": 3, "draws": 5})], 0)
        return {e.name: e.value for e in [*found, *gaps.estimates] if isinstance(e.value, float)}

    assert numbers(shared) == pytest.approx(numbers(lambda z: shared(z).clone()), rel=1e-6, nan_ok=True)
    if isinstance(shared, Repeated):
        assert torch.equal(shared.bias, torch.ones(5))


@pytest.mark.parametrize(
    "prior", [Exponential(torch.ones(1)), Gamma(torch.full((1,), 2.0), 1.0), Beta(torch.tensor([2.0]), 3.0)], ids=str
)
def test_a_prior_that_allows_only_some_latents(prior: Distribution) -> None:
    """Draws of a normal q that it does not allow have the weight 0. The evidence is that of an integral over a grid.

    Alarms: each estimate may be off by five of its errors and 0.02, the bias of the bound.
    """
    grid = torch.linspace(1e-6, 12 if not isinstance(prior, Beta) else 1 - 1e-6, 200_001, dtype=torch.float64)[:, None]
    x = torch.tensor([[0.3], [0.8], [0.1]])
    likelihood = Normal(grid, 0.5).log_prob(x.mT.double()) + prior.log_prob(grid.float()).double()
    exact = float((likelihood.logsumexp(0) + math.log(float(grid[1] - grid[0]))).mean())
    subject = Subject(
        lambda x: (0.5 * x + 0.2, torch.full_like(x, -1.0)), lambda z: Normal(z, 0.5), x, prior=Independent(prior, 1)
    )
    bound = next(e for e in measure(subject, x, draws=5000).estimates if e.name == "iwae_5000")
    others = estimate(subject, [Batch(x)], [*map(ESTIMATORS.build, EVIDENCE_ESTIMATORS)], 0)
    found = {e.name: e for e in [bound, *others.estimates]}
    for name in ("iwae_5000", "naive_monte_carlo", "ais"):
        estimated = found[name]
        assert abs(estimated.value - exact) < 5 * (estimated.monte_carlo_error or 0) + 0.02, name


EVIDENCE_ESTIMATORS = (
    {"name": "NaiveMonteCarlo", "draws": 5000},
    {"name": "AnnealedImportanceSampling", "chains": 50, "temperatures": 200, "bracket": False},
)


def test_a_flow_of_zuko_as_posterior_and_prior() -> None:
    zuko = pytest.importorskip("zuko")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        flow = zuko.flows.NSF(2, transforms=2, hidden_features=(8,))
    transform = flow().transform.inv  # from noise to z

    def pushed(base: Distribution) -> Distribution:
        return zuko.distributions.NormalizingFlow(transform.inv, base)

    subject = Subject(
        lambda x: pushed(exact(x)),
        lambda z: Normal(transform.inv(z) @ W.T + B, VARIANCE**0.5),
        X,
        prior=lambda: pushed(Independent(Normal(torch.zeros(2), torch.ones(2)), 1)),
    )
    torch.testing.assert_close(score(subject, X, draws=5).log_px, EVIDENCE.double(), rtol=1e-3, atol=5e-3)
    assert "NormalizingFlow, has no mean" in measure(subject, X, draws=3).not_applicable["active_units"]
    of_codes = [ESTIMATORS.build(name) for name in ("EncoderJacobian", "ErasedOrShifted")]
    assert estimate(subject, [Batch(X)], of_codes, 0).estimates == []
    only_codes = measure(subject, X, build_metrics(["ActiveUnits"]), draws=3)
    assert only_codes.estimates == []
    assert "NormalizingFlow, has no mean" in only_codes.not_applicable["active_units"]
    plain = Subject(exact, lambda z: Normal(z @ W.T + B, VARIANCE**0.5), X, prior=flow)
    assert len([*plain.prior.parameters()]) == len([*flow.parameters()]), "a module as prior keeps its parameters"
    assert plain.sample(3).shape == (3, 5)


def laplace(x: Tensor) -> Laplace:
    return Laplace(0.3 * x[:, :2], 0.2 + x[:, 2:4].sigmoid())


def decoder(z: Tensor) -> Normal:
    return Normal(z @ W.T + B, 0.6)


def test_a_rate_without_closed_form_is_a_mean_over_draws_within_its_error() -> None:
    """Against torch's closed form for two Laplace distributions: a false alarm once in 10^7."""
    prior = Laplace(torch.zeros(2), torch.ones(2))
    found = measure(Subject(laplace, decoder, X, prior=prior), X, draws=2000)
    rate = next(e for e in found.estimates if e.name == "rate")
    closed = kl_divergence(laplace(X), prior).sum(-1).mean().item()
    assert rate.monte_carlo_error > 0
    assert abs(rate.value - closed) < 5.5 * rate.monte_carlo_error
    assert found.not_applicable["total_correlation"] == "its q(z|x) is no normal distribution"
    active = next(e for e in found.estimates if e.name == "active_units")
    assert active.value == (0.3 * X[:, :2]).var(0, correction=1).gt(0.01).sum(), "the mean is in closed form"


def test_a_mixture_as_posterior_has_draws_and_a_code() -> None:
    def encoder(x: Tensor) -> MixtureSameFamily:
        means = torch.stack([x[:, :2], -x[:, :2]], 1)
        each = Independent(Normal(means, 0.3 * torch.ones_like(means)), 1)
        return MixtureSameFamily(Categorical(torch.ones(len(x), 2)), each)

    subject = Subject(encoder, decoder, X)
    first, second = (measure(subject, X, draws=30, seed=4) for _ in range(2))
    assert first.estimates == second.estimates, "the same seed gives the same draws"
    assert next(e.value for e in first.estimates if e.name == "active_units") == 0, "each mean is 0"
    before = torch.random.get_rng_state()
    assert (subject.draws(Batch(X), 500, torch.Generator().manual_seed(0), keep=500).z.abs().mean((0, 1)) > 0.2).all()
    assert torch.equal(torch.random.get_rng_state(), before)


def test_moments_that_do_not_exist_leave_blanks() -> None:
    subject = Subject(lambda x: Cauchy(x[:, :2], 0.1 * torch.ones(len(x), 2)), decoder, X)
    found = measure(subject, X, draws=10)
    assert found.not_applicable["squared_error"] == "its q(z|x), a Cauchy, has no finite mean"
    assert {"elbo", "rate", "distortion"} <= {e.name for e in found.estimates}


def test_low_rank_and_log_normal_posteriors() -> None:
    q = lambda x: LowRankMultivariateNormal(x[:, :2], x[:, :2, None] * 0.1, torch.ones(len(x), 2))  # noqa: E731
    low = measure(Subject(q, decoder, X), X, draws=5)
    full = measure(Subject(lambda x: MultivariateNormal(q(x).loc, q(x).covariance_matrix), decoder, X), X, draws=5)
    for a, b in zip(low.estimates, full.estimates, strict=True):
        torch.testing.assert_close(torch.tensor(a.value), torch.tensor(b.value), rtol=1e-3, atol=1e-4)
    positive = Subject(lambda x: LogNormal(x[:, :2], 0.1), decoder, X, prior=LogNormal(torch.zeros(2), 1.0))
    assert positive.why_no_code is None
    torch.testing.assert_close(positive.encode(X).mean, (X[:, :2] + 0.005).exp())


@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_every_estimator_gives_a_number_or_a_reason(name: str) -> None:
    few = {"observations": 4, "temperatures": 10, "chains": 2}
    keywords = {key: value for key, value in few.items() if key in ESTIMATORS.keywords(name)}
    subject = Subject(laplace, decoder, X)
    found = estimate(subject, [Batch(X)], [ESTIMATORS.build({"name": name, **keywords})], 0)
    numbers = [e.value for e in found.estimates if isinstance(e.value, float)]
    assert numbers or found.not_applicable
    assert all(torch.tensor(numbers).isfinite())


# -- shapes and kinds of modules --------------------------------------------------------------------------------------

IMAGES = (torch.rand(9, 1, 28, 28, generator=GENERATOR) > 0.5).float()


def convolutional(units: int) -> tuple[nn.Module, nn.Module]:
    encoder = nn.Sequential(
        nn.Conv2d(1, 4, 4, 4), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(196, 2 * units)
    )
    return encoder, nn.Sequential(nn.Linear(units, 32), nn.BatchNorm1d(32), nn.Tanh(), nn.Linear(32, 784))


@pytest.mark.parametrize("units", [1, 3])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64], ids=str)
def test_images_one_unit_one_observation_and_double_precision(units: int, kind: torch.dtype) -> None:
    encoder, flat = (module.to(kind) for module in convolutional(units))
    shaped = nn.Sequential(flat, nn.Unflatten(1, (1, 28, 28)))
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    for module, p in ((flat, "Bernoulli"), (shaped, "Bernoulli"), (shaped, lambda out: Bernoulli(logits=out))):
        for x in (IMAGES, IMAGES.double()):
            subject = Subject(encoder, module, x, likelihood=p)
            found = measure(subject, x[:1], draws=6)
            elbo = next(e for e in found.estimates if e.name == "elbo")
            one = subject.log_likelihood(x[:1].to(kind))(torch.zeros(1, 1, units, dtype=kind))
            reference = (
                Bernoulli(logits=flat(torch.zeros(1, units, dtype=kind))).log_prob(x[:1].to(kind).flatten(1)).sum()
            )
            torch.testing.assert_close(one.squeeze(), reference)
            assert elbo.n == 1
            assert elbo.standard_error is None or elbo.standard_error == 0
            assert score(subject, x[:1], draws=4).log_px.shape == (1,)
            assert subject.sample(2).dtype == kind
    assert all(torch.equal(v, before[k]) for k, v in encoder.state_dict().items()), "batch norm saw no training"
    assert not encoder.training


def test_a_decoder_that_returns_a_pair_or_a_mapping() -> None:
    wide = nn.Linear(2, 10)
    pair = lambda z: wide(z).chunk(2, -1)  # noqa: E731
    p = lambda out: Normal(out[0], (0.5 * out[1]).exp())  # noqa: E731
    encoder = lambda x: (x[:, :2], 0 * x[:, :2])  # noqa: E731
    mapping = lambda z: dict(zip("ab", pair(z), strict=True))  # noqa: E731
    first = score(Subject(encoder, pair, X, likelihood=p), X, draws=5)
    second = score(Subject(encoder, mapping, X, likelihood=lambda m: p((m["a"], m["b"]))), X, draws=5)
    third = score(Subject(encoder, lambda z: p(pair(z)), X), X, draws=5)
    assert torch.equal(first.log_px, second.log_px)
    assert torch.equal(first.log_px, third.log_px)
    code = DeterministicSubject(lambda x: x[:, :2], pair, X, likelihood=p)
    assert any(e.name == "squared_error" for e in measure(code, X, draws=1).estimates)


GAUSSIAN = {"name": "Gaussian", "variance": 1.0}
LINEAR = nn.Linear(2, 5)
WRONG = {
    "latents of an image": (
        {"encoder": lambda x: (torch.zeros(len(x), 2, 4, 4),) * 2},
        r"expected q\(z\|x\).*\[B, L\]",
    ),
    "a normal over images": ({"encoder": lambda x: Normal(torch.zeros(len(x), 2, 4, 4), 1.0)}, r"flatten the latents"),
    "a discrete posterior": ({"encoder": lambda x: OneHotCategorical(torch.ones(len(x), 2))}, r"whole numbers"),
    "sizes that differ": ({"encoder": lambda x: (x[:, :2], x[:, :1])}, r"tuple of 2: a tensor of shape \[1, 2\]"),
    "three tensors": ({"encoder": lambda x: (x, x, x)}, r"a tuple of 3"),
    "a wide decoder": ({"decoder": nn.Linear(3, 5)}, r"the decoder fails on latents of shape \[1, 2\]"),
    "a pair": ({"decoder": lambda z: (LINEAR(z), LINEAR(z))}, r"got a tuple of 2: .*give likelihood= a function"),
    "two numbers a pixel": ({"decoder": lambda z: torch.zeros(len(z), 10)}, r"shape \[5\].*got \[10\]; .*likelihood="),
    "a scalar": ({"decoder": lambda z: LINEAR(z).sum()}, r"expected parameters of shape \[5\]"),
    "grey levels": ({"likelihood": "Bernoulli"}, r"expects x in \{0, 1\}"),
    "whole numbers": ({"x": torch.zeros(3, 5, dtype=torch.uint8)}, r"floating point, got a tensor of torch.uint8"),
    "one posterior for all": ({"encoder": lambda x: Normal(torch.zeros(3, 2), 1.0)}, r"one q.* got 3 for B = 1"),
    "a discrete prior": ({"prior": Bernoulli(torch.full((2,), 0.5))}, r"a density as the prior"),
    "numbers that are not whole": ({"likelihood": lambda y: Poisson(y.exp())}, r"allows, got numbers from -?\d"),
    "an array": ({"x": X.numpy()}, r"third argument, got ndarray"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_part_of_another_shape_is_named(case: str) -> None:
    import zuko  # noqa: F401 - it turns off the checks of torch's distributions

    change, said = WRONG[case]
    parts = {"encoder": lambda x: (x[:, :2], x[:, :2]), "decoder": LINEAR, "x": X, "likelihood": GAUSSIAN, **change}
    with pytest.raises((ValueError, TypeError), match=said):
        Subject(parts.pop("encoder"), parts.pop("decoder"), parts.pop("x"), **parts)


@pytest.mark.parametrize(("x", "said"), [(X * math.nan, "finite observations"), (X[:0], "at least one observation")])
def test_no_numbers_are_no_observations(x: Tensor, said: str) -> None:
    subject = Subject(lambda x: (x[:, :2], x[:, :2]), LINEAR, X, likelihood=GAUSSIAN)
    for use in (measure, score):
        with pytest.raises(ValueError, match=said):
            use(subject, x)


def test_other_observations_than_the_likelihoods_are_refused_later_too() -> None:
    encoder, flat = convolutional(2)
    subject = Subject(encoder, flat, IMAGES, likelihood="Bernoulli")
    for use in (measure, score):
        with pytest.raises(ValueError, match=r"expects x in \{0, 1\}"):
            use(subject, IMAGES / 3)
        with pytest.raises(ValueError, match=r"shape \[1, 28, 28\], got \[784\]"):
            use(subject, IMAGES.flatten(1))
