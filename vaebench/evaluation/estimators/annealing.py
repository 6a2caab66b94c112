"""Annealed importance sampling of log p(x) with Hamiltonian Monte Carlo, from the prior and from the posterior.

A chain follows the geometric path f_t(z) = p(z) p(x|z)^t from the prior (t = 0) to the posterior (t = 1). It alternates
between two moves. t increases to t', which multiplies the weight of the chain by p(x|z)^(t' − t). Then a transition of
Hamiltonian Monte Carlo moves z and leaves f_t' invariant (Neal 2001; Wu et al. 2017).

Forwards, E[w] = p(x), so the logarithm of a mean of weights is a stochastic lower bound on log p(x). Backwards, from an
exact sample of the posterior, E[w] = 1/p(x), so minus that logarithm is a stochastic upper bound (bidirectional Monte
Carlo; Grosse et al. 2015). By Markov's inequality, a bound is on its wrong side by more than a nats with probability at
most e^−a. The same holds for a sum over independent observations.

**Temperatures, scales and directions** follow from the curvature H = −∂²log p(x|z)/∂z². If the prior is close to
N(0, I), the precision of f_t is close to I + t·H. In the eigenbasis of H the coordinates are independent to second
order at every t, and the scale of each is 1/√(1 + tλ_i). This is exact for a linear decoder. For other decoders it may
be wrong, which makes the sampling slower but not biased.

**Step sizes are adapted in a preliminary run**, whose chains are then discarded. In the runs that count they are fixed.
If a step size depended on the earlier positions of the counted chains, E[w] = p(x) would no longer hold.

**Hamiltonian Monte Carlo** runs on any number of chains at once (Duane et al. 1987; Neal 2011). A target is a weighted
sum of terms, log f(z) = Σ_j w_j f_j(z) + const, and along the path only the weights change. So the terms and gradients
at a position are used again for the next temperature. Each coordinate of each chain has its own step size, which is
equivalent to a diagonal mass matrix. All randomness comes from the generator in the arguments.

Neal 2001: https://arxiv.org/abs/physics/9803008; Neal 2011: https://arxiv.org/abs/1206.1901;
Wu et al. 2017: https://arxiv.org/abs/1611.04273; Grosse et al. 2015: https://arxiv.org/abs/1511.02543
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

LogDensity = Callable[[Float[Tensor, "*chains L"]], Float[Tensor, "*chains"]]

JITTER = 0.2
"""The step size of each trajectory is random within ±20 %. A fixed length could return to its start (Neal 2011)."""


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


# -- the path from the prior to the posterior --------------------------------------------------------------------------

GRID = 1000  # the number of grid points for the integral of the speed. They are dense where the speed is high
SLOWEST = 1e-3  # added to the speed, so that temperatures increase even where f_t does not depend on t


class Curvature(NamedTuple):
    """The eigenvalues and eigenvectors of H, for each of B observations."""

    values: Float[Tensor, "B L"]  # λ ≥ 0, `[B, L]`
    basis: Float[Tensor, "B L L"]  # eigenvectors in columns, `[B, L, L]`

    @classmethod
    def of(cls, log_likelihood: LogDensity, z: Float[Tensor, "P B L"]) -> "Curvature":
        """The mean curvature over P points of each observation. Negative eigenvalues are set to zero."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(log_likelihood(z).sum(), z, create_graph=True)
            # One row of the Hessian per unit: the derivative of ∂log p(x|z)/∂z_i.
            rows = [_derivative(gradient[..., i].sum(), z) for i in range(z.shape[-1])]
        hessian = -torch.stack([row.mean(0) for row in rows], -1)
        values, basis = torch.linalg.eigh(0.5 * (hessian + hessian.mT))
        return cls(values.clamp(min=0), basis)

    def scale(self, t: float) -> Float[Tensor, "B L"]:
        """1/√(1 + tλ), the standard deviations along the basis at temperature t."""
        return (1 + t * self.values).rsqrt()

    def to_basis(self, z: Float[Tensor, "C B L"]) -> Float[Tensor, "C B L"]:
        """The coordinates y = Bᵀz of z in the basis B."""
        return torch.einsum("cbl,blm->cbm", z, self.basis)

    def from_basis(self, y: Float[Tensor, "C B L"]) -> Float[Tensor, "C B L"]:
        """The latents z = By that have these coordinates."""
        return torch.einsum("cbm,blm->cbl", y, self.basis)

    def temperatures(self, count: int) -> Float64[Tensor, " T"]:
        """Temperatures 0 = t_0 < … < t_count = 1 at equal thermodynamic distances.

        They divide the length ∫ √Var_t[log p(x|z)] dt into equal parts (Gelman & Meng 1998; Grosse et al. 2013). If f_t
        is Gaussian and its means have the scale of the prior, the variance is Σ_i λ_i²s_i⁴(½ + s_i²) with the scales
        s_i at t. The mean over observations is used.
        """
        values = self.values.double().cpu()
        fastest = values.max().clamp(min=1e-6)
        # t = (e^{u·log(1 + λ)} − 1)/λ for u in [0, 1]: at the largest λ, 1 + tλ grows by equal factors.
        grid = torch.expm1(torch.linspace(0, 1, GRID).double() * fastest.log1p()) / fastest
        squared_scale = (1 + grid[:, None, None] * values).reciprocal()
        variance = (values * squared_scale).square() * (0.5 + squared_scale)
        speed = variance.sum(-1).mean(-1).sqrt() + SLOWEST
        length = torch.cat([torch.zeros(1).double(), torch.cumulative_trapezoid(speed, grid)])
        # Invert length(t) at equal lengths.
        wanted = torch.linspace(0, 1, count + 1).double() * length[-1]
        return torch.from_numpy(np.interp(wanted, length, grid)).clamp(0, 1)


