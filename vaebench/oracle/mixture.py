"""The nonparametric maximum likelihood of a mixture (Lindsay 1983): the best distribution of the component's parameter.

A component is an exponential family in its mean parameter y, with its density raised to the power 1/τ. The solver
repeats three steps. Mean shift from many starts finds maxima of d(y) = (1/N) Σ_n p(x_n|y)^{1/τ} / p_n, where p_n is the
mixture at x_n; they become atoms. Newton steps with w ≥ 0 move the weights (Wang 2007,
https://doi.org/10.1111/j.1467-9868.2007.00583.x). EM moves atoms and weights.

F_P = −(1/N) Σ log p_n of any mixture P is an upper bound on the minimum F, and F_P − log max_y d(y) is a lower one.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

ENTRIES = 2**22
"""Entries of a block of observations × atoms: 32 MiB. No larger table is made."""

EM_STEPS, NEWTON_STEPS = 6, 6
"""Steps in a round."""

MOST_STARTS = 3000
"""Observations from which mean shift starts."""

MEETING, SAME_START, SAME_ATOM = 0.05, 1e-3, 1e-4
"""Two starts (in the first round, and later) or two atoms are one if (y − y')·(η − η') is below this."""

FAR = 100
"""A start below d = 1 goes on if so many gains like its last one would bring it there."""

NEGLIGIBLE = 1e-12
"""The weight of an atom that is dropped."""

RIDGE = 1e-6
"""A Newton step on the weights is kept short by this, relative to the Hessian: two atoms may be almost equal."""


class Component(ABC):
    """p(x|y)^{1/τ} = exp(x·a(y) + b(y) + c(x)).

    Args:
        temperature: τ.
    """

    def __init__(self, temperature: float) -> None:
        self.temperature = temperature

    @abstractmethod
    def natural(self, y: Float64[Tensor, "J D"]) -> tuple[Float64[Tensor, "J D"], Float64[Tensor, " J"]]:
        """a(y) and b(y)."""

    @abstractmethod
    def offset(self, x: Float64[Tensor, "N D"]) -> Float64[Tensor, " N"]:
        """c(x)."""

    def inside(self, y: Float64[Tensor, "J D"]) -> Float64[Tensor, "J D"]:
        """The nearest parameters whose natural parameters are finite."""
        return y


class Gaussian(Component):
    """exp(−|x − y|²/2τ)."""

    def natural(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return y / self.temperature, -y.square().sum(1) / (2 * self.temperature)

    def offset(self, x: Tensor) -> Tensor:
        return -x.square().sum(1) / (2 * self.temperature)


class Bernoulli(Component):
    """Π_d (y_d^x_d (1 − y_d)^{1 − x_d})^{1/τ}."""

    def natural(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return torch.logit(y) / self.temperature, torch.log1p(-y).sum(1) / self.temperature

    def offset(self, x: Tensor) -> Tensor:
        return x.new_zeros(len(x))

    def inside(self, y: Tensor) -> Tensor:
        return y.clamp(1e-12, 1 - 1e-12)


@dataclass(frozen=True, eq=False)
class Mixture:
    """Atoms with weights, for some observations.

    Attributes:
        x: observations.
        component: p(x|y)^{1/τ}.
        atoms: y, one a row.
        weights: w > 0, which sum to 1.
    """

    x: Float64[Tensor, "N D"]
    component: Component
    atoms: Float64[Tensor, "J D"]
    weights: Float64[Tensor, " J"]

    def log_terms(self) -> Iterator[tuple[Float64[Tensor, "M D"], Float64[Tensor, "M J"]]]:
        """Observations and log p(x|y)^{1/τ}, block by block."""
        a, b = self.component.natural(self.atoms)
        for rows in self.x.split(max(1, ENTRIES // len(a))):
            yield rows, torch.addmm(b, rows, a.mT) + self.component.offset(rows)[:, None]

    def log_density(self) -> Float64[Tensor, " N"]:
        """log p_n."""
        log_weights = self.weights.log()
        return torch.cat([torch.logsumexp(terms + log_weights, 1) for _, terms in self.log_terms()])

    def value(self) -> float:
        """F_P, in nats per observation."""
        return -float(self.log_density().mean())

    def rate(self) -> float:
        """The mutual information of observation and atom, in nats: how much a code of this mixture says."""
        log_weights, total = self.weights.log(), 0.0
        for _, terms in self.log_terms():
            posterior = torch.softmax(terms + log_weights, 1)
            total += float(torch.special.xlogy(posterior, posterior).sum() - (posterior @ log_weights).sum())
        return total / len(self.x)

    def em(self, steps: int) -> "Mixture":
        """Steps of EM on atoms and weights."""
        mixture = self
        for _ in range(steps):
            log_weights = mixture.weights.log()
            mass, moment = torch.zeros_like(mixture.weights), torch.zeros_like(mixture.atoms)
            for rows, terms in mixture.log_terms():
                posterior = torch.softmax(terms + log_weights, 1)
                mass += posterior.sum(0)
                moment += posterior.mT @ rows
            kept = mass > NEGLIGIBLE * len(self.x)
            atoms = self.component.inside(moment[kept] / mass[kept, None])
            mixture = Mixture(self.x, self.component, atoms, mass[kept] / mass[kept].sum())
        return mixture

    def newton(self, steps: int) -> "Mixture":
        """Newton steps on the weights, for −(1/N) Σ log p_n + Σ w over w ≥ 0, whose minimum has Σ w = 1."""
        weights = self.weights
        for _ in range(steps):
            log_density = Mixture(self.x, self.component, self.atoms, weights).log_density()
            hessian, gradient = self._curvature(log_density)
            short = RIDGE * hessian.diagonal()
            linear = 2 * gradient - 1 + short * weights
            step = _quadratic_minimum(hessian + short.diag(), linear, weights > 0) - weights
            along = torch.cat([torch.exp(t - p[:, None]) @ step for t, p in self._ratios(log_density)])
            slope = float(step.sum() - along.mean())
            if slope > -1e-12 or (length := _line_search(along, float(step.sum()), slope)) == 0:
                break
            weights = (weights + length * step).clamp(min=0)
        weights = weights / weights.sum()
        kept = weights > NEGLIGIBLE
        return Mixture(self.x, self.component, self.atoms[kept], weights[kept] / weights[kept].sum())

    def _ratios(self, log_density: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        start = 0
        for rows, terms in self.log_terms():
            yield terms, log_density[start : start + len(rows)]
            start += len(rows)

    def _curvature(self, log_density: Float64[Tensor, " N"]) -> tuple[Float64[Tensor, "J J"], Float64[Tensor, " J"]]:
        """Hessian of −(1/N) Σ log p_n in the weights, and minus its gradient d(y_j)."""
        size = len(self.weights)
        hessian, gradient = self.x.new_zeros(size, size), self.x.new_zeros(size)
        for terms, density in self._ratios(log_density):
            ratio = torch.exp(terms - density[:, None])
            hessian += ratio.mT @ ratio
            gradient += ratio.sum(0)
        return hessian / len(self.x), gradient / len(self.x)

    def merged(self) -> "Mixture":
        """Atoms that are almost equal become one, at their centre."""
        _, order = distinct_order(self.component, self.atoms, self.weights, SAME_ATOM)
        atoms = torch.zeros_like(self.atoms).index_add_(0, order, self.atoms * self.weights[:, None])
        weights = torch.zeros_like(self.weights).index_add_(0, order, self.weights)
        kept = weights > 0
        return Mixture(self.x, self.component, atoms[kept] / weights[kept, None], weights[kept])

    def with_atoms(self, new: Float64[Tensor, "K D"], share: float = 1e-3) -> "Mixture":
        """Add atoms, which share a small weight equally."""
        weights = torch.cat([self.weights * (1 - share), self.weights.new_full((len(new),), share / len(new))])
        return Mixture(self.x, self.component, torch.cat([self.atoms, new]), weights)


def _line_search(along: Float64[Tensor, " N"], total: float, slope: float) -> float:
    """The first of 1, ½, ¼, … that gains a part of what the slope promises; 0 if none does."""
    for halvings in range(40):
        length = 0.5**halvings
        changed = 1 + length * along
        if bool((changed > 0).all()) and length * total - float(changed.log().mean()) <= 1e-4 * length * slope:
            return length
    return 0.0


def _quadratic_minimum(
    hessian: Float64[Tensor, "J J"], linear: Float64[Tensor, " J"], free: Bool[Tensor, " J"]
) -> Float64[Tensor, " J"]:
    """The minimum of ½ wᵀHw − rᵀw over w ≥ 0 by block pivoting (Kim & Park 2011, https://doi.org/10.1137/110821172).

    It starts from the set of free weights, which is almost right after the first round. `scipy.optimize.nnls` starts
    from zero and takes ten times as long; it takes over where the pivoting runs in a circle.
    """
    free = free.clone()
    for _ in range(12):
        w = torch.zeros_like(linear)
        w[free] = torch.cholesky_solve(linear[free, None], torch.linalg.cholesky(hessian[free][:, free]))[:, 0]
        wrong = torch.where(free, w < 0, hessian @ w - linear < -1e-9)
        if not bool(wrong.any()):
            return w
        free = free ^ wrong
    from scipy.optimize import nnls  # late, since few runs have a ceiling

    factor = torch.linalg.cholesky(hessian)
    aim = torch.linalg.solve_triangular(factor, linear[:, None], upper=False)[:, 0]
    return torch.from_numpy(nnls(factor.mT.numpy(), aim.numpy(), maxiter=10 * len(linear))[0])


@dataclass(frozen=True, eq=False)
class Maxima:
    """Where d(y) is large, the best first, and log d there."""

    y: Float64[Tensor, "K D"]
    log_d: Float64[Tensor, " K"]

    @property
    def largest(self) -> float:
        """log max d, at least 0: the mean of d over the atoms of the mixture is 1."""
        return max(0.0, float(self.log_d[0]))


@dataclass(frozen=True, eq=False)
class Search:
    """The search for maxima of d(y) of one mixture.

    Attributes:
        mixture: P.
        log_density: log p_n.
        precision: a smaller gain of log d ends the search.
    """

    mixture: Mixture
    log_density: Float64[Tensor, " N"]
    precision: float

    @classmethod
    def of(cls, mixture: Mixture, tolerance: float) -> "Search":
        """The search for a mixture. It ends when three steps of no start raise log d by a tenth of the tolerance."""
        return cls(mixture, mixture.log_density(), tolerance / 10)

    def quick(self) -> Maxima:
        """From the atoms, and from as many observations, where d is largest."""
        atoms, observations = self.mixture.atoms, self._starts()
        most = max(100, len(atoms))
        if len(observations) > most:
            observations = observations[self.log_d(observations).topk(most).indices]
        return self._climb(torch.cat([observations, atoms]), rounds=4, most=50 + 2 * len(atoms))

    def thorough(self) -> Maxima:
        """From every observation, or `MOST_STARTS` of them, from the atoms, and from beside the atoms."""
        return self._climb(torch.cat([self._starts(), self._beside(), self.mixture.atoms]), 20, MOST_STARTS)

    def _beside(self) -> Float64[Tensor, "S D"]:
        """Both sides of every atom, where d bends upwards: mean shift would not leave a saddle."""
        x, atoms, sides = self.mixture.x, self.mixture.atoms, list[Tensor]()
        random = torch.randn(len(x), 1, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
        for part, terms in zip(atoms.split(max(1, ENTRIES // len(x))), self._terms(atoms), strict=True):
            share = torch.softmax(terms, 0)
            centre, way = share.mT @ x, (share * random).mT @ x
            for _ in range(20):  # power iteration for the largest variance around each atom
                way = way / way.norm(dim=1, keepdim=True).clamp(min=1e-300)
                along = x @ way.mT - (centre * way).sum(1)
                way = (share * along).mT @ x - (share * along).sum(0)[:, None] * centre
            step = 0.3 * way / way.norm(dim=1, keepdim=True).clamp(min=1e-300)
            # In the unit in which the divergence is |step|².
            scale = divergence_of_pairs(self.mixture.component, part + 1e-6 * step, part).sqrt() / (0.3e-6)
            step = step / scale.clamp(min=1e-300)[:, None]
            sides += [self.mixture.component.inside(part + step), self.mixture.component.inside(part - step)]
        return torch.cat(sides)

    def _starts(self) -> Float64[Tensor, "S D"]:
        """Observations at equal distances, and those that the mixture explains worst; all if they are few."""
        x, inside = self.mixture.x, self.mixture.component.inside
        if len(x) <= MOST_STARTS:
            return inside(x)
        spaced = torch.arange(MOST_STARTS // 2) * len(x) // (MOST_STARTS // 2)
        worst = (-self.log_density).topk(MOST_STARTS // 2).indices
        return inside(x[torch.cat([spaced, worst]).unique()])

    def _climb(self, y: Float64[Tensor, "S D"], rounds: int, most: int) -> Maxima:
        """Mean shift with extrapolation. Starts that meet become one; those that stop below d = 1 go."""
        log_d = self.log_d(y)
        for i in range(rounds):
            y, higher = self._extrapolate(y)
            gain = higher - log_d
            promising = (higher + FAR * gain > 0) | (higher >= higher.max())
            y, log_d = distinct(
                self.mixture.component, Maxima(y[promising], higher[promising]), SAME_START if i else MEETING, most
            )
            if float(gain[promising].max()) < self.precision:
                break
        return Maxima(y, log_d)

    def _extrapolate(self, y: Float64[Tensor, "S D"]) -> tuple[Tensor, Tensor]:
        """Three steps of mean shift; the last begins at an extrapolation of the first two, where that raises d.

        This is SQUAREM (Varadhan & Roland 2008, https://doi.org/10.1111/j.1467-9469.2007.00585.x).
        """
        once = self.shift(y)
        twice = self.shift(once)
        first, bend = once - y, twice - 2 * once + y
        length = first.norm(dim=1, keepdim=True) / bend.norm(dim=1, keepdim=True).clamp(min=1e-300)
        far = self.mixture.component.inside(y + 2 * length * first + length.square() * bend)
        far = torch.where(far.isfinite().all(1, keepdim=True), far, twice)
        better = self.log_d(far) > self.log_d(twice)
        y = self.shift(torch.where(better[:, None], far, twice))
        return y, self.log_d(y)

    def log_d(self, y: Float64[Tensor, "S D"]) -> Float64[Tensor, " S"]:
        """log d(y)."""
        return torch.cat([torch.logsumexp(terms, 0) for terms in self._terms(y)]) - math.log(len(self.mixture.x))

    def shift(self, y: Float64[Tensor, "S D"]) -> Float64[Tensor, "S D"]:
        """One step of mean shift, which never lowers d."""
        parts = [torch.softmax(terms, 0).mT @ self.mixture.x for terms in self._terms(y)]
        return self.mixture.component.inside(torch.cat(parts))

    def _terms(self, y: Float64[Tensor, "S D"]) -> Iterator[Float64[Tensor, "N M"]]:
        x = self.mixture.x
        constant = self.mixture.component.offset(x) - self.log_density
        for part in y.split(max(1, ENTRIES // len(x))):
            a, b = self.mixture.component.natural(part)
            yield torch.addmm(b, x, a.mT) + constant[:, None]


def divergence(component: Component, y: Float64[Tensor, "J D"], z: Float64[Tensor, "K D"]) -> Float64[Tensor, "J K"]:
    """(y − z)·(η(y) − η(z)), the symmetric divergence of two components; for a Gaussian |y − z|²/τ."""
    (a, _), (b, _) = component.natural(y), component.natural(z)
    return ((a * y).sum(1)[:, None] + (b * z).sum(1)) - a @ z.mT - y @ b.mT


def divergence_of_pairs(component: Component, y: Float64[Tensor, "J D"], z: Float64[Tensor, "J D"]) -> Tensor:
    """The diagonal of `divergence`."""
    y, z = component.inside(y), component.inside(z)
    return ((y - z) * (component.natural(y)[0] - component.natural(z)[0])).sum(1).clamp(min=0)


def distinct(component: Component, found: Maxima, least: float, most: int) -> tuple[Tensor, Tensor]:
    """The places that are not close to a better one, the best first, at most so many."""
    chosen, _ = distinct_order(component, found.y, found.log_d, least)
    return found.y[chosen[:most]], found.log_d[chosen[:most]]


def distinct_order(component: Component, y: Tensor, score: Tensor, least: float) -> tuple[Tensor, Tensor]:
    """Indices of the places that are not close to one with a higher score, the highest first; and for every place the
    index of the place that stands for it."""
    order, stands, chosen = score.argsort(descending=True), torch.full((len(y),), -1), list[int]()
    for part in order.split(256):
        close = divergence(component, y[part], y) <= least
        for i, row in zip(part.tolist(), close, strict=True):
            if stands[i] < 0:
                chosen.append(i)
                stands[row & (stands < 0)] = i
                stands[i] = i
    return torch.tensor(chosen), stands


def solve(mixture: Mixture, tolerance: float, most_rounds: int, most_atoms: int) -> tuple[Mixture, float]:
    """Improve a mixture until log max d is below the tolerance.

    Returns:
        The mixture, and log max d by a thorough search. It is above the tolerance if the rounds were not enough.
    """
    for _ in range(most_rounds):
        search = Search.of(mixture, tolerance)
        found = search.quick()
        if found.largest <= tolerance:
            found = search.thorough()
            if found.largest <= tolerance:
                return mixture, found.largest
        new = _new_atoms(mixture, found, tolerance / 4, most_atoms - len(mixture.atoms))
        if len(new):
            mixture = mixture.with_atoms(new).newton(NEWTON_STEPS)
        mixture = mixture.em(EM_STEPS).merged().newton(NEWTON_STEPS)
    return mixture, Search.of(mixture, tolerance).thorough().largest


def _new_atoms(mixture: Mixture, found: Maxima, least: float, most: int) -> Float64[Tensor, "K D"]:
    """The maxima that are not atoms yet."""
    above = found.y[found.log_d > least]
    apart = (divergence(mixture.component, above, mixture.atoms) > SAME_ATOM).all(1)
    return above[apart][: max(0, min(most, max(20, len(mixture.atoms))))]
