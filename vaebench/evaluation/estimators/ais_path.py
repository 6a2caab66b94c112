"""Annealed importance sampling of log p(x), forwards from the prior and backwards from the posterior.

A chain follows the geometric path f_t(z) = p(z) p(x|z)^t from the prior (t = 0) to the posterior (t = 1). It alternates
between two moves. t increases to t', which multiplies the weight of the chain by p(x|z)^(t' − t). Then a transition of
Hamiltonian Monte Carlo moves z and leaves f_t' invariant (Neal 2001; Wu et al. 2017).

Forwards, E[w] = p(x), so the logarithm of a mean of weights is a stochastic lower bound on log p(x). Backwards, from an
exact sample of the posterior, E[w] = 1/p(x), so minus that logarithm is a stochastic upper bound (bidirectional Monte
Carlo; Grosse et al. 2015). By Markov's inequality, a bound is on its wrong side by more than a nats with probability at
most e^−a. The same holds for a sum over independent observations.

**Step sizes are adapted in a preliminary run**, whose chains are then discarded. In the runs that count they are fixed.
If a step size depended on the earlier positions of the counted chains, E[w] = p(x) would no longer hold.

Neal 2001: https://arxiv.org/abs/physics/9803008; Wu et al. 2017: https://arxiv.org/abs/1611.04273;
Grosse et al. 2015: https://arxiv.org/abs/1511.02543
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from vaebench.evaluation.estimators.ais_schedule import Curvature
from vaebench.evaluation.estimators.hmc import LogDensity, Target, transition

FIRST_STEP = 0.5
"""The first step size of a preliminary run, in standard deviations."""

RATE = 0.5
"""The gain of the adaptation: log step size += RATE · (acceptance − target), after each preliminary transition."""

QUARTER = math.pi / 2
"""The longest trajectory, in standard deviations. On a Gaussian, a quarter of a period makes the new position
independent of the old one. Half a period only mirrors it, and log p(x|z) may be the same at both."""

REPEATS = 20
"""Extra transitions of a preliminary run at the first temperature, until the step size fits."""


@dataclass(frozen=True, eq=False)
class Path:
    """The path from the prior to the posteriors of B observations, with the transitions along it.

    Attributes:
        log_prior: log p(z), `[C, B, L]` -> `[C, B]`.
        log_likelihood: log p(x|z); z[:, b] are latents of the b-th observation.
        curvature: the chains move in its basis.
        temperatures: rising from 0 to 1.
        step: sizes of the leapfrog steps at the inner temperatures, in units of the curvature's scale, `[T − 2, B]`.
        leapfrog: the number of leapfrog steps of a trajectory.
    """

    log_prior: LogDensity
    log_likelihood: LogDensity
    curvature: Curvature
    temperatures: Float64[Tensor, " T"]
    step: Float[Tensor, "S B"]
    leapfrog: int

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
        log_prior: log p(z).
        log_likelihood: log p(x|z).
        z: samples of the prior, where the preliminary chains start. A few are enough.
        points: latents near the posteriors, where the curvature is computed. They must not be the chains that count.
        temperatures: the number of intervals between temperatures.
        leapfrog: the number of leapfrog steps of a trajectory.
        acceptance: the target acceptance in (0, 1); 0.65 is optimal in high dimensions (Beskos et al. 2013).
        generator: of all randomness.
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
