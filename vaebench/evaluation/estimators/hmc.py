"""Hamiltonian Monte Carlo on any number of chains at once (Duane et al. 1987; Neal 2011).

A target is a sum of terms with weights, log f(z) = Σ_j w_j f_j(z) + const: along an annealing path the weights move
and the terms do not, so a position stays valid, its gradients with it, from one distribution of the path to the next.
Each coordinate of each chain has a step size of its own, which is a diagonal mass matrix by another name. All
randomness comes from the generator that is handed over.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

JITTER = 0.2
"""Each trajectory's step is drawn within ±20 %: one of fixed length may come round to where it began (Neal 2011)."""

LogDensity = Callable[[Float[Tensor, "*chains L"]], Float[Tensor, "*chains"]]


class Position(NamedTuple):
    """Where every chain stands, and what the target's terms are there.

    Attributes:
        z: `[*chains, L]`.
        terms: f_j(z), `[J, *chains]`.
        gradients: ∂f_j/∂z, `[J, *chains, L]`.
    """

    z: Float[Tensor, "*chains L"]
    terms: Float[Tensor, "J *chains"]
    gradients: Float[Tensor, "J *chains L"]

    def log_density(self, weight: Float[Tensor, " J"]) -> Float[Tensor, "*chains"]:
        """Σ_j w_j f_j(z)."""
        return torch.tensordot(weight, self.terms, 1)

    def gradient(self, weight: Float[Tensor, " J"]) -> Float[Tensor, "*chains L"]:
        """Σ_j w_j ∂f_j/∂z."""
        return torch.tensordot(weight, self.gradients, 1)

    def where(self, taken: Bool[Tensor, "*chains"], other: "Position") -> "Position":
        """This position in the chains that are `taken`, the other one elsewhere."""
        z = torch.where(taken[..., None], self.z, other.z)
        gradients = torch.where(taken[..., None], self.gradients, other.gradients)
        return Position(z, torch.where(taken, self.terms, other.terms), gradients)


@dataclass(frozen=True)
class Target:
    """The terms f_j, each a function of z `[*chains, L]` with one value a chain."""

    terms: tuple[LogDensity, ...]

    def at(self, z: Float[Tensor, "*chains L"]) -> Position:
        """The position at z; one evaluation and one gradient of every term."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            terms = [term(z) for term in self.terms]
            gradients = [torch.autograd.grad(term.sum(), z)[0] for term in terms]
        return Position(z.detach(), torch.stack(terms).detach(), torch.stack(gradients))


class Moved(NamedTuple):
    """Where the chains are after a transition, and the probability with which each was to accept it."""

    position: Position
    acceptance: Float[Tensor, "*chains"]


def leapfrog(
    target: Target,
    weight: Float[Tensor, " J"],
    start: Position,
    momentum: Float[Tensor, "*chains L"],
    step: Float[Tensor, "*chains L"],
    count: int,
) -> tuple[Position, Float[Tensor, "*chains L"]]:
    """`count` leapfrog steps of the Hamiltonian dynamics of −log f(z) + ½|momentum|².

    Reversible (momentum turned round, it retraces itself) and volume-preserving; the error of the energy is O(step²).
    """
    position = start
    momentum = momentum + 0.5 * step * position.gradient(weight)
    for _ in range(count):
        position = target.at(position.z + step * momentum)
        momentum = momentum + step * position.gradient(weight)
    return position, momentum - 0.5 * step * position.gradient(weight)


def transition(
    target: Target,
    weight: Float[Tensor, " J"],
    start: Position,
    step: Float[Tensor, "*chains L"],
    count: int,
    generator: torch.Generator,
) -> Moved:
    """One transition that leaves f invariant and is reversible, whatever the step size.

    Fresh momentum, a trajectory of `count` steps, Metropolis' decision. A trajectory that leaves the range of numbers
    (an energy that is infinite or not a number) is refused.
    """
    momentum = torch.randn(start.z.shape, generator=generator, device=generator.device, dtype=start.z.dtype)
    uniform = torch.rand(2, *start.z.shape[:-1], generator=generator, device=generator.device, dtype=start.z.dtype)
    step = step * (1 + JITTER * (2 * uniform[0] - 1))[..., None]
    end, final = leapfrog(target, weight, start, momentum, step, count)
    gained = end.log_density(weight) - start.log_density(weight)
    log_ratio = gained - 0.5 * (final.square() - momentum.square()).sum(-1)
    acceptance = log_ratio.clamp(max=0).exp().nan_to_num(0.0)
    return Moved(end.where(uniform[1] < acceptance, start), acceptance)
