"""VAEs with another price on the rate: a weight β, some free nats, or a minimum."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Normal

from vaebench.config.registry import MODELS, SCHEDULES, NonNegative, PositiveInt, ScheduleSpec
from vaebench.models.parts.posteriors import kl_from_standard_normal, reparameterise
from vaebench.models.vae import VAE


@MODELS.register
class BetaVAE(VAE):
    """β-VAE (Higgins et al. 2017): max E_q[log p(x|z)] − β·KL(q(z|x)‖p(z)).

    It is trained on this objective, and measured by the same ELBO and IWAE as every model. At β = 1 it is the VAE.

    Args:
        beta: the weight of the rate.
        schedule: how the weight reaches β during training.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        seed: int = 0,
        *,
        beta: NonNegative = 4.0,
        schedule: ScheduleSpec = "Constant",
        **kwargs: Any,
    ) -> None:
        super().__init__(shape, seed, **kwargs)
        self.beta.fill_(beta)
        self.schedule = SCHEDULES.build(schedule)

    def rate_weight(self) -> Float[Tensor, ""]:
        return self.beta * self.schedule(self.progress)

    def has_final_objective(self) -> bool:
        rest = torch.linspace(float(self.progress), 1.0, 1000, device=self.device)
        return super().has_final_objective() and all(bool(self.schedule(p) == self.schedule(rest[-1])) for p in rest)


@MODELS.register
class FreeBitsVAE(VAE):
    """VAE with free bits (Kingma et al. 2016): max E_q[log p(x|z)] − Σ_j max(λ, E_x KL(q(z_j|x)‖p(z_j))).

    p(z) = N(0, I), and E_x is the mean over the batch, as in the paper. So the objective of an observation depends on
    the others of its batch: it is the ELBO − Σ_j max(0, λ − E_x KL_j), whose mean over the batch is the formula. Free
    bits change nothing for a group whose rate is above λ. So an optimum of the VAE stays an optimum if λ is at most the
    rate of each of its groups.

    https://arxiv.org/abs/1606.04934

    Args:
        free_bits: λ, in nats for each group; 0 gives the VAE.
        group: how many neighbouring units share λ.

    Raises:
        ValueError: if the units cannot be divided into such groups.
    """

    fixed = ("prior", "posterior")
    why_one_device = "its free bits are of a whole batch, but each device has only a part of it"

    def __init__(
        self,
        shape: tuple[int, ...],
        seed: int = 0,
        *,
        free_bits: NonNegative = 0.25,
        group: PositiveInt = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(shape, seed, prior="StandardNormal", posterior="Diagonal", **kwargs)
        if self.latent_dim % group:
            raise ValueError(
                f"model.group: expected a divisor of model.latent_dim = {self.latent_dim}, got {group}; change one of "
                "the two"
            )
        self.free_bits, self.group = free_bits, group

    def objective(self, x: Tensor, noise: Tensor) -> Float[Tensor, " B"]:
        posterior = self.encode(x)
        assert isinstance(posterior, Normal)
        z = reparameterise(posterior, noise)
        rate = kl_from_standard_normal(posterior).unflatten(-1, (-1, self.group)).sum(-1)
        missing = (self.free_bits - rate.mean(0)).clamp(min=0)
        return self.expected_log_likelihood(x, posterior, z) - rate.sum(-1) - missing.sum()


@MODELS.register
class MinimumRateVAE(VAE):
    """VAE with a minimum rate (after the δ-VAE, Razavi et al. 2019): max ELBO(x) − w·max(0, C − KL(q(z|x)‖p(z))).

    The δ-VAE chooses families of q and p between which no KL is smaller than C. Here q and p stay as they are, and a
    rate below C is penalised, for each observation. Above C the objective is the ELBO. Below C, a nat more of rate
    costs 1 − w. With w = 2 the objective is E_q[log p(x|z)] − |KL − C| − C, so there a nat more gains a nat. An optimum
    of the VAE stays an optimum if C is at most its rate at each observation.

    https://arxiv.org/abs/1901.03416

    Args:
        rate: C, in nats for each observation; 0 gives the VAE.
        weight: w.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        seed: int = 0,
        *,
        rate: NonNegative = 5.0,
        weight: NonNegative = 2.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(shape, seed, **kwargs)
        self.rate, self.weight = rate, weight

    def objective(self, x: Tensor, noise: Tensor) -> Float[Tensor, " B"]:
        posterior = self.encode(x)
        z = reparameterise(posterior, noise)
        rate = self.prior.rate(posterior, z, self.encode)
        missing = (self.rate - rate).clamp(min=0)
        return self.expected_log_likelihood(x, posterior, z) - rate - self.weight * missing