def _derivative(value: Tensor, z: Tensor) -> Float[Tensor, "P B L"]:
    """∂value/∂z; zero if the value does not depend on z, as for a decoder that ignores z."""
    if not value.requires_grad:
        return torch.zeros_like(z)
    (derivative,) = torch.autograd.grad(value, z, retain_graph=True, allow_unused=True, materialize_grads=True)
    return derivative


FIRST_STEP = 0.5  # the first step size of a preliminary run, in standard deviations

RATE = 0.5
"""The gain of the adaptation: log step size += RATE · (acceptance − target), after each preliminary transition."""

QUARTER = math.pi / 2
"""The longest trajectory, in standard deviations. On a Gaussian, a quarter of a period makes the new position
independent of the old one. Half a period only mirrors it, and log p(x|z) may be the same at both."""

REPEATS = 20  # extra transitions of a preliminary run at the first temperature, until the step size fits


@dataclass(frozen=True, eq=False)
class Path:
    """The path from the prior to the posteriors of B observations, with the transitions along it."""

    log_prior: LogDensity  # log p(z), `[C, B, L]` -> `[C, B]`
    log_likelihood: LogDensity  # log p(x|z); z[:, b] are latents of the b-th observation
    curvature: Curvature  # the chains move in its basis
    temperatures: Float64[Tensor, " T"]  # rising from 0 to 1
    # sizes of the leapfrog steps at the inner temperatures, in units of the curvature's scale, `[T − 2, B]`.
    step: Float[Tensor, "S B"]
    leapfrog: int  # the number of leapfrog steps of a trajectory

    def forwards(self, z: Float[Tensor, "C B L"], generator: torch.Generator) -> Float64[Tensor, "C B"]:
        """Log-weights of chains that start at samples of the prior: E[w] = p(x)."""
        return self._run(z, self.temperatures, self.step, generator)

    def backwards(self, z: Float[Tensor, "C B L"], generator: torch.Generator) -> Float64[Tensor, "C B"]:
        """Log-weights of chains that start at samples of the posterior: E[w] = 1/p(x)."""
        return self._run(z, self.temperatures.flip(0), self.step.flip(0), generator)

    def _run(self, z: Tensor, temperatures: Tensor, step: Tensor, generator: torch.Generator) -> Tensor:
        target = target_of(self.log_prior, self.log_likelihood, self.curvature)
        position = target.at(self.curvature.to_basis(z))
        log_weight = torch.zeros_like(position.terms[1], dtype=torch.float64)
        for i, (now, then) in enumerate(pairwise(temperatures.tolist())):
            # The weight changes before the move, by f_then(z) / f_now(z).
            log_weight += (then - now) * position.terms[1].double()
            if i < len(step):  # no move at the last temperature: it would not change the weight
                size = step[i, :, None] * self.curvature.scale(then)
                position, _ = transition(target, powers(then, z), position, size, self.leapfrog, generator)
        return log_weight


def tuned(
    log_prior: LogDensity,
    log_likelihood: LogDensity,
    z: Float[Tensor, "C B L"],
    points: Float[Tensor, "P B L"],
    *,
    temperatures: int,
    leapfrog: int,
    acceptance: float,
    generator: torch.Generator,
) -> Path:
    """Make the path for some observations: temperatures from the curvature, step sizes from a preliminary run.

    There is one step size for each temperature and observation, the same for all C chains. It increases where the
    acceptance is above its target, and decreases where it is below.

    Args:
        z: samples of the prior, where the preliminary chains start. A few are enough.
        points: latents near the posteriors, where the curvature is computed. They must not be the chains that count.
        temperatures: the number of intervals between temperatures.
        acceptance: the target acceptance in (0, 1); 0.65 is optimal in high dimensions (Beskos et al. 2013).
    """
    curvature = Curvature.of(log_likelihood, points)
    schedule = curvature.temperatures(temperatures)
    target = target_of(log_prior, log_likelihood, curvature)
    position, log_step = target.at(curvature.to_basis(z)), torch.full_like(z[0, :, 0], math.log(FIRST_STEP))
    inner, sizes = schedule[1:-1].tolist(), []
    # The first temperature is repeated until the step size fits; these sizes are dropped below.
    for t in [*inner[:1] * REPEATS, *inner]:
        size = log_step.exp()[:, None] * curvature.scale(t)
        position, accepted = transition(target, powers(t, z), position, size, leapfrog, generator)
        log_step = (log_step + RATE * (accepted.mean(0) - acceptance)).clamp(max=math.log(QUARTER / leapfrog))
        sizes.append(log_step.exp())
    step = torch.stack(sizes[REPEATS:]) if inner else z.new_empty(0, z.shape[1])
    return Path(log_prior, log_likelihood, curvature, schedule, step, leapfrog)


def target_of(log_prior: LogDensity, log_likelihood: LogDensity, curvature: Curvature) -> Target:
    """log p(z) and log p(x|z) as functions of the coordinates along the curvature's basis."""
    return Target((lambda y: log_prior(curvature.from_basis(y)), lambda y: log_likelihood(curvature.from_basis(y))))


def powers(t: float, like: Tensor) -> Float[Tensor, "2"]:
    """The weights of log p(z) and log p(x|z) in log f_t."""
    return torch.tensor([1.0, t], dtype=like.dtype, device=like.device)
