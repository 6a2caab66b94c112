"""Naive Monte Carlo: the simplest estimate of log p(x), kept as a baseline because it shows how such estimates fail."""

from collections.abc import Mapping
from typing import ClassVar

import torch

from vaebench.config.registry import ESTIMATORS, PositiveInt
from vaebench.config.seeding import seeded
from vaebench.data.loaders import Batch
from vaebench.evaluation import bounds
from vaebench.evaluation.bounds import weights_of
from vaebench.evaluation.estimators.base import EvidenceEstimator, mean_over_observations
from vaebench.evaluation.estimators.joint_density import JointDensity, check_finite
from vaebench.models.draws import ChunkSize
from vaebench.models.vae import VAE
from vaebench.records.description import Description, Panel, Within
from vaebench.records.record import Estimate

ROWS = ChunkSize(2**11, 2**18)
"""The number of latents that are sampled at a time, over all observations."""


@ESTIMATORS.register
class NaiveMonteCarlo(EvidenceEstimator):
    """Naive Monte Carlo E[log (1/K) Σ p(x|z_k)], z_k ~ p(z), nats per observation, and its effective sample size.

    A stochastic lower bound on log p(x). It needs about e^rate draws, because only so small a part of the prior lies
    where the posterior does. With fewer draws, one of them dominates the mean: the effective sample size is near 1, and
    the estimate is far below log p(x). Each observation has its own draws.

    Args:
        observations: the number of observations, evenly spaced in the split.
        draws: K, the number of draws for each observation.
    """

    columns: ClassVar[Mapping[str, Description]] = {
        "naive_monte_carlo": Description("naive MC", Panel.EVIDENCE, 10, "nats", within=Within.OBSERVATIONS),
        "naive_monte_carlo_effective_sample_size": Description(
            "naive MC ESS", Panel.EVIDENCE, 20, "draws", within=Within.OBSERVATIONS
        ),
    }

    def __init__(self, *, observations: PositiveInt = 100, draws: PositiveInt = 5000) -> None:
        self.observations, self.draws = observations, draws

    @torch.no_grad()
    def estimate(self, model: VAE, batch: Batch, seed: int) -> tuple[Estimate, ...]:
        x, joint = batch.x, JointDensity(model)
        step = max(1, ROWS.on(x) // len(x))
        log_px = joint.log_likelihood(x, quick=True)
        with seeded(seed, "naive Monte Carlo"):
            sizes = (min(step, self.draws - done) for done in range(0, self.draws, step))
            log_weight = torch.cat([log_px(joint.latents(size, len(x))) for size in sizes])
        check_finite(log_weight, "samples of the prior")
        values, noise = bounds.iwae(log_weight, self.draws), bounds.iwae_variance(log_weight, self.draws)
        name, name_of_size = self.columns
        estimate = mean_over_observations(name, values, noise, weights_of(log_weight))
        effective = bounds.effective_sample_size(log_weight)
        return estimate, Estimate(name_of_size, float(effective.median()), n=len(x))
