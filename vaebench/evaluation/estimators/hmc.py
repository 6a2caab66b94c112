"""Hamiltonian Monte Carlo on any number of chains at once (Duane et al. 1987; Neal 2011).

A target is a weighted sum of terms, log f(z) = Σ_j w_j f_j(z) + const. Along an annealing path only the weights change.
So the terms and gradients at a position can be used again for the next distribution of the path. Each coordinate of
each chain has its own step size, which is equivalent to a diagonal mass matrix. All randomness comes from the generator
in the arguments. `JointDensity` is the target of a model: log p(z) and log p(x|z).

Neal 2011, "MCMC using Hamiltonian dynamics": https://arxiv.org/abs/1206.1901
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vaebench.models.vae import VAE

LogDensity = Callable[[Float[Tensor, "*chains L"]], Float[Tensor, "*chains"]]


class Position(NamedTuple):
    """The position of every chain, with the values and gradients of the target's terms there."""

    z: Float[Tensor, "*chains L"]  # `[*chains, L]`
    terms: Float[Tensor, "J *chains"]  # f_j(z), `[J, *chains]`
    gradients: Float[Tensor, "J *chains L"]  # ∂f_j/∂z, `[J, *chains, L]`

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


class JointDensity:
    """The joint density of a model whose parameters do not change.

    torch's distributions sample from the global generator only. So take samples inside `config.seeding.seeded`.

    Args:
        model: in evaluation mode.
    """

    def __init__(self, model: VAE) -> None:
        self.model = model
        with torch.no_grad():
            self.prior = model.prior(model.encode)

    @torch.no_grad()
    def latents(self, *shape: int) -> Float[Tensor, "*chains L"]:
        """Samples of p(z)."""
        return self.prior.sample(shape)

    @torch.no_grad()
    def observations(self, z: Float[Tensor, "*chains L"]) -> Float[Tensor, "*chains_event"]:
        """One sample x ~ p(x|z) for each z. If z ~ p(z), then z is also an exact sample of the posterior p(z|x)."""
        return self.model.decode(z).sample()

    @torch.no_grad()
    def guesses(self, x: Float[Tensor, "B *event"], count: int) -> Float[Tensor, "P B L"]:
        """Samples of q(z|x). They lie near p(z|x) if the encoder is good, but no result may depend on that."""
        return self.model.encode(x).sample((count,))

    def log_prior(self, z: Float[Tensor, "*chains L"]) -> Float[Tensor, "*chains"]:
        """log p(z)."""
        log_pz: Tensor = self.prior.log_prob(z)
        return log_pz

    def log_likelihood(self, x: Float[Tensor, "B *event"], quick: bool = False) -> LogDensity:
        """log p(x|z) as a function of z `[…, B, L]`; z[…, b, :] is a latent of the b-th observation.

        With `quick` it is faster and has no gradient (see `VAE.log_likelihood`).
        """
        return self.model.log_likelihood(x, quick)


def check_finite(log_density: Float[Tensor, "*chains"], where: str) -> None:
    """Check that all log-densities are finite.

    Args:
        where: the latents, for the message.

    Raises:
        FloatingPointError: with the number of values that are not finite, and what to do.
    """
    bad = int((~log_density.isfinite()).sum())
    if bad:
        raise FloatingPointError(
            f"expected a finite log p(x|z) at {where}, got {bad} of {log_density.numel()} that are not: the decoder "
            "has diverged; train again with a lower model.learning_rate, or set train.gradient_clip"
        )


JITTER = 0.2
"""The step size of each trajectory is random within ±20 %. A fixed length could return to its start (Neal 2011)."""
