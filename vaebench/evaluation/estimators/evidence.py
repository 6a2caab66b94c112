"""Estimators of log p(x) that do not use q(z|x): naive Monte Carlo, and annealed importance sampling."""

from collections.abc import Mapping
from statistics import median
from typing import ClassVar

import torch
from jaxtyping import Float, Float64
from torch import Tensor
from torch.distributions import Distribution

from vaebench.config.registry import ESTIMATORS, Fraction, PositiveInt
from vaebench.config.seeding import generator, seeded
from vaebench.data.loaders import Batch
from vaebench.evaluation import bounds
from vaebench.evaluation.bounds import reliability
from vaebench.evaluation.estimators import annealing
from vaebench.evaluation.estimators.annealing import check_finite
from vaebench.evaluation.estimators.base import EvidenceEstimator, fingerprint, mean_over_observations
from vaebench.models.draws import ChunkSize
from vaebench.models.vae import VAE
from vaebench.records.description import Bias, Description, Direction, Panel, Within
from vaebench.records.record import Estimate

DRAWN_ROWS = ChunkSize(2**11, 2**18)  # the number of latents that are sampled at a time, over all observations


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
        x, prior = batch.x, model.prior(model.encode)
        step = max(1, DRAWN_ROWS.on(x) // len(x))
        log_px = model.log_likelihood(x, quick=True)
        with seeded(seed, "naive Monte Carlo"):
            sizes = (min(step, self.draws - done) for done in range(0, self.draws, step))
            log_weight = torch.cat([log_px(prior.sample((size, len(x)))) for size in sizes])
        check_finite(log_weight, "samples of the prior")
        values, variance = bounds.iwae(log_weight, self.draws), bounds.iwae_variance(log_weight, self.draws)
        name, name_of_size = self.columns
        estimate = mean_over_observations(name, values, variance, reliability(log_weight))
        effective = bounds.effective_sample_size(log_weight)
        return estimate, Estimate(name_of_size, median(effective.tolist()), n=len(x))


ROWS = ChunkSize(2**12, 2**16)  # the number of chains that move at a time, over all observations

PRELIMINARY = 4
"""For each observation: the number of preliminary chains, and of draws of q(z|x) where the curvature is computed."""


@ESTIMATORS.register
class AnnealedImportanceSampling(EvidenceEstimator):
    """Annealed importance sampling with Hamiltonian Monte Carlo (Neal 2001; Wu et al. 2017), a stochastic lower bound
    on log p(x), and the bracket of bidirectional Monte Carlo on simulated data (Grosse et al. 2015).

    `ais` is computed on observations of the split. The bracket is computed on as many observations that the model
    simulates: z ~ p(z), x ~ p(x|z). There z is an exact sample of the posterior p(z|x), so the reverse chain can start
    at it, and gives an upper bound on log p(x). `bdmc_gap` = `bdmc_upper` − `bdmc_lower`, paired by observation, bounds
    the mean error of both. It says as much about the error of `ais` as the simulated data resembles the real data.
    Nats per observation.

    Args:
        observations: the number of observations, evenly spaced in the split; the same number is simulated.
        chains: the number of chains for each observation.
        temperatures: the number of intervals between temperatures, with one transition after each but the last.
        leapfrog: the number of leapfrog steps of a transition.
        acceptance: the target acceptance of the preliminary run, which adapts the step sizes.
        bracket: whether to compute the bracket too, at twice the cost of `ais`.
    """

    def __init__(
        self,
        *,
        observations: PositiveInt = 50,
        chains: PositiveInt = 16,
        temperatures: PositiveInt = 1000,
        leapfrog: PositiveInt = 5,
        acceptance: Fraction = 0.65,
        bracket: bool = True,
    ) -> None:
        self.observations, self.chains, self.temperatures = observations, chains, temperatures
        self.leapfrog, self.acceptance, self.bracket = leapfrog, acceptance, bracket

    @property
    def columns(self) -> Mapping[str, Description]:
        described = Description("", Panel.EVIDENCE, unit="nats", within=Within.OBSERVATIONS)
        forwards = {
            "ais": described._replace(heading="AIS", place=30, better=Direction.HIGHER),
            "ais_effective_sample_size": described._replace(heading="AIS ESS", place=40, unit="draws"),
        }
        bracket = {
            "bdmc_lower": described._replace(heading="BDMC lower", place=50),
            "bdmc_upper": described._replace(heading="BDMC upper", place=60, bias=Bias.TOO_HIGH),
            "bdmc_gap": described._replace(heading="BDMC gap", place=70, bias=Bias.TOO_LARGE),
        }
        return forwards | bracket if self.bracket else forwards

    @torch.no_grad()
    def estimate(self, model: VAE, batch: Batch, seed: int) -> tuple[Estimate, ...]:
        x = batch.x
        found = self._observed(self.log_weights(model, x, seed))
        if not self.bracket:
            return found
        rows, prior = max(1, ROWS.on(x) // self.chains), model.prior(model.encode)
        noise = generator(seed, "bidirectional Monte Carlo", x.device)
        z, simulated = self.simulated(model, len(x), seed)
        parts = zip(z.split(rows), simulated.split(rows), strict=True)
        with seeded(seed, "bidirectional Monte Carlo"):
            runs = torch.cat([self._bracket(model, prior, *part, noise) for part in parts], 2)
        over = f"{len(x)} simulated, {fingerprint(simulated)}"
        return (*found, *(bound._replace(over=over) for bound in self._bounded(*runs)))

    @torch.no_grad()
    def log_weights(self, model: VAE, x: Float[Tensor, "N *event"], seed: int) -> Float64[Tensor, "C N"]:
        """The log-weights of all chains of each observation; log p(x) is the log of their mean weight."""
        prior, noise = model.prior(model.encode), generator(seed, "annealed importance sampling", x.device)
        rows = max(1, ROWS.on(x) // self.chains)
        with seeded(seed, "annealed importance sampling"):
            weights = [self._forwards(prior, self._path(model, prior, part, noise), noise) for part in x.split(rows)]
        return torch.cat(weights, 1)

    @staticmethod
    @torch.no_grad()
    def simulated(model: VAE, count: int, seed: int) -> tuple[Float[Tensor, "N L"], Float[Tensor, "N *event"]]:
        """The simulated observations of the bracket: z ~ p(z), and x ~ p(x|z). So z is an exact sample of p(z|x)."""
        with seeded(seed, "simulated observations"):
            z = model.prior(model.encode).sample((count,))
            return z, model.decode(z).sample()

    def _observed(self, log_weight: Float64[Tensor, "C N"]) -> tuple[Estimate, ...]:
        effective = bounds.effective_sample_size(log_weight)
        values, variance = bounds.iwae(log_weight, self.chains), bounds.iwae_variance(log_weight, self.chains)
        ais = mean_over_observations("ais", values, variance, reliability(log_weight))
        return ais, Estimate("ais_effective_sample_size", median(effective.tolist()), n=len(effective))

    def _bounded(self, forwards: Float64[Tensor, "C N"], backwards: Float64[Tensor, "C N"]) -> tuple[Estimate, ...]:
        """The lower bound, the upper bound, and the gap between them."""
        lower, upper = bounds.iwae(forwards, self.chains), -bounds.iwae(backwards, self.chains)
        return (
            mean_over_observations("bdmc_lower", lower, weights=reliability(forwards)),
            mean_over_observations("bdmc_upper", upper, weights=reliability(backwards)),
            mean_over_observations("bdmc_gap", upper - lower),
        )

    def _bracket(
        self, model: VAE, prior: Distribution, z: Tensor, x: Tensor, noise: torch.Generator
    ) -> Float64[Tensor, "2 C N"]:
        """Log-weights of forward and backward chains for observations x that were simulated from z."""
        path = self._path(model, prior, x, noise)
        forwards = self._forwards(prior, path, noise)
        backwards = path.backwards(z.expand(self.chains, *z.shape), noise)
        check_finite(backwards, "annealed samples")
        return torch.stack([forwards, backwards])

    def _forwards(self, prior: Distribution, path: annealing.Path, noise: torch.Generator) -> Float64[Tensor, "C N"]:
        """Log-weights of chains that start at samples of the prior."""
        log_weight = path.forwards(prior.sample(torch.Size([self.chains, len(path.curvature.values)])), noise)
        check_finite(log_weight, "annealed samples")
        return log_weight

    def _path(
        self, model: VAE, prior: Distribution, x: Float[Tensor, "N *event"], noise: torch.Generator
    ) -> annealing.Path:
        """The path for some observations, adapted by preliminary chains of its own."""
        log_px, start = model.log_likelihood(x), prior.sample(torch.Size([PRELIMINARY, len(x)]))
        points = model.encode(x).sample(torch.Size([PRELIMINARY]))  # near p(z|x) if the encoder is good
        check_finite(torch.stack([log_px(start), log_px(points)]), "samples of the prior and of q(z|x)")
        return annealing.tuned(
            prior.log_prob,
            log_px,
            start,
            points,
            temperatures=self.temperatures,
            leapfrog=self.leapfrog,
            acceptance=self.acceptance,
            generator=noise,
        )
