"""What the encoder costs: its posterior against the best one of the family for each observation, and the exact one."""

from collections.abc import Mapping
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution, Normal

from vaebench.config.registry import ESTIMATORS, Positive, PositiveInt
from vaebench.config.seeding import generator
from vaebench.data.loaders import Batch
from vaebench.evaluation import bounds
from vaebench.evaluation.bounds import reliability
from vaebench.evaluation.estimators.annealing import check_finite
from vaebench.evaluation.estimators.base import Estimator, mean_over_observations
from vaebench.models.base import Autoencoder
from vaebench.models.draws import ChunkSize
from vaebench.models.parts.posteriors import (
    CorrelatedNormal,
    Form,
    log_density,
    log_density_of_draw,
    reparameterise,
    without_gradient,
)
from vaebench.models.vae import VAE
from vaebench.records.description import Description, Direction, Panel, Within
from vaebench.records.record import Estimate

ROWS = ChunkSize(2**11, 2**18)  # the number of draws that are scored at a time, over all observations
AT_A_STEP = 8  # draws for each observation in a step of the search

ROUNDING = 1e-3
"""A gradient far below this, in nats per standard deviation, makes no step: Adam would make rounding as long as lr."""

EVIDENCE, FAMILY, AMORTISATION = "best_posterior_evidence", "family_gap", "amortisation_gap"


