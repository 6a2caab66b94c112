"""Annealed importance sampling of log p(x), forwards from the prior and backwards from the posterior.

Along the geometric path f_t(z) = p(z) p(x|z)^t from the prior (t = 0) to the posterior (t = 1), a chain alternates
between a rise of t, which multiplies its weight by p(x|z)^(rise), and a transition of Hamiltonian Monte Carlo that
leaves f_t invariant (Neal 2001; Wu et al. 2017). Everything is a function of two callables, log p(z) and log p(x|z).

Forwards, E[w] = p(x): the logarithm of a mean of weights is a stochastic lower bound on log p(x). Backwards, from an
exact sample of the posterior, E[w] = 1/p(x): minus that logarithm is a stochastic upper bound (bidirectional Monte
Carlo; Grosse et al. 2015). By Markov's inequality each is on its wrong side by more than a nats with a probability of
at most e^−a; so is a sum over independent observations.

**Everything that is adapted is adapted in a preliminary run**, of chains that are then thrown away, and is fixed in the
runs that count. A step size that depended on where the counted chains had been would leave E[w] = p(x) no longer true.
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
"""The step size, in standard deviations, with which a preliminary run starts."""

RATE = 0.5
"""By what the log step size answers to an acceptance off its aim, at every transition of a preliminary run."""

QUARTER = math.pi / 2
"""The longest trajectory in standard deviations: after a quarter of a period a Gaussian's position is forgotten, after
half of one it is mirrored, which log p(x|z) does not tell from never having moved."""

REPEATS = 20
"""Transitions of a preliminary run at the first temperature, to find a step size to start from."""


@dataclass(frozen=True, eq=False)
class Path:
    """The way from the prior to the posteriors of B observations, with the transitions that are to be made on it.

    Attributes:
        log_prior: log p(z), `[C, B, L]` -> `[C, B]`.
        log_likelihood: log p(x|z), the b-th column for the b-th observation.
        curvature: in whose basis the chains move.
        temperatures: rising from 0 to 1.
        step: sizes of the leapfrog steps at the inner temperatures, in units of the curvature's scale, `[T − 2, B]`.
        leapfrog: number of steps of a trajectory.
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
            log_weight += (then - now) * position.terms[1].double()
            if i < len(step):
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
    """The path for some observations: temperatures from the curvature, step sizes from a preliminary run.

    One step size an observation and temperature, the same for all C chains, raised where trajectories were accepted
    with more than the wanted probability and lowered where with less. Only the sizes are kept of the run.

    Args:
        log_prior: log p(z).
        log_likelihood: log p(x|z).
        z: where the preliminary chains start, samples of the prior; few will do.
        points: where the curvature is taken, anywhere near the posteriors; not the chains that are to count.
        temperatures: number of rises.
        leapfrog: number of steps of a trajectory.
        acceptance: the wanted probability, between 0 and 1; 0.65 is best in high dimensions (Beskos et al. 2013).
        generator: of all that is random.
    """
    curvature = Curvature.of(log_likelihood, points)
    schedule = curvature.temperatures(temperatures)
    target = target_of(log_prior, log_likelihood, curvature)
    position, log_step = target.at(curvature.to_basis(z)), torch.full_like(z[0, :, 0], math.log(FIRST_STEP))
    inner, sizes = schedule[1:-1].tolist(), []
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
    """What log p(z) and log p(x|z) are multiplied by in log f_t."""
    return torch.tensor([1.0, t], dtype=like.dtype, device=like.device)
