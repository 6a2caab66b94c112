"""Hamiltonian Monte Carlo on any number of chains at once (Duane et al. 1987; Neal 2011).

A target is a weighted sum of terms, log f(z) = Σ_j w_j f_j(z) + const. Along an annealing path only the weights change.
So the terms and gradients at a position can be used again for the next distribution of the path. Each coordinate of
each chain has its own step size, which is equivalent to a diagonal mass matrix. All randomness comes from the generator
in the arguments.

Neal 2011, "MCMC using Hamiltonian dynamics": https://arxiv.org/abs/1206.1901
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

JITTER = 0.2
"""The step size of each trajectory is random within ±20 %. A fixed length could return to its start (Neal 2011)."""

LogDensity = Callable[[Float[Tensor, "*chains L"]], Float[Tensor, "*chains"]]


class Position(NamedTuple):
    """The position of every chain, with the values and gradients of the target's terms there.

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
        """This position in the chains where `taken` is true, `other` in the rest."""
        z = torch.where(taken[..., None], self.z, other.z)
        gradients = torch.where(taken[..., None], self.gradients, other.gradients)
        return Position(z, torch.where(taken, self.terms, other.terms), gradients)


@dataclass(frozen=True)
class Target:
    """The terms f_j: functions from z `[*chains, L]` to one value for each chain."""

    terms: tuple[LogDensity, ...]

    def at(self, z: Float[Tensor, "*chains L"]) -> Position:
        """Evaluate every term and its gradient at z, once."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            terms = [term(z) for term in self.terms]
            gradients = [torch.autograd.grad(term.sum(), z)[0] for term in terms]
        return Position(z.detach(), torch.stack(terms).detach(), torch.stack(gradients))


class Moved(NamedTuple):
    """The chains after a transition, and the probability with which each accepted its proposal."""

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
    """Make `count` leapfrog steps of the Hamiltonian dynamics of −log f(z) + ½|momentum|².

    The map is reversible (with the momentum negated it goes back) and preserves volume. Its energy error is O(step²).
    """
    position = start
    momentum = momentum + 0.5 * step * position.gradient(weight)  # a half step
    for _ in range(count):
        position = target.at(position.z + step * momentum)
        momentum = momentum + step * position.gradient(weight)
    # The last full step of the momentum was half a step too long.
    return position, momentum - 0.5 * step * position.gradient(weight)


def transition(
    target: Target,
    weight: Float[Tensor, " J"],
    start: Position,
    step: Float[Tensor, "*chains L"],
    count: int,
    generator: torch.Generator,
) -> Moved:
    """Make one transition that leaves f invariant and is reversible, for every step size.

    It draws a new momentum, follows a trajectory of `count` steps, and accepts or rejects its end by Metropolis' rule.
    A trajectory whose energy is infinite or NaN is rejected.
    """
    momentum = torch.randn(start.z.shape, generator=generator, device=generator.device, dtype=start.z.dtype)
    uniform = torch.rand(2, *start.z.shape[:-1], generator=generator, device=generator.device, dtype=start.z.dtype)
    # uniform[0] is for the step size, uniform[1] for the acceptance.
    step = step * (1 + JITTER * (2 * uniform[0] - 1))[..., None]
    end, final = leapfrog(target, weight, start, momentum, step, count)
    gained = end.log_density(weight) - start.log_density(weight)
    log_ratio = gained - 0.5 * (final.square() - momentum.square()).sum(-1)
    # min(1, e^log_ratio); NaN becomes 0, which rejects.
    acceptance = log_ratio.clamp(max=0).exp().nan_to_num(0.0)
    return Moved(end.where(uniform[1] < acceptance, start), acceptance)
