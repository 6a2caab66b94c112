"""The ceiling of deep VAEs against closed forms, an independent convex solver, and laws over many kinds of data."""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import count, pairwise

import numpy as np
import pytest
import torch
from elsewhere import DEVICE, elsewhere
from torch import Tensor

from vaebench.oracle import mixture, solver
from vaebench.oracle.ceiling import TOLERANCE, CeilingProblem, linear_value, objective_ceiling
from vaebench.oracle.mixture import Bernoulli, Component, Gaussian
from vaebench.oracle.solver import Stopped
from vaebench.oracle.spectrum import Spectrum

CLOSE = 1e-6


def draws(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(n: int, d: int, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=draws(seed), dtype=torch.float64)


def clusters() -> Tensor:
    return (4 * normal(5, 3, 1)).repeat_interleave(16, 0) + 0.3 * normal(80, 3)


def heavy() -> Tensor:
    """Student-t with 1.5 degrees of freedom: no variance."""
    u = torch.rand(80, 1, generator=draws(2), dtype=torch.float64)
    return normal(80, 2, 3) / (-2 * u.log() / 1.5).sqrt()


KINDS: dict[str, Callable[[], Tensor]] = {
    "gaussian": lambda: normal(80, 4) * torch.tensor([2.0, 1.0, 0.5, 0.1], dtype=torch.float64),
    "low rank": lambda: normal(60, 2) @ normal(2, 7, 5),
    "more pixels than observations": lambda: normal(25, 60),
    "mixture": clusters,
    "heavy tails": heavy,
    "duplicates": lambda: normal(10, 3).repeat(9, 1),
    "simplex": lambda: torch.eye(9, dtype=torch.float64),
    "a far offset": lambda: 1e3 + 1e-3 * normal(50, 3),
    "one observation": lambda: normal(1, 3),
    "equal observations": lambda: torch.full((7, 3), 1e3, dtype=torch.float64),
    "images": lambda: torch.rand(60, 1, 4, 4, generator=draws(6)),
}


def shares(x: Tensor) -> tuple[float, ...]:
    """τ from above the onset down over two decades."""
    top = float(Spectrum.of(x).eigenvalues[0]) or 1.0
    return tuple(top * share for share in (3.0, 0.9, 0.4, 0.1, 0.03))


@pytest.mark.parametrize("kind", ["duplicates", "simplex", "equal observations"])
def test_another_device_finds_the_same(kind: str) -> None:
    """Its blocks are larger than those of the CPU, so sums are rounded otherwise."""
    x = KINDS[kind]()[:20]
    here, taus = (
        CeilingProblem.gaussian(x),
        shares(x)[1 if kind == "simplex" else 3 :: 2],
    )
    expected = here.path(taus, 1e-2)
    with elsewhere():
        there = here.on(DEVICE)
        found = there.path(taus, 1e-2)
        if kind != "duplicates":
            assert there.onset == pytest.approx(here.onset, rel=1e-6, abs=1e-9)
    for a, b in zip(expected, found, strict=True):
        assert (b.upper, b.rate) == pytest.approx((a.upper, a.rate), abs=1e-6)


def test_where_the_weights_are_too_many_for_an_exact_step_the_bracket_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pivoting that never ends, and no `nnls` after it."""
    problem = CeilingProblem.gaussian(normal(60, 3))
    exact = problem.path([0.5, 0.2])
    monkeypatch.setattr(mixture, "PIVOTS", 1)
    monkeypatch.setattr(mixture, "MOST_EXACT", 0)
    for a, b in zip(exact, problem.path([0.5, 0.2]), strict=True):
        assert max(a.lower, b.lower) <= min(a.upper, b.upper)
        assert b.gap <= TOLERANCE


@pytest.mark.parametrize("tau", [0.99, 0.6, 0.05])
def test_two_points(tau: float) -> None:
    """P = ½δ(m) + ½δ(−m) with m = a tanh(am/τ), and F = (a² + m²)/2τ − log cosh(am/τ); collapse ends at τ = a²."""
    a, m = 3.0, 2.9
    t = tau * a * a
    for _ in range(20_000):
        m = a * math.tanh(a * m / t)
    exact = (a * a + m * m) / (2 * t) - (math.log1p(math.exp(-2 * a * m / t)) + a * m / t - math.log(2))
    problem = CeilingProblem.gaussian(torch.tensor([[a, 5.0], [-a, 5.0]]))
    found = problem.at(t, tolerance=1e-7)
    assert found.upper == pytest.approx(exact, abs=CLOSE)
    assert found.lower <= exact + 1e-12
    assert found.gap <= 1e-6
    assert problem.onset == pytest.approx(a * a)


@pytest.mark.parametrize("share", [0.5, 0.2, 0.02])
def test_the_onset_of_two_unequal_points(share: float) -> None:
    """The onset is the smallest variance proxy of the data, for two values (1 − 2p)/(2 log((1 − p)/p)) (Kearns & Saul
    1998); the covariance alone gives p(1 − p)."""
    x = torch.zeros(100, 1)
    x[: round(100 * share)] = 1.0
    exact = 0.25 if share == 0.5 else (1 - 2 * share) / (2 * math.log((1 - share) / share))
    problem = CeilingProblem.gaussian(x)
    assert problem.onset == pytest.approx(exact, rel=1e-6)
    assert problem.unstable_below == pytest.approx(share * (1 - share))
    below, above = problem.path([0.99 * exact, 1.01 * exact], tolerance=1e-9)
    assert below.upper < problem.collapsed(0.99 * exact) - 1e-9
    assert above.upper == pytest.approx(problem.collapsed(1.01 * exact), abs=1e-12)


@pytest.mark.parametrize(
    "x",
    [
        torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 4),
        torch.cartesian_prod(torch.arange(5.0), torch.arange(3.0)),
        torch.stack([torch.arange(60.0).mul(math.pi / 30).cos(), torch.arange(60.0).mul(math.pi / 30).sin()], 1),
        1e6 + torch.tensor([[-2.0], [2.0]]),
    ],
    ids=["cube", "lattice", "circle", "two points"],
)
def test_the_onset_of_strictly_subgaussian_data_is_the_first_eigenvalue(x: Tensor) -> None:
    """E exp(u·(x − μ)) ≤ exp(λ₁|u|²/2) for all u. Close to μ both sides are equal but for rounding, which must not
    raise the onset."""
    problem = CeilingProblem.gaussian(x)
    assert problem.onset == pytest.approx(problem.unstable_below, rel=1e-5)


@pytest.mark.parametrize(("offset", "scale"), [(0.0, 1.0), (1e3, 1e-6), (1e6, 1.0), (0.0, 1e-12)])
@pytest.mark.parametrize("seed", range(4))
def test_the_onset_in_one_dimension(seed: int, offset: float, scale: float) -> None:
    """sup over u of 2 log E exp(u(x − μ)) / u², by a scan, in any unit and from any origin."""
    x = normal(50, 1, seed)
    centred, u = x - x.mean(), torch.cat([torch.linspace(-20, -0.02, 2000), torch.linspace(0.02, 20, 2000)]).double()
    scan = 2 * (torch.logsumexp(u * centred, 0) - math.log(len(x))) / u.square()
    exact = max(float(scan.max()), float(centred.square().mean()))
    assert CeilingProblem.gaussian(offset + scale * x).onset == pytest.approx(exact * scale**2, rel=1e-4)


@pytest.mark.parametrize("calls", [0, 5, 40, 120, 300])
def test_a_search_that_is_ended_returns_brackets_that_hold(calls: int) -> None:
    problem = CeilingProblem.gaussian(clusters())
    taus, counter = [20.0, 4.0, 0.5, 0.1], count()

    def pause() -> None:
        if next(counter) >= calls:
            raise Stopped

    ended = replace(problem, pause=pause)
    for cut, whole in zip(ended.path(taus), problem.path(taus), strict=True):
        assert cut.lower <= whole.upper + 1e-9
        assert whole.lower <= cut.upper + 1e-9
        assert cut.upper <= min(cut.cap, problem.collapsed(cut.tau)) + 1e-9
        assert cut.gap >= 0
    assert problem.unstable_below <= ended.onset <= problem.onset


def test_no_bracket_is_above_total_collapse_or_below_zero() -> None:
    """At τ = λ₁ the search ends at its tolerance, with two atoms that are worse than one."""
    problem = CeilingProblem.gaussian(torch.tensor([[0.0, 0.0], [3.0, 4.0]]))
    assert problem.at(6.25).upper == problem.collapsed(6.25) == pytest.approx(0.5)
    one = CeilingProblem.gaussian(normal(1, 3)).at(0.3)
    assert math.copysign(1, one.upper) == 1
    assert (one.lower, one.upper) == (0, 0)


def test_equal_observations_cost_nothing() -> None:
    problem = CeilingProblem.gaussian(KINDS["equal observations"]())
    (found,) = problem.path([0.3])
    assert (found.upper, found.lower, found.rate, found.cap) == (0, 0, 0, 0)
    assert problem.onset == 0


@pytest.mark.parametrize("size", [2, 5, 40])
def test_a_simplex_at_low_noise(size: int) -> None:
    """τ → 0: one atom an observation, F → log N, and the rate is at its cap. At τ = 0.1 atoms lie by symmetry at
    c + s (e_i − c), and the best s is found by a scan."""
    problem = CeilingProblem.gaussian(torch.eye(size))
    low, middle = problem.path([1e-4, 0.1], tolerance=1e-7)
    assert low.upper == pytest.approx(math.log(size), abs=CLOSE)
    assert low.memorises
    values = []
    for s in np.linspace(0.5, 1, 20_001):
        near, far = (1 - 1 / size) * (1 - s) ** 2, (1 - 1 / size) * (1 + s * s) + 2 * s / size
        values.append(math.log(size) + near / 0.2 - math.log1p((size - 1) * math.exp(-(far - near) / 0.2)))
    assert middle.upper == pytest.approx(min(values), abs=CLOSE)
    assert middle.gap < 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_laws(kind: str) -> None:
    """0 ≤ lower ≤ upper ≤ log N, F ≤ linear optimum ≤ collapsed value, F falls in τ, τF rises, a bracket as asked."""
    x = KINDS[kind]()
    problem, spectrum, taus = CeilingProblem.gaussian(x), Spectrum.of(x), shares(x)
    found = problem.path(taus)
    for c in found:
        linear, collapsed = linear_value(spectrum.eigenvalues, c.tau), problem.collapsed(c.tau)
        slack = 1e-9 * (1 + collapsed)
        assert 0 <= c.lower <= c.upper <= c.cap + 0.01
        assert c.cap <= math.log(len(x)) + slack
        assert c.lower <= linear + slack
        assert linear <= collapsed + slack
        assert c.gap <= 5e-3
        assert 0 <= c.rate <= c.cap + slack
        if c.tau >= problem.onset:
            assert c.upper == pytest.approx(collapsed, abs=slack)
    for high, low in pairwise(found):
        assert high.lower <= low.upper + 1e-9
        assert low.tau * low.lower <= high.tau * high.upper * (1 + 1e-9) + 1e-12
    assert problem.onset >= problem.unstable_below
    assert problem.unstable_below == pytest.approx(float(spectrum.eigenvalues[0]), rel=1e-6, abs=1e-12)


@pytest.mark.parametrize(
    ("kind", "offset", "scale"), [("mixture", 0.0, 1e-3), ("heavy tails", 1e3, 1.0), ("gaussian", -50.0, 1e4)]
)
def test_units_and_origin_do_not_matter(kind: str, offset: float, scale: float) -> None:
    x = KINDS[kind]()[:40]
    taus = shares(x)[1:3]
    here = CeilingProblem.gaussian(x).path(taus)
    there = CeilingProblem.gaussian(x * scale + offset).path([tau * scale**2 for tau in taus])
    for a, b in zip(here, there, strict=True):
        assert max(a.lower, b.lower) <= min(a.upper, b.upper) + 1e-6


def test_repeated_observations_change_nothing() -> None:
    x = clusters()
    for a, b in zip(
        CeilingProblem.gaussian(x[::4]).path([2.0, 0.3]),
        CeilingProblem.gaussian(x[::4].repeat(3, 1)).path([2.0, 0.3]),
        strict=True,
    ):
        assert max(a.lower, b.lower) <= min(a.upper, b.upper) + 1e-9
        assert a.cap == pytest.approx(b.cap)


def test_noise_that_differs_between_pixels() -> None:
    """The same as the ceiling of the data divided by the noise."""
    x, variance = clusters(), torch.tensor([4.0, 1.0, 0.25])
    (a,) = CeilingProblem.gaussian(x, variance).path([1.5])
    (b,) = CeilingProblem.gaussian(x / variance.double().sqrt()).path([1.5])
    assert a.upper == pytest.approx(b.upper, abs=1e-9)
    equal = torch.full((3,), 2.0)
    (c,), (d,) = CeilingProblem.gaussian(x, equal).path([0.5]), CeilingProblem.gaussian(x).path([1.0])
    assert c.upper == pytest.approx(d.upper, abs=1e-9)
    assert objective_ceiling(0.0, 1.0, equal, 3) == pytest.approx(objective_ceiling(0.0, 1.0, equal[:1], 3))


def test_gaussian_data_gain_nothing_from_depth() -> None:
    """For N → ∞ the ceiling is the linear optimum. N = 800 in one dimension leaves less than 0.03 nats."""
    x = normal(800, 1, 8)
    eigenvalues = Spectrum.of(x).eigenvalues
    for found in CeilingProblem.gaussian(x).path([0.7, 0.3]):
        assert 0 <= linear_value(eigenvalues, found.tau) - found.lower < 0.03


def on_a_grid(x: Tensor, component: Component, grid: Tensor) -> tuple[float, float]:
    """F over the distributions on a grid, by multiplicative updates; and the gap that Lindsay's certificate leaves."""
    a, b = component.natural(grid)
    table = torch.exp(x @ a.mT + b + component.offset(x)[:, None])
    w = torch.full((len(grid),), 1 / len(grid), dtype=torch.float64)
    for _ in range(5_000):
        d = (table / (table @ w)[:, None]).mean(0)
        if float(d.max()) < 1 + 1e-4:
            break
        w = w * d
    return -float((table @ w).log().mean()), float(d.max().log())


@pytest.mark.parametrize("tau", [0.5, 0.08])
def test_against_a_convex_solver_in_one_dimension(tau: float) -> None:
    x = torch.cat([normal(25, 1, 4) * 0.3, 2 + 0.1 * normal(15, 1, 5)])
    x = x - x.mean()
    exact, gap = on_a_grid(x, Gaussian(tau), torch.linspace(-2, 2.5, 801, dtype=torch.float64)[:, None])
    found = CeilingProblem.gaussian(x).at(tau, tolerance=1e-5)
    assert found.lower <= exact + 1e-9
    assert exact - gap - 1e-4 <= found.upper <= exact + 1e-4  # 1e-4: the grid lies beside the atoms


@pytest.mark.parametrize("beta", [1.2, 2.0])
def test_bernoulli_against_a_convex_solver(beta: float) -> None:
    """Two pixels, so that a grid can hold all parameters."""
    x = torch.tensor([[1, 1]] * 5 + [[0, 0]] * 6 + [[1, 0]] * 2 + [[0, 1]], dtype=torch.float64)
    side = torch.linspace(0, 1, 121, dtype=torch.float64).clamp(1e-12, 1 - 1e-12)
    exact, gap = on_a_grid(x, Bernoulli(beta), torch.cartesian_prod(side, side))
    found = CeilingProblem.bernoulli(x).at(beta, tolerance=1e-5)
    assert found.lower <= exact + 1e-9
    assert exact - gap - 1e-3 <= found.upper <= exact + 1e-9


@pytest.mark.parametrize("beta", [0.2, 1.0])
def test_bernoulli_up_to_one_is_memorisation(beta: float) -> None:
    """The entropy of the observations; the search, which this replaces, comes to the same."""
    x = (torch.rand(30, 5, generator=draws(7)) < 0.4).double()
    found = CeilingProblem.bernoulli(x).at(beta)
    counts = x.unique(dim=0, return_counts=True)[1] / len(x)
    assert found.upper == pytest.approx(float(-(counts * counts.log()).sum()))
    assert found.memorises
    assert CeilingProblem.bernoulli(x).at(1.001).upper == pytest.approx(found.upper, abs=0.02)


def test_bernoulli_collapses_beyond_the_correlations() -> None:
    """Total collapse ends to be stable at the first eigenvalue of the correlation matrix: 3 equal pixels, λ₁ = 3."""
    x = torch.tensor([[0, 0, 0, 1], [1, 1, 1, 1]] * 9, dtype=torch.uint8)
    problem = CeilingProblem.bernoulli(x)
    assert problem.unstable_below == pytest.approx(3)
    assert problem.onset == pytest.approx(3, rel=1e-6)
    assert problem.collapsed(2.0) == pytest.approx(3 * math.log(2) / 2)
    assert problem.at(3.1).upper == pytest.approx(problem.collapsed(3.1))
    assert problem.at(2.9).upper < problem.collapsed(2.9)


def test_many_observations_need_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks, and starts that are chosen, change the bracket by rounding and by the search alone."""
    x = clusters()
    (whole,) = CeilingProblem.gaussian(x).path([0.5])
    monkeypatch.setattr(mixture, "ENTRIES", 500)
    monkeypatch.setattr(solver, "MOST_STARTS", 40)
    (blocks,) = CeilingProblem.gaussian(x).path([0.5])
    assert max(whole.lower, blocks.lower) <= min(whole.upper, blocks.upper) + 1e-6


def test_rounds_that_are_not_enough_are_seen_in_the_bracket() -> None:
    (found,) = CeilingProblem.gaussian(clusters()).path([0.05], tolerance=1e-6, most_rounds=1)
    assert found.gap > 1e-6


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: CeilingProblem.gaussian(torch.zeros(0, 3)), "N ≥ 1"),
        (lambda: CeilingProblem.gaussian(torch.tensor([[math.nan]])), "finite"),
        (lambda: CeilingProblem.gaussian(normal(3, 2), torch.tensor([1.0, 0.0])), "variances > 0"),
        (lambda: CeilingProblem.bernoulli(torch.tensor([[0.5]])), "binarise"),
        (lambda: CeilingProblem.gaussian(normal(3, 2)).at(0.0), "τ > 0"),
        (lambda: CeilingProblem.gaussian(normal(3, 2)).at(math.inf), "τ > 0"),
        (lambda: CeilingProblem.gaussian(normal(3, 2)).at(1.0, tolerance=-1.0), "tolerance > 0"),
    ],
)
def test_bad_input_is_refused(call: Callable[[], object], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        call()
