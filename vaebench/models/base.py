"""What every model is made of: an encoder, a decoder, a likelihood, and an objective in nats per observation."""

from abc import ABC, abstractmethod
from math import prod
from typing import Any

import lightning
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Distribution, Normal

from vaebench.draws import Batch, Draws
from vaebench.registry import LIKELIHOODS, NETWORKS, LikelihoodSpec, NetworkSpec, Positive, PositiveInt
from vaebench.seeding import generator, seeded


class Diverged(FloatingPointError):
    """The objective is no longer a finite number."""


class Autoencoder(lightning.LightningModule, ABC):
    """The shared LightningModule: steps, optimiser, logging. A subclass states what is maximised and the noise it needs.

    The objective is a pure function of the parameters, the observations and the noise; the noise comes from the model's
    own generator. So a run gives the same numbers alone, beside others, and after a resume.

    Args:
        shape: the shape of one observation.
        seed: of the initialisation and of the noise.
        latent_dim: L, the number of latent units.
        network: the architecture of encoder and decoder.
        likelihood: p(x|z).
        learning_rate: of Adam (Kingma & Ba 2015).
    """

    stochastic = False
    """Whether the model has a posterior q(z|x) and a prior p(z), and with them bounds on log p(x)."""

    factorised = False
    """Whether the prior is a product over units, so that each has a KL of its own."""

    linear = False
    """Whether the model is the one whose optimum `vaebench.oracle` gives in closed form."""

    statistics = 1
    """Numbers that the encoder gives for each latent unit."""

    progress: Tensor

    def __init__(
        self,
        shape: tuple[int, ...],
        seed: int = 0,
        *,
        latent_dim: PositiveInt = 8,
        network: NetworkSpec = "MLP",
        likelihood: LikelihoodSpec = "Bernoulli",
        learning_rate: Positive = 1e-3,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)
        self.shape, self.seed, self.latent_dim, self.learning_rate = tuple(shape), seed, latent_dim, learning_rate
        with seeded(seed, "initialisation"):
            architecture = NETWORKS.build(network)
            self.encoder: nn.Module = architecture.encoder(self.shape, self.statistics * latent_dim)
            self.decoder: nn.Sequential = architecture.decoder(latent_dim, self.shape)
            self.likelihood = LIKELIHOODS.build(likelihood, self.shape)
        self.register_buffer("progress", torch.zeros(()))
        self.generator: torch.Generator | None = None
        self._noise_state: Tensor | None = None

    # -- the model ----------------------------------------------------------------------------------------------------

    @abstractmethod
    def objective(self, x: Float[Tensor, "B *event"], noise: Tensor) -> Float[Tensor, " B"]:
        """What training maximises, in nats per observation."""

    @abstractmethod
    def noise(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """The randomness of one evaluation of the objective, `[B, …]`, on the generator's device."""

    @abstractmethod
    def encode(self, x: Float[Tensor, "B *event"]) -> Normal:
        """q(z|x), batch shape `[B, L]`."""

    @abstractmethod
    def draws(self, batch: Batch, k: int, generator: torch.Generator, keep: int = 1) -> Draws:
        """K draws from the posterior of each observation and their log-densities; the first `keep` draws are kept."""

    def parameters_at(self, z: Float[Tensor, "*batch L"]) -> Float[Tensor, "*batch_event"]:
        """The decoder's output, the likelihood's parameters."""
        return self.decoder(z.flatten(0, -2)).unflatten(0, z.shape[:-1])

    def decode(self, z: Float[Tensor, "*batch L"]) -> Distribution:
        """p(x|z), one event an observation."""
        return self.likelihood(self.parameters_at(z))

    def forward(self, x: Float[Tensor, "B *event"]) -> Float[Tensor, "B *event"]:
        """The reconstruction: the likelihood's mean at the posterior's mean."""
        return self.decode(self.encode(x).mean).mean

    @torch.no_grad()
    def prepare(self, x: Float[Tensor, "N *event"]) -> None:
        """Start from the training observations: check their support, set the last bias to their mean (Burda et al. 2016).

        Raises:
            ValueError: if the likelihood has no place for such observations.
        """
        self.likelihood.check(x)
        bias = [m.bias for m in self.decoder.modules() if getattr(m, "bias", None) is not None][-1]
        start = self.likelihood.output_bias(x.mean(0))
        bias.copy_(start.flatten() if bias.numel() == start.numel() else start.flatten(1).mean(1))

    def facts(self) -> dict[str, float | int]:
        """What a table says of the model beside its metrics."""
        count = sum(p.numel() for p in self.parameters() if p.requires_grad)
        return {
            "parameters": count,
            "dimensions": prod(self.shape),
            "latent_dim": self.latent_dim,
        } | self.likelihood.facts()

    # -- its training -------------------------------------------------------------------------------------------------

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.learning_rate)

    def setup(self, stage: str) -> None:
        if stage == "fit" and getattr(self.trainer, "datamodule", None) is not None:
            self.prepare(self.trainer.datamodule.train.x)  # type: ignore[attr-defined]

    def on_fit_start(self) -> None:
        self.generator = generator(self.seed, f"noise of rank {self.global_rank}", self.device)
        if self._noise_state is not None:
            self.generator.set_state(self._noise_state)
        self._steps = self.trainer.estimated_stepping_batches

    def on_train_epoch_start(self) -> None:
        self._total = torch.zeros(2, dtype=torch.float64, device=self.device)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        assert self.generator is not None, "training_step needs a Trainer: call Trainer().fit(model, datamodule)"
        self.progress.fill_(self.global_step / max(1, self._steps - 1))
        objective = self.objective(batch.x, self.noise(len(batch.x), self.generator))
        self._tally(objective)
        return -objective.mean()

    def on_train_epoch_end(self) -> None:
        self._report("train/objective")

    def on_validation_epoch_start(self) -> None:
        self._total = torch.zeros(2, dtype=torch.float64, device=self.device)
        self._validation = generator(self.seed, "validation", self.device)

    def validation_step(self, batch: Batch, index: int) -> None:
        self._tally(self.objective(batch.x, self.noise(len(batch.x), self._validation)))

    def on_validation_epoch_end(self) -> None:
        self._report("val/objective")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self.generator is not None:
            checkpoint["noise"] = self.generator.get_state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._noise_state = checkpoint.get("noise")

    def _tally(self, objective: Float[Tensor, " B"]) -> None:
        """Add to the sum and the count: a mean of batch means would be off by the short last batch."""
        self._total += torch.stack([objective.detach().double().sum(), self._total.new_tensor(len(objective))])

    def _report(self, name: str) -> None:
        total, count = self.all_gather(self._total).view(-1, 2).sum(0)
        if not torch.isfinite(total):
            raise Diverged(
                f"{name} became {total / count:.3g} in epoch {self.current_epoch}; "
                "lower model.learning_rate, or set train.gradient_clip"
            )
        self.log(name, (total / count).float(), rank_zero_only=True)
