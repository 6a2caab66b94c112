"""The ceiling: what no VAE with a fixed noise can pass on given observations, whatever its decoder, prior and encoder.

A decoder g(z) with Gaussian noise σ² and a prior p(z) are a mixture of Gaussians, whose centres g(z) have some
distribution P. So for every encoder q, averaged over N observations and with τ = βσ²,

    E_q |x − g(z)|²/2τ + KL(q(z|x)‖p(z))  ≥  F(τ) = min over P of −(1/N) Σ_n log ∫ exp(−|x_n − y|²/2τ) dP(y),

and the objective E_q log p(x|z) − β KL is at most −D/2·log 2πσ² − β F(βσ²). The minimum is the nonparametric maximum
likelihood of a mixture (Lindsay 1983, https://doi.org/10.1214/aos/1176346059), a bound on deep models as in Mattei &
Frellsen 2018 (https://arxiv.org/abs/1802.04826). It is also the rate-distortion Lagrangian of the observations at slope
1/2τ. The same holds for binary pixels, with p(x|θ)^{1/β} for a component, and for several σ², after division of
each pixel by its own.

The bracket [lower, upper] holds F. `upper` is the value of a mixture, so nothing about it is estimated. `lower` rests
on a search for the maximum of a function over R^D from many starts; it is as good as that search. The ceiling of an
objective is computed from `lower`.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Float64, Shaped
from torch import Tensor

from vaebench.oracle.mixture import Bernoulli, Component, Gaussian, Mixture
from vaebench.oracle.solver import EM_STEPS, NEWTON_STEPS, Search, Stopped, never, solve

TOLERANCE = 5e-3  # the search ends when the bracket is so many nats wide

MOST_ROUNDS, MOST_ATOMS, MOST_ATOMS_ON_ACCELERATOR = 40, 2000, 16_000
"""It ends here too; then the bracket is wider. A table of atoms × atoms takes 32 MB, and 2 GB on a GPU."""

RATIO, ON_THE_WAY = 0.75, 4
"""τ is lowered by at most this factor at a time, with so many rounds on the way (Rose 1998, doi 10.1109/5.726788)."""

DEEP, MANY, MOST_OBSERVATIONS = 0.45, 0.25, 2000
"""Where τ < 0.45 λ₁, or where a quarter of N atoms were needed before, the search begins with one atom an observation,
if N is not too large for that. At a low τ almost all of them stay, and a descent would add them one after another."""

EM_FROM_OBSERVATIONS = 12
"""Steps of EM from there. If the bracket is still wide then, the weights are moved by Newton steps."""

ROUNDING = 1e-12
"""A log d that is not above this is taken for 0. Close to the mean of the observations it is 0 but for rounding."""

MEMORISED = 0.1  # the rate is near its cap log N if it is within so many nats of it


@dataclass(frozen=True, eq=False)
class Ceiling:
    """F(τ) of some observations."""

    tau: float  # τ = βσ²; β for Bernoulli pixels, and for noise that differs between pixels
    upper: float  # the value of the mixture that was found, in nats per observation. F is at most this.
    gap: float  # the width of the bracket
    rate: float  # I(x; y) of the mixture, nats
    cap: float  # the largest possible rate: log N, or less if some observations are equal
    observations: int  # N
    atoms: int  # the number of atoms of the mixture

    @property
    def lower(self) -> float:
        """F is at least this."""
        return max(0.0, self.upper - self.gap)

    @property
    def memorises(self) -> bool:
        """Whether the mixture has about one atom for each observation. Then the ceiling says little about learning."""
        return self.rate > self.cap - MEMORISED


@dataclass(frozen=True, eq=False)
class CeilingProblem:
    """Observations and a family of components, for which F(τ) is computed.

    Attributes:
        x: the observations in coordinates that lose nothing: centred and on their principal axes, or without the pixels
            that never change.
        component: the family.
        cap: the entropy of the observations in nats: log N if they differ.
        pause: called between short steps. If it raises `Stopped`, what was found so far is returned, and less exactly.
    """

    x: Float64[Tensor, "N R"]
    component: type[Component]
    cap: float
    pause: Callable[[], None] = never

    @classmethod
    def gaussian(
        cls, x: Shaped[Tensor, "N *event"], variance: Float[Tensor, "*event"] | None = None
    ) -> "CeilingProblem":
        """For p(x|z) = N(g(z), σ²I); τ = βσ². With a `variance` for each pixel, x is divided by its root, and τ = β.

        The data is centred and turned to its principal axes. Directions without variance are left out.

        Raises:
            ValueError: on no observations, on numbers that are not finite, or on a variance that is not positive.
        """
        flat = _checked(x)
        if variance is not None:
            if not bool((variance > 0).all()):
                raise ValueError(f"expected variances > 0, got {float(variance.min())}; leave out pixels without noise")
            flat = flat / variance.double().cpu().flatten().sqrt()
        entropy = _entropy(flat)
        flat = flat - flat.mean(0)
        flat = flat - flat.mean(0)  # the first mean of large numbers is rounded
        return cls(_principal_coordinates(flat), Gaussian, entropy)

    @classmethod
    def bernoulli(cls, x: Shaped[Tensor, "N *event"]) -> "CeilingProblem":
        """For p(x|z) = Π Bernoulli(g(z)), x in {0, 1}; τ = β.

        Raises:
            ValueError: on no observations, or on a pixel that is neither 0 nor 1.
        """
        flat = _checked(x)
        if bool(((flat != 0) & (flat != 1)).any()):
            raise ValueError("expected pixels in {0, 1}, got grey levels; binarise by `Fixed` or `Threshold` first")
        changing = flat.min(0).values < flat.max(0).values
        return cls(flat[:, changing].contiguous(), Bernoulli, _entropy(flat))

    def on(self, device: torch.device) -> "CeilingProblem":
        """The same problem, computed on a device that has float64. Its brackets differ by rounding."""
        return replace(self, x=self.x.to(device))

    @property
    def seconds_of_a_round(self) -> float:
        """About how long one round of the search takes here. A τ takes a few, or as many as `most_rounds`."""
        return Search.of(self._one_atom(self.unstable_below or 1.0), TOLERANCE).seconds

    def collapsed(self, tau: float) -> float:
        """The value of total collapse: one atom, at the mean."""
        return self._one_atom(tau).value()

    def at(self, tau: float, tolerance: float = TOLERANCE) -> Ceiling:
        """F(τ); see `path`."""
        return self.path([tau], tolerance)[0]

    def path(
        self, taus: Sequence[float], tolerance: float = TOLERANCE, most_rounds: int = MOST_ROUNDS
    ) -> list[Ceiling]:
        """F at several τ, in the order of `taus`; see `descent`."""
        found = {each.tau: each for each in self.descent(taus, tolerance, most_rounds)}
        return [found[tau] for tau in taus]

    def descent(
        self, taus: Sequence[float], tolerance: float = TOLERANCE, most_rounds: int = MOST_ROUNDS
    ) -> Iterator[Ceiling]:
        """F at several τ, each as soon as it is known. One pass from the largest to the smallest is cheaper than each
        alone.

        After `pause` has ended the search, the brackets hold and are wide: F falls in τ, so the lower end is that of
        the next larger τ.

        Args:
            taus: in any order, each positive.
            tolerance: the width of the bracket, in nats, at which the search ends.
            most_rounds: rounds of the search at one τ. If they are not enough, the bracket is wider.

        Raises:
            ValueError: if a τ or the tolerance is not positive and finite.
        """
        for name, number in (*(("τ", tau) for tau in taus), ("tolerance", tolerance)):
            if not 0 < number < math.inf:
                raise ValueError(f"expected a {name} > 0, got {number}")
        mixture, now, lower = self._one_atom(self.unstable_below or 1.0), self.unstable_below, 0.0
        most = MOST_ATOMS if self.x.device.type == "cpu" else MOST_ATOMS_ON_ACCELERATOR
        for tau in sorted({*taus}, reverse=True):
            if self.component is Bernoulli and tau <= 1:
                yield self._memorised(tau)
                continue
            if self._has_many_atoms(tau, mixture):
                mixture = self._from_observations(tau, tolerance)
            else:
                while now * RATIO > tau:
                    now *= RATIO
                    mixture, _ = solve(self._at(now, mixture), 10 * tolerance, ON_THE_WAY, most, self.pause)
            mixture, gap = solve(self._at(tau, mixture), tolerance, most_rounds, most, self.pause)
            now = min(now, tau)
            found = self._bracket(tau, mixture, gap, lower)
            lower = found.lower
            yield found

    def _bracket(self, tau: float, mixture: Mixture, gap: float, known: float) -> Ceiling:
        """What a mixture and log max d say of F(τ).

        Args:
            mixture: that was found. Total collapse may be better, because the search ends at a tolerance.
            gap: log max d; infinity where nothing was searched.
            known: F is at least this.
        """
        best = min(mixture, self._one_atom(tau), key=Mixture.value)
        upper = max(0.0, best.value() if gap < math.inf else min(best.value(), self.cap))  # one atom an observation
        lower = known if math.isinf(gap) else mixture.value() - gap
        width = gap if best is mixture and gap < math.inf else max(0.0, upper - lower)
        return Ceiling(tau, upper, width, best.rate(), self.cap, len(self.x), len(best.atoms))

    def _memorised(self, beta: float) -> Ceiling:
        """F(β) of Bernoulli pixels for β ≤ 1: the entropy of the observations, with an atom at each.

        Σ_x p(x|θ)^{1/β} ≤ 1, so by Gibbs' inequality no mixture is better.
        """
        distinct = len(self.x.unique(dim=0)) if self.x.shape[1] else 1
        return Ceiling(beta, self.cap, 0.0, self.cap, self.cap, len(self.x), distinct)

    def _has_many_atoms(self, tau: float, before: Mixture) -> bool:
        """Whether the best mixture at τ probably has about as many atoms as there are observations."""
        if len(self.x) > MOST_OBSERVATIONS:
            return False
        first = len(before.atoms) == 1 and tau < DEEP * self.unstable_below
        return first or len(before.atoms) > MANY * len(self.x)

    def _from_observations(self, tau: float, tolerance: float) -> Mixture:
        """A mixture that began with an atom at every observation; its weights are moved where that is not enough."""
        component, n = self.component(tau), len(self.x)
        weights = self.x.new_full((n,), 1 / n)
        mixture = Mixture(self.x, component, component.inside(self.x), weights).merged().em(EM_FROM_OBSERVATIONS)
        try:
            if Search.of(mixture, tolerance, self.pause).quick().largest <= tolerance:
                return mixture
        except Stopped:
            return mixture
        return mixture.newton(NEWTON_STEPS).em(EM_STEPS).merged()

    def _at(self, tau: float, mixture: Mixture) -> Mixture:
        return Mixture(self.x, self.component(tau), mixture.atoms, mixture.weights)

    @property
    def _mean(self) -> Float64[Tensor, "1 R"]:
        return self.component(1.0).inside(self.x.mean(0, keepdim=True))

    def _one_atom(self, tau: float, at: Float64[Tensor, "1 R"] | None = None) -> Mixture:
        return Mixture(self.x, self.component(tau), self._mean if at is None else at, self.x.new_ones(1))

    @cached_property
    def unstable_below(self) -> float:
        """Below this τ total collapse is not even a local optimum: λ₁ of the covariance in units of the noise.

        For a Bernoulli these units make it the first eigenvalue of the correlation matrix.
        """
        if not self.x.shape[1]:
            return 0.0
        mean = self.x.mean(0)
        scaled = (self.x - mean) / ((mean * (1 - mean)).sqrt() if self.component is Bernoulli else 1.0)
        return max(0.0, float(torch.linalg.eigvalsh(_smaller_gram(scaled))[-1])) / len(scaled)

    @cached_property
    def onset(self) -> float:
        """The τ from which on total collapse is the optimum of every VAE, however deep: the largest root of max d = 1.

        It is at least `unstable_below`, and for a Gaussian it is the smallest τ with E exp(u·(x − μ)) ≤ exp(τ|u|²/2)
        for all u. A place y with d(y) > 1 at one τ has d(y) = 1 at a larger one, which is tried next. The search for y
        may miss places, so the true onset is never below this number, but may be above it.
        """
        now, base = self.unstable_below, self._one_atom(1.0).log_density()
        for _ in range(50):
            if now == 0.0:
                break
            try:
                best = Search.of(self._one_atom(now), 1e-9, self.pause).thorough().y[0]
            except Stopped:
                break
            raised = _root(self._one_atom(1.0, best[None]).log_density() - base, now)
            if raised <= now * (1 + 1e-9):
                break
            now = raised
        return now


def linear_value(eigenvalues: Float64[Tensor, " D"], tau: float, latent_dim: int | None = None) -> float:
    """The value of a linear VAE's optimum, to compare with F(τ): Σ_kept ½ + ½ log(λ/τ), and Σ λ/2τ of the others.

    Args:
        eigenvalues: of the data's covariance, descending.
        latent_dim: how many directions may be kept; None for all.
    """
    kept = eigenvalues[:latent_dim][eigenvalues[:latent_dim] > tau]
    left = eigenvalues[len(kept) :].sum()
    return float((0.5 + 0.5 * (kept / tau).log()).sum() + left / (2 * tau))


def objective_ceiling(value: float, beta: float, variance: Float[Tensor, "*any"] | None, dim: int) -> float:
    """The objective E_q log p(x|z) − β KL that belongs to a value of F, in nats per observation.

    Args:
        value: F(τ), or its lower end for a bound that holds.
        beta: β. At 0 the objective is the reconstruction's alone.
        variance: σ² of a Gaussian, one for all pixels or one for each; None for a Bernoulli.
        dim: D.
    """
    kept = -beta * value if beta else 0.0
    if variance is None:
        return kept
    log_variance = variance.double().log()
    return kept - 0.5 * dim * (math.log(2 * math.pi) + float(log_variance.mean()))


def _checked(x: Shaped[Tensor, "N *event"]) -> Float64[Tensor, "N D"]:
    if x.ndim < 2 or not len(x):
        raise ValueError(f"expected observations [N, ...] with N ≥ 1, got a tensor of shape {tuple(x.shape)}")
    flat = x.detach().cpu().flatten(1).double()
    if not bool(flat.isfinite().all()):
        raise ValueError("expected finite observations, got NaN or inf; clean the data first")
    return flat


def _smaller_gram(x: Float64[Tensor, "N D"]) -> Tensor:
    return x.mT @ x if x.shape[1] <= len(x) else x @ x.mT


def _principal_coordinates(x: Float64[Tensor, "N D"]) -> Float64[Tensor, "N R"]:
    """The same points on axes of their own: all distances are kept to rounding."""
    values, vectors = torch.linalg.eigh(_smaller_gram(x))
    kept = values > values[-1] * 1e-14
    if not float(values[-1]) > 0:
        return x[:, :0]
    if x.shape[1] > len(x):
        return (vectors[:, kept] * values[kept].sqrt()).flip(1).contiguous()
    return (x @ vectors[:, kept]).flip(1).contiguous()


def _entropy(x: Float64[Tensor, "N D"]) -> float:
    """The entropy of the empirical distribution, nats."""
    rows = (x + 0.0).contiguous().numpy()  # −0 becomes 0
    _, counts = np.unique(rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1]))), return_counts=True)
    share = counts / counts.sum()
    return float(-(share * np.log(share)).sum())


def _root(ratio: Float64[Tensor, " N"], tau: float) -> float:
    """The largest τ at which the mean of exp(ratio/τ) is 1, if it is above 1 at this τ; else this τ."""
    from scipy.optimize import brentq  # late, since few runs have a ceiling

    def log_d(at: float) -> float:
        return float(torch.logsumexp(ratio / at, 0)) - math.log(len(ratio))

    if log_d(tau) <= ROUNDING:
        return tau
    high = 2 * tau
    while log_d(high) > 0:
        high *= 2
    return float(brentq(log_d, tau, high, xtol=1e-12 * tau))
