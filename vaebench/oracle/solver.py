"""The nonparametric maximum likelihood of a mixture (Lindsay 1983): the best distribution of the component's parameter.

The solver repeats three steps. Mean shift from many starts finds maxima of d(y) = (1/N) Σ_n p(x_n|y)^{1/τ} / p_n, where
p_n is the mixture at x_n; they become atoms. Newton steps move the weights. EM moves atoms and weights.

F_P = −(1/N) Σ log p_n of any mixture P is an upper bound on the minimum F, and F_P − log max_y d(y) is a lower one.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from time import perf_counter

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from vaebench.oracle.mixture import SAME_ATOM, Mixture, block_rows, distinct_order, divergence

EM_STEPS, NEWTON_STEPS = 6, 3  # steps in a round
MOST_STARTS = 3000  # observations from which mean shift starts
FEW = 32  # starts on which the time of a search is measured
LAST, LAST_ROUNDS = 20, 100  # so many of the best places are climbed to the end, in at most so many rounds
MEETING, SAME_START = 0.05, 1e-3  # two starts are one if (y − y')·(η − η') is below this, in the first round and later
FAR = 100  # a start below d = 1 goes on if so many gains like its last one would bring it there


class Stopped(Exception):
    """Raised by `pause`, a function that the search calls again and again, to end it."""


def never() -> None:
    """The `pause` that never ends a search."""


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
    """The search for maxima of d(y) of one mixture."""

    mixture: Mixture  # P
    log_density: Float64[Tensor, " N"]  # log p_n
    precision: float  # a smaller gain of log d ends the search
    pause: Callable[[], None] = never  # called between short steps. What it raises ends the search.

    @classmethod
    def of(cls, mixture: Mixture, tolerance: float, pause: Callable[[], None] = never) -> "Search":
        """The search for a mixture. It ends when three steps of no start raise log d by a tenth of the tolerance."""
        return cls(mixture, mixture.log_density(), tolerance / 10, pause)

    def quick(self) -> Maxima:
        """From the atoms, and from as many observations, where d is largest."""
        atoms, observations = self.mixture.atoms, self._starts()
        most = max(100, len(atoms))
        if len(observations) > most:
            observations = observations[self._step(observations)[0].topk(most).indices]
        return self._climb(torch.cat([observations, atoms]), rounds=6, most=50 + 2 * len(atoms))

    @property
    def seconds(self) -> float:
        """About how long `quick` takes, measured on a few of its starts."""
        few = self._starts()[:FEW]
        self._step(few)  # makes the tables
        begin = perf_counter()
        self._step(few)
        steps = min(len(self.mixture.x), MOST_STARTS) + 12 * 100  # the first step of all, and six rounds of the best
        return (perf_counter() - begin) / len(few) * steps

    def thorough(self) -> Maxima:
        """From every observation, or `MOST_STARTS` of them, from the atoms, and from beside the atoms.

        The best places are then climbed to the end.
        """
        found = self._climb(torch.cat([self._starts(), self._beside(), self.mixture.atoms]), 30, MOST_STARTS)
        best = self.to_the_end(found)
        return Maxima(torch.cat([best.y, found.y[LAST:]]), torch.cat([best.log_d, found.log_d[LAST:]]))

    def to_the_end(self, found: Maxima) -> Maxima:
        """The best places of a search, climbed until nothing is gained."""
        return replace(self, precision=0.0)._climb(found.y[:LAST], LAST_ROUNDS, LAST)

    def _beside(self) -> Float64[Tensor, "S D"]:
        """Both sides of every atom, where d bends upwards: mean shift would not leave a saddle.

        Atoms whose observations vary by less than τ in all directions together are left out: d bends downwards there.
        """
        x, component, sides = self.mixture.x, self.mixture.component, list[Tensor]()
        random = torch.randn(len(x), 1, generator=torch.Generator().manual_seed(0), dtype=x.dtype).to(x.device)
        for part in self.mixture.atoms.split(block_rows(x, len(x))):
            share = torch.softmax(self._terms(part, x, self._constant), 1)
            centre, unit = share @ x, component.unit(part)
            total = ((share @ x.square() - centre.square()) / unit).sum(1)
            steep = total > (1 - SAME_START) * component.temperature
            part, share, centre, unit = part[steep], share[steep], centre[steep], unit[steep]
            way = (share.mT * random).mT @ x
            for _ in range(20):  # power iteration for the largest variance around each atom
                way = way / way.norm(dim=1, keepdim=True).clamp(min=1e-300)
                along = share * (way @ x.mT - (centre * way).sum(1)[:, None])
                way = along @ x - along.sum(1, keepdim=True) * centre
            length = (way.square() / (unit * component.temperature)).sum(1, keepdim=True).sqrt()
            step = 0.3 * way / length.clamp(min=1e-300)
            sides += [component.inside(part + step), component.inside(part - step)]
        return torch.cat(sides)

    def _starts(self) -> Float64[Tensor, "S D"]:
        """Observations at equal distances, and those that the mixture explains worst; all if they are few."""
        x, inside = self.mixture.x, self.mixture.component.inside
        if len(x) <= MOST_STARTS:
            return inside(x)
        spaced = torch.arange(MOST_STARTS // 2, device=x.device) * len(x) // (MOST_STARTS // 2)
        worst = (-self.log_density).topk(MOST_STARTS // 2).indices
        return inside(x[torch.cat([spaced, worst]).unique()])

    def _climb(self, y: Float64[Tensor, "S D"], rounds: int, most: int) -> Maxima:
        """Mean shift with extrapolation. Starts that meet become one; those that stop below d = 1 go.

        A round takes the steps y → y' → y'', and extrapolates them; it goes on from there if d is larger than at y',
        and else from y'. This is SQUAREM (Varadhan & Roland 2008, https://doi.org/10.1111/j.1467-9469.2007.00585.x).
        """
        component = self.mixture.component
        log_d, once = self._step(y)
        for i in range(rounds):
            before, (higher, twice) = log_d, self._step(once)
            first, bend = once - y, twice - 2 * once + y
            length = first.norm(dim=1, keepdim=True) / bend.norm(dim=1, keepdim=True).clamp(min=1e-300)
            far = component.inside(y + 2 * length * first + length.square() * bend)
            far = torch.where(far.isfinite().all(1, keepdim=True), far, once)
            log_d, beyond = self._step(far)
            better = log_d > higher
            y, once = torch.where(better[:, None], far, once), torch.where(better[:, None], beyond, twice)
            log_d = torch.where(better, log_d, higher)
            gain = log_d - before
            promising = (log_d + FAR * gain > 0) | (log_d >= log_d.max())
            y, once, log_d = y[promising], once[promising], log_d[promising]
            if i < 3 or i % 4 == 0:
                chosen = distinct_order(component, once, log_d, SAME_START if i else MEETING)[0][:most]
                y, once, log_d = y[chosen], once[chosen], log_d[chosen]
            if float(gain[promising].max()) <= self.precision:
                break
        log_d = self.log_d(once)
        order = log_d.argsort(descending=True)
        return Maxima(once[order], log_d[order])

    def log_d(self, y: Float64[Tensor, "S D"]) -> Float64[Tensor, " S"]:
        """log d(y), in float64."""
        x, parts = self.mixture.x, y.split(block_rows(self.mixture.x, len(self.mixture.x)))
        found = [torch.logsumexp(self._terms(part, x, self._constant), 1) for part in parts]
        return torch.cat(found) - math.log(len(x))

    def _step(self, y: Float64[Tensor, "S D"]) -> tuple[Float64[Tensor, " S"], Float64[Tensor, "S D"]]:
        """log d(y), and where a step of mean shift leads, which never lowers d."""
        x, constant = self._tables
        log_d, shifted = list[Tensor](), list[Tensor]()
        for part in y.split(block_rows(x, len(x))):
            self.pause()
            terms = self._terms(part, x, constant)
            largest = terms.amax(1, keepdim=True)
            mass = (terms - largest).exp_()
            total = mass.sum(1, keepdim=True)
            log_d.append((largest + total.log())[:, 0])
            shifted.append(mass @ x / total)
        return torch.cat(log_d).double() - math.log(len(x)), self.mixture.component.inside(torch.cat(shifted).double())

    @cached_property
    def _constant(self) -> Float64[Tensor, " N"]:
        """c(x_n) − log p_n."""
        return self.mixture.component.offset(self.mixture.x) - self.log_density

    @cached_property
    def _tables(self) -> tuple[Tensor, Tensor]:
        """Observations and c(x_n) − log p_n for mean shift: in float32 where its rounding is below the precision.

        Mean shift only searches. What it finds is computed in float64.
        """
        constant = self._constant
        rounding = torch.finfo(torch.float32).eps * float(constant.abs().max())
        dtype = torch.float32 if rounding < self.precision / 4 else torch.float64
        return self.mixture.x.to(dtype), constant.to(dtype)

    def _terms(self, y: Float64[Tensor, "S D"], x: Tensor, constant: Tensor) -> Float[Tensor, "S N"]:
        a, b = self.mixture.component.natural(y)
        return torch.addmm(constant, a.to(x.dtype), x.mT) + b.to(x.dtype)[:, None]


def solve(
    mixture: Mixture, tolerance: float, most_rounds: int, most_atoms: int, pause: Callable[[], None] = never
) -> tuple[Mixture, float]:
    """Improve a mixture until log max d is below the tolerance.

    Returns:
        The mixture, and log max d by a thorough search. It is above the tolerance if the rounds were not enough. If
        `pause` ended the search: the latest mixture that was searched, and log max d by its quick search, climbed to
        the end; infinity if there was none.
    """
    before: tuple[Search, Maxima] | None = None
    try:
        for _ in range(most_rounds):
            search = Search.of(mixture, tolerance, pause)
            before = search, (found := search.quick())
            if found.largest <= tolerance:
                found = search.thorough()
                if found.largest <= tolerance:
                    return mixture, found.largest
            new = _new_atoms(mixture, found, tolerance / 4, most_atoms - len(mixture.atoms))
            if len(new):
                mixture = mixture.with_atoms(new).newton(NEWTON_STEPS)
            mixture = mixture.em(EM_STEPS).merged().newton(NEWTON_STEPS)
        return mixture, Search.of(mixture, tolerance, pause).thorough().largest
    except Stopped:
        if before is None:
            return mixture, math.inf
        search, found = before
        return search.mixture, replace(search, pause=never).to_the_end(found).largest


def _new_atoms(mixture: Mixture, found: Maxima, least: float, most: int) -> Float64[Tensor, "K D"]:
    """The maxima that are not atoms yet."""
    above = found.y[found.log_d > least]
    apart = (divergence(mixture.component, above, mixture.atoms) > SAME_ATOM).all(1)
    return above[apart][: max(0, min(most, max(20, len(mixture.atoms))))]