@ESTIMATORS.register
class InferenceGap(Estimator):
    """What the objective E_q[log p(x|z)] − β KL loses by its posterior, in nats per observation (Cremer et al. 2018).

    Let q* be the best posterior of the family for an observation, found by gradient steps from the encoder's q. Then

        amortisation gap = objective at q* − objective at the encoder's q,
        family gap       = β log ∫ p(x|z)^{1/β} p(z) dz − objective at q*,

    and the integral is what the exact posterior would reach; for β = 1 it is log p(x). It is estimated by importance
    weighting with draws from q*. The search may stop short of q*. Then the amortisation gap is too small, and the
    family gap too large, by the same number. Draws that are too few make the integral and the family gap too small.

    The steps take the gradient of the path alone, which is zero for every draw where q is exact (Roeder et al. 2017,
    https://arxiv.org/abs/1703.09194). They always take the same noise; only the draws depend on the seed.

    https://arxiv.org/abs/1801.03558

    Args:
        observations: the number of observations, evenly spaced in the split.
        draws: K, the number of draws for each observation.
        steps: gradient steps (Adam).
        learning_rate: of the first step, in standard deviations of the encoder's q; it falls to zero.
    """

    columns: ClassVar[Mapping[str, Description]] = {
        EVIDENCE: Description("exact posterior's objective", Panel.EVIDENCE, 80, "nats", within=Within.OBSERVATIONS),
        FAMILY: Description("family gap", Panel.EVIDENCE, 81, "nats", Direction.LOWER, False, Within.OBSERVATIONS),
        AMORTISATION: Description(
            "amortisation gap", Panel.EVIDENCE, 82, "nats", Direction.LOWER, False, Within.OBSERVATIONS
        ),
    }

    def __init__(
        self,
        *,
        observations: PositiveInt = 100,
        draws: PositiveInt = 1000,
        steps: PositiveInt = 300,
        learning_rate: Positive = 0.05,
    ) -> None:
        self.observations, self.draws, self.steps, self.learning_rate = observations, draws, steps, learning_rate

    def why_not_applicable(self, model: Autoencoder) -> str | None:
        name = type(model).__name__
        if not isinstance(model, VAE) or model.form is Form.NONE:
            return f"{name} has no posterior with a rate"
        if model.form not in (Form.DIAGONAL, Form.GAUSSIAN):
            return f"the posterior of {name} is {model.form.value}; the best one is sought for normal distributions"
        return None if float(model.beta) > 0 else "β = 0: the best posterior is a point"

    def estimate(self, model: VAE, batch: Batch, seed: int) -> tuple[Estimate, ...]:
        x, beta = batch.x, float(model.beta)
        with torch.no_grad():
            encoded, prior = model.encode(x), model.prior(model.encode)
        best = self._best(model, prior, x, encoded)
        noise = generator(seed, "inference gap", x.device)
        with torch.no_grad():
            first, second = self._log_weights(model, prior, x, (encoded, best), noise)
        check_finite(torch.stack([first, second]), "draws from the posterior")
        gained, variance = second - first, bounds.iwae_variance(second, self.draws)
        evidence, elbo = bounds.iwae(second, self.draws), bounds.elbo(second)
        weights = reliability(second)
        scale = beta * beta / self.draws

        def mean(name: str, values: Tensor, variance: Tensor | None) -> Estimate:
            return mean_over_observations(name, beta * values, variance, None if name == AMORTISATION else weights)

        several = self.draws > 1
        return (
            mean(EVIDENCE, evidence, None if variance is None else beta * beta * variance),
            mean(FAMILY, evidence - elbo, beta * beta * _variance_of_gap(second) if several else None),
            mean(AMORTISATION, bounds.elbo(gained), scale * gained.double().var(0) if several else None),
        )

    def _best(self, model: VAE, prior: Distribution, x: Float[Tensor, "N *event"], start: Distribution) -> Distribution:
        with torch.enable_grad():
            family, noise = _Family(start), generator(0, "inference gap steps", x.device)
            optimiser = torch.optim.Adam(family.free, lr=self.learning_rate, eps=ROUNDING)
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, self.steps)
            for _ in range(self.steps):
                q = family.posterior()
                draws = torch.randn(AT_A_STEP, *q.mean.shape, generator=noise, device=x.device, dtype=x.dtype)
                log_weight = self._log_weight(model, prior, x, q, draws, learning=True)
                free = torch.autograd.grad(-log_weight.mean(0).sum(), family.free)
                for parameter, gradient in zip(family.free, free, strict=True):
                    parameter.grad = gradient
                optimiser.step()
                schedule.step()
        with torch.no_grad():
            return family.posterior()

    def _log_weights(
        self,
        model: VAE,
        prior: Distribution,
        x: Float[Tensor, "N *event"],
        posteriors: tuple[Distribution, ...],
        noise: torch.Generator,
    ) -> list[Float[Tensor, "K N"]]:
        """Of each posterior with the same noise."""
        parts: list[list[Tensor]] = [[] for _ in posteriors]
        step = max(1, ROWS.on(x) // len(x))
        for done in range(0, self.draws, step):
            shape = min(step, self.draws - done), len(x), model.latent_dim
            draws = torch.randn(shape, generator=noise, device=x.device, dtype=x.dtype)
            for part, posterior in zip(parts, posteriors, strict=True):
                part.append(self._log_weight(model, prior, x, posterior, draws).double())
        return [torch.cat(part) for part in parts]

    @staticmethod
    def _log_weight(
        model: VAE,
        prior: Distribution,
        x: Float[Tensor, "N *event"],
        q: Distribution,
        noise: Float[Tensor, "K N L"],
        learning: bool = False,
    ) -> Float[Tensor, "K N"]:
        """log p(x|z)/β + log p(z) − log q(z|x), without the gradient of log q by its parameters."""
        z, beta = reparameterise(q, noise), float(model.beta)
        log_q = log_density(without_gradient(q), z) if learning else log_density_of_draw(q, z, noise)
        return model.log_likelihood(x, quick=not learning)(z) / beta + prior.log_prob(z) - log_q


class _Family:
    """Normal distributions, one for each observation, in coordinates where `start` is N(0, I)."""

    def __init__(self, start: Distribution) -> None:
        self.mean = start.mean
        correlated = isinstance(start, CorrelatedNormal)
        self.lower = start.scale_tril if correlated else start.stddev  # type: ignore[attr-defined]
        self.free = [torch.zeros_like(t, requires_grad=True) for t in (self.mean, self.lower)]

    def posterior(self) -> Distribution:
        shift, spread = self.free
        if self.lower.ndim == self.mean.ndim:
            return Normal(self.mean + self.lower * shift, self.lower * spread.exp(), validate_args=False)
        inner = spread.tril(-1) + torch.diag_embed(spread.diagonal(dim1=-2, dim2=-1).exp())
        mean = self.mean + (self.lower @ shift[..., None])[..., 0]
        return CorrelatedNormal(mean, scale_tril=self.lower @ inner, validate_args=False)


def _variance_of_gap(log_weight: Float[Tensor, "K N"]) -> Float[Tensor, " N"]:
    """Monte-Carlo variance of log (1/K) Σ w − (1/K) Σ log w for each observation, by the jackknife over the draws."""
    draws = len(log_weight)
    without = bounds.leave_one_out(log_weight) + log_weight.double() / (draws - 1)
    return without.var(0) * (draws - 1) ** 2 / draws
