"""A mixture of components of an exponential family, and the steps that move its atoms and weights.

A component is an exponential family in its mean parameter y, with its density raised to the power 1/τ. EM moves atoms
and weights; Newton steps with w ≥ 0 move the weights (Wang 2007, https://doi.org/10.1111/j.1467-9868.2007.00583.x).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float64
from torch import Tensor


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
    def unit(self, y: Float64[Tensor, "J D"]) -> Float64[Tensor, "J D"]:
        """The variance of x under the component at τ = 1."""

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

    def unit(self, y: Tensor) -> Tensor:
        return torch.ones_like(y)

    def offset(self, x: Tensor) -> Tensor:
        return -x.square().sum(1) / (2 * self.temperature)


class Bernoulli(Component):
    """Π_d (y_d^x_d (1 − y_d)^{1 − x_d})^{1/τ}."""

    def natural(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return torch.logit(y) / self.temperature, torch.log1p(-y).sum(1) / self.temperature

    def unit(self, y: Tensor) -> Tensor:
        return y * (1 - y)

    def offset(self, x: Tensor) -> Tensor:
        return x.new_zeros(len(x))

    def inside(self, y: Tensor) -> Tensor:
        return y.clamp(1e-12, 1 - 1e-12)


def divergence(component: Component, y: Float64[Tensor, "J D"], z: Float64[Tensor, "K D"]) -> Float64[Tensor, "J K"]:
    """(y − z)·(η(y) − η(z)), the symmetric divergence of two components; for a Gaussian |y − z|²/τ."""
    (a, _), (b, _) = component.natural(y), component.natural(z)
    return ((a * y).sum(1)[:, None] + (b * z).sum(1)) - a @ z.mT - y @ b.mT


def distinct_order(component: Component, y: Tensor, score: Tensor, least: float) -> tuple[Tensor, Tensor]:
    """Indices of the places that are not close to one with a higher score, the highest first; and for every place the
    index of the place that stands for it."""
    stands, chosen = torch.full((len(y),), -1), torch.empty(0, dtype=torch.long)  # on the CPU: read one by one
    for part in score.argsort(descending=True).cpu().split(256):
        if len(chosen):
            close = (divergence(component, y[part], y[chosen]) <= least).cpu()
            near = close.any(1)
            stands[part[near]] = chosen[close[near].to(torch.uint8).argmax(1)]
            part = part[~near]
        among, new = (divergence(component, y[part], y[part]) <= least).cpu(), list[int]()
        for i, row in enumerate(among):
            if stands[part[i]] < 0:
                new.append(i)
                stands[part[row & (stands[part] < 0)]] = part[i]
                stands[part[i]] = part[i]
        chosen = torch.cat([chosen, part[new]])
    return chosen.to(y.device), stands.to(y.device)


ENTRIES, ENTRIES_ON_ACCELERATOR = 2**22, 2**25
"""Entries of a block of observations × atoms: 32 MiB, and 256 MiB on a GPU. No larger table is made."""

SAME_ATOM = 1e-4  # two atoms are one if (y − y')·(η − η') is below this
NEGLIGIBLE = 1e-12  # the weight of an atom that is dropped
PIVOTS = 30  # steps of block pivoting, after which it is taken to run in a circle
MOST_EXACT = 2000  # weights up to which `scipy.optimize.nnls` ends a pivoting that runs in a circle

RIDGE = 1e-6
"""A Newton step on the weights is kept short by this, relative to the Hessian: two atoms may be almost equal."""


def block_rows(x: Tensor, columns: int) -> int:
    """Rows of a table with so many columns that are computed at a time, on the device of x."""
    entries = ENTRIES if x.device.type == "cpu" else ENTRIES_ON_ACCELERATOR
    return max(1, entries // columns)


@dataclass(frozen=True, eq=False)
class Mixture:
    """Atoms with weights, for some observations."""

    x: Float64[Tensor, "N D"]  # observations
    component: Component  # p(x|y)^{1/τ}
    atoms: Float64[Tensor, "J D"]  # y, one a row
    weights: Float64[Tensor, " J"]  # w > 0, which sum to 1

    def log_terms(self) -> Iterator[tuple[Float64[Tensor, "M D"], Float64[Tensor, "M J"]]]:
        """Observations and log p(x|y)^{1/τ}, block by block."""
        a, b = self.component.natural(self.atoms)
        for rows in self.x.split(block_rows(self.x, len(a))):
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
            # The linear term of the quadratic model at w is Hw + d − 1; Hw = d, because Σ_j w_j p(x_n|y_j) / p_n = 1.
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
    from zero and takes ten times as long; it takes over where the pivoting runs in a circle. Its time grows with J³, so
    for many weights the last candidate is returned, without its negative weights: `newton` goes there only downhill.
    """
    free = free.clone()
    for _ in range(PIVOTS):
        w = torch.zeros_like(linear)
        w[free] = torch.cholesky_solve(linear[free, None], torch.linalg.cholesky(hessian[free][:, free]))[:, 0]
        wrong = torch.where(free, w < 0, hessian @ w - linear < -1e-9)
        if not bool(wrong.any()):
            return w
        free = free ^ wrong
    if len(w) > MOST_EXACT:
        return w.clamp(min=0)
    from scipy.optimize import nnls  # late, since few runs have a ceiling

    factor = torch.linalg.cholesky(hessian)
    aim = torch.linalg.solve_triangular(factor, linear[:, None], upper=False)[:, 0]
    found, _ = nnls(factor.mT.cpu().numpy(), aim.cpu().numpy(), maxiter=10 * len(linear))
    return torch.from_numpy(found).to(linear.device)
