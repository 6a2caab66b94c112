"""log p(x) of single observations, each with its Monte-Carlo error and with how reliable its weights are."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from vaebench.config.seeding import generator
from vaebench.data.loaders import Batch
from vaebench.evaluation import bounds
from vaebench.evaluation.bounds import median_reliability, pareto_k
from vaebench.evaluation.estimators.base import mean_over_observations
from vaebench.evaluation.estimators.evidence import AnnealedImportanceSampling
from vaebench.evaluation.measure import evaluating
from vaebench.models.base import Autoencoder
from vaebench.records.description import Weights
from vaebench.records.record import Estimate

OBSERVATIONS_AT_ONCE = 64


class Scores(NamedTuple):
    """log p(x) of N observations in nats, from K weights each.

    Both methods estimate p(x) without bias. So the mean of their logarithm is a lower bound on log p(x).

    Attributes:
        method: `iwae` or `ais`.
        log_px: the log of the mean weight.
        error: its Monte-Carlo standard error; NaN for a single draw.
        pareto_k: k̂, the shape of the tail of the weights; NaN where no tail can be fitted.
        effective: the effective sample size.
        draws: K.
    """

    method: str
    log_px: Float64[Tensor, " N"]
    error: Float64[Tensor, " N"]
    pareto_k: Float64[Tensor, " N"]
    effective: Float64[Tensor, " N"]
    draws: int

    @classmethod
    def of(cls, method: str, log_weight: Float[Tensor, "K N"]) -> "Scores":
        """The scores from log-weights."""
        draws = len(log_weight)
        variance = bounds.iwae_variance(log_weight, draws)
        log_px = bounds.iwae(log_weight, draws)
        if bad := int((~log_px.isfinite()).sum()):
            raise FloatingPointError(
                f"log p(x) of {bad} of {len(log_px)} observations is not finite: log p(x|z) is not"
            )
        error = torch.full_like(log_px, torch.nan) if variance is None else variance.sqrt()
        return cls(method, log_px, error, pareto_k(log_weight), bounds.effective_sample_size(log_weight), draws)

    @property
    def unreliable(self) -> Bool[Tensor, " N"]:
        """Where a few draws dominate the number (`Weights.unreliable`), so that it may be far too low."""
        shapes = [None if math.isnan(k) else k for k in self.pareto_k.tolist()]
        pairs = zip(shapes, self.effective.tolist(), strict=True)
        return torch.tensor([Weights(k, effective, self.draws).unreliable for k, effective in pairs])

    @property
    def mean(self) -> Estimate:
        """The mean over observations, with its errors and its reliability."""
        variance = None if self.error.isnan().any() else self.error.square()
        name = f"iwae_{self.draws}" if self.method == "iwae" else self.method
        weights = median_reliability(self.pareto_k, self.effective, self.draws)
        return mean_over_observations(name, self.log_px, variance, weights)


@torch.no_grad()
def score(
    model: Autoencoder,
    x: Float[Tensor, "N *event"],
    draws: int = 5000,
    seed: int = 0,
    annealing: AnnealedImportanceSampling | None = None,
) -> Scores:
    """log p(x) of each observation, by importance sampling from q(z|x), or by annealing from the prior.

    Args:
        model: with a posterior and a prior, on the device of x.
        draws: K, the number of posterior draws of each observation.
        seed: of all randomness.
        annealing: the estimator that anneals; its number of chains replaces `draws`.

    Raises:
        ValueError: if the model has no log p(x), or no observation is given.
        FloatingPointError: if the model gives a number that is not finite.
    """
    if not model.stochastic:
        raise ValueError(f"{type(model).__name__} has no prior p(z), and so no log p(x); use a model with a prior")
    if not len(x):
        raise ValueError("expected at least one observation to score, got none")
    x = model.as_batch(x).x
    with evaluating(model):
        if annealing is not None:
            return Scores.of("ais", annealing.log_weights(model, x, seed))  # type: ignore[arg-type]
        noise = generator(seed, "evaluation", x.device)
        parts = [
            Scores.of("iwae", model.draws(Batch(part), draws, noise).log_weight)
            for part in x.split(OBSERVATIONS_AT_ONCE)
        ]
    columns = zip(*((part.log_px, part.error, part.pareto_k, part.effective) for part in parts), strict=True)
    log_px, error, shapes, effective = map(torch.cat, columns)
    return Scores("iwae", log_px, error, shapes, effective, draws)
