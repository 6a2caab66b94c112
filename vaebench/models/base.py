"""The base class of every model: an encoder, a decoder, a likelihood, and an objective in nats per observation."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from inspect import isfunction
from math import prod
from typing import Annotated, Any

import lightning
import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn
from torch.distributions import Distribution

from vaebench.config.registry import LIKELIHOODS, NETWORKS, Later, LikelihoodSpec, NetworkSpec, Positive, PositiveInt
from vaebench.config.seeding import generator, seeded
from vaebench.data.datamodule import DataModule
from vaebench.data.loaders import Batch
from vaebench.models.draws import Draws
from vaebench.models.epoch import (
    PARAMETER,
    REFIT_NOISE,
    TRAINING_NOISE,
    TRAINING_OBJECTIVE,
    VALIDATION_NOISE,
    VALIDATION_OBJECTIVE,
    Diverged,
    describe_divergence,
    progress_at,
    sum_and_count,
)
from vaebench.models.parts.posteriors import Form, reparameterise
from vaebench.models.using import Usable
from vaebench.records.description import Description, Panel

CLASS = "vaebench_model"  # the entry of a checkpoint with the name of the model's class
FACTS_OF_BETA = ("beta", "beta_normalised", "beta_effective")  # facts that a model without a rate does not have
OLD_NAMES = {"learning": "trainable_parameters", "one_device": "why_one_device", "without_code": "why_no_code"}


class Autoencoder(Usable, ABC):
    """A LightningModule with the training, validation and logging of every model. A subclass defines the objective.

    The objective is a pure function of the parameters, the observations and the noise. The noise comes from the model's
    own generator. So a run has the same numbers alone, in a pack, and after a resume.

    Args:
        shape: the shape of one observation.
        seed: seed of the initialisation and of the noise.
        context: how many outputs the encoder has beside `outputs_per_unit`, as a function of L.
        latent_dim: L, the number of latent units.
        network: the architecture of encoder and decoder.
        likelihood: p(x|z).
        learning_rate: of the optimiser; in stages if `train.stages` says so.
        mean_start: whether training starts with the output bias at the mean of the training data.
    """

    stochastic = False  # whether the model has a posterior q(z|x) and a prior p(z), and therefore bounds on log p(x)
    standard_normal_prior = False  # whether p(z) = N(0, I). Then each unit has a KL in closed form
    form = Form.NONE  # what is known about q(z|x)
    why_no_code: str | None = None  # why q(z|x) has no mean, so that an observation has no code; None if it has one
    linear = False  # whether this is the linear VAE, whose optimum `vaebench.oracle` gives in closed form
    trained_by_gradient = True  # whether training follows the objective's gradient; if not, the model fits itself
    outputs_per_unit = 1  # how many outputs the encoder has for each latent unit, e.g. 2 for a mean and a variance
    why_one_device: str | None = None  # why several devices cannot share the batches of this model; None if they can

    fixed: tuple[str, ...] = ()
    """Keywords that a subclass sets itself. They are not part of a checkpoint's hyper-parameters."""

    sparse = False  # whether most units of a code are exactly 0
    classes: int | None = None  # how many classes the model predicts; None if it does not learn from labels
    phase = 0  # the present phase of training, counted from 0. Only a model that is trained in phases reads it

    optimizer: Callable[[Iterable[nn.Parameter], float], torch.optim.Optimizer]
    """Makes the optimiser of these parameters with this learning rate; Adam, unless the training sets another."""

    progress: Tensor

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        for old in OLD_NAMES.keys() & vars(cls).keys():
            raise TypeError(f"{cls.__name__}: rename {old} to {OLD_NAMES[old]}; it is called so now")

    def __init__(
        self,
        shape: tuple[int, ...],
        seed: int = 0,
        context: Callable[[int], int] = lambda latent_dim: 0,
        *,
        latent_dim: PositiveInt = 8,
        network: NetworkSpec = "MLP",
        likelihood: LikelihoodSpec = "Bernoulli",
        learning_rate: Positive = 1e-3,
        mean_start: Annotated[bool, Later()] = True,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False, ignore=("context", *self.fixed))
        self.shape, self.seed, self.latent_dim, self.learning_rate = tuple(shape), seed, latent_dim, learning_rate
        self.mean_start = mean_start
        with seeded(seed, "initialisation"):
            architecture = NETWORKS.build(network)
            features = self.outputs_per_unit * latent_dim + context(latent_dim)
            self.encoder: nn.Module = architecture.encoder(self.shape, features)
            self.decoder = architecture.decoder(latent_dim, self.shape)
            self.likelihood = LIKELIHOODS.build(likelihood, self.shape)
        self.register_buffer("progress", torch.zeros(()))
        self.optimizer = torch.optim.Adam
        self.generator: torch.Generator | None = None
        self._noise_state: Tensor | None = None

    # -- the model ----------------------------------------------------------------------------------------------------

    @abstractmethod
    def objective(self, x: Float[Tensor, "B *event"], noise: Tensor) -> Float[Tensor, " B"]:
        """What training maximises, in nats per observation: a pure function of its arguments and the parameters."""

    def objective_of(self, batch: Batch, noise: Tensor) -> Float[Tensor, " B"]:
        """The objective of a batch with its labels: `objective(x, noise)`, unless the model learns from labels."""
        return self.objective(batch.x, noise)

    @abstractmethod
    def noise(self, batch_size: int, generator: torch.Generator) -> Tensor:
        """The noise of one evaluation of the objective, `[B, …]`, on the generator's device."""

    @abstractmethod
    def encode(self, x: Float[Tensor, "B *event"]) -> Distribution:
        """q(z|x): a Normal of batch shape `[B, L]`, or another distribution of batch shape `[B]`, event shape `[L]`."""

    @abstractmethod
    def draws_at(
        self,
        batch: Batch,
        noise: Iterable[Float[Tensor, "S B *any"]],
        keep: int = 1,
        out: Float[Tensor, "3 K B"] | None = None,
        quick: bool = True,
    ) -> Draws:
        """The draws at the given noise, and their log-densities.

        Args:
            batch: the observations.
            noise: of K draws in total, in parts of S draws.
            keep: how many of the draws themselves are kept; the log-densities of all are kept.
            out: where the log-densities log p(x|z), log p(z) and log q(z|x) are written; None makes new tensors.
            quick: compute log-densities the quick way of `VAE.log_likelihood`, without gradients. A pack cannot
                use it.
        """

    def draw_noise(
        self, x: Float[Tensor, "B *event"], k: int, generator: torch.Generator, keep: int = 1
    ) -> Iterator[Float[Tensor, "S B *any"]]:
        """The noise of K draws, in parts; at least `keep` draws in the first. A deterministic model has no noise."""
        return iter(())

    @torch.no_grad()
    def draws(self, batch: Batch, k: int, generator: torch.Generator, keep: int = 1) -> Draws:
        """K draws from the posterior of each observation with their log-densities. The first `keep` draws are kept."""
        out = batch.x.new_empty(3, k, len(batch.x))
        return self.draws_at(batch, self.draw_noise(batch.x, k, generator, keep), keep, out)

    def parameters_at(self, z: Float[Tensor, "*batch L"]) -> Float[Tensor, "*batch_event"]:
        """The output of the decoder: the parameters of the likelihood."""
        return self.decoder(z.flatten(0, -2)).unflatten(0, z.shape[:-1])

    def decode(self, z: Float[Tensor, "*batch L"]) -> Distribution:
        """p(x|z). One event is one observation."""
        return self.likelihood(self.parameters_at(z))

    def forward(self, x: Float[Tensor, "B *event"]) -> Float[Tensor, "B *event"]:
        """The reconstruction: the mean of the likelihood at the mean of the posterior."""
        return self.decode(self.encode(x).mean).mean

    @torch.no_grad()
    def prepare(self, x: Float[Tensor, "N *event"]) -> None:
        """Prepare for training: check the observations, and set the output bias to their mean (Burda et al. 2016).

        With `mean_start: false`, the output bias stays as the network made it.

        Raises:
            ValueError: if the likelihood does not support such observations.
        """
        self.likelihood.check(x)
        if not self.mean_start:
            return
        bias, start = self.decoder.output_bias, self.likelihood.output_bias(x.mean(0))
        # A convolution has one bias per channel: it gets the mean over the channel's pixels.
        bias.copy_(start.flatten() if bias.numel() == start.numel() else start.flatten(1).mean(1))

    def prepare_for(self, data: DataModule) -> None:
        """Prepare for training on a data set; its pixels may be expected ones (`binarize: Expected`).

        Raises:
            ValueError: if the likelihood does not support such observations.
        """
        if data.has_expected_pixels:
            self.likelihood.expect()
        self.prepare(data.train.x)

    def check_labels(self, label: Tensor | None) -> None:
        """Refuse labels of the training split that the model cannot learn from."""

    def phase_at(self, progress: float) -> int:
        """The number of the phase when this share of training is over. It never goes back.

        Most models have one phase; in each phase of StackedAE another layer learns. The objective, the noise and the
        parameters that learn may differ from phase to phase. Each phase starts with a new optimiser, so parameters that
        have no gradient in a phase keep their values.
        """
        return 0

    def has_final_objective(self) -> bool:
        """Whether the objective stays what it now is until the end of training. Early stopping waits for it."""
        return self.phase == self.phase_at(1.0)

    @property
    def has_phases(self) -> bool:
        """Whether training has more than one phase, as StackedAE, which trains layer after layer."""
        return self.phase_at(1.0) > 0

    def trainable_parameters(self) -> Iterable[nn.Parameter]:
        """The parameters that learn in the present phase."""
        return self.parameters()

    def enter_phase(self, progress: float) -> bool:
        """Enter the phase at this share of training. Return whether that is another phase than before."""
        before, self.phase = self.phase, self.phase_at(progress)
        return self.phase != before

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Load parameters and buffers, and enter the phase in which they were saved."""
        loaded = super().load_state_dict(state_dict, *args, **kwargs)
        self.enter_phase(float(self.progress))
        return loaded

    @property
    def fact_descriptions(self) -> Mapping[str, Description]:
        """How to show the facts that have a column in the table."""
        return {
            "parameters": Description("parameters", Panel.OBJECTIVE, 110, meaning="How many numbers are trained.")
        } | {**self.likelihood.fact_descriptions}

    def facts(self) -> dict[str, float | int]:
        """Facts about the model that stand in tables beside its metrics."""
        count = sum(p.numel() for p in self.parameters() if p.requires_grad)
        own = {"parameters": count, "dimensions": prod(self.shape), "latent_dim": self.latent_dim}
        return own | self.likelihood.facts()

    def facts_not_applicable(self) -> dict[str, str]:
        """Why the model lacks facts that others have, by the name of the fact. Tables print it in place of a number."""
        return self.likelihood.facts_not_applicable() | (
            {} if self.stochastic else dict.fromkeys(FACTS_OF_BETA, f"{type(self).__name__} has no rate, so no β")
        )

    # -- an epoch of training: `vaebench.models.epoch` says what each part is for --------------------------------------

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.optimizer(self.parameters(), self.learning_rate)

    def setup(self, stage: str) -> None:
        if stage == "fit" and (data := self.data_module) is not None:
            self.check_labels(data.train.label)
            self.prepare_for(data)

    def on_fit_start(self) -> None:
        self.generator = generator(self.seed, TRAINING_NOISE, self.device)
        if self._noise_state is None and self.data_module is None:
            training = self.whole_training_split()
            self.check_labels(training.label)
            self.prepare(training.x)
        if self._noise_state is not None:
            self.generator.set_state(self._noise_state)
            self._finish()  # if no epoch is left to train, no later hook would do it
        self._steps = self.trainer.estimated_stepping_batches

    def on_train_epoch_start(self) -> None:
        self._trained = torch.zeros(2, dtype=torch.float64, device=self.device)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """The loss of a step. Lightning does the rest of `vaebench.training.step.training_step`."""
        assert self.generator is not None, "training_step needs a Trainer: call Trainer().fit(model, datamodule)"
        progress = progress_at(self.global_step, self._steps)
        self.progress.fill_(progress)
        if self.enter_phase(progress):
            self.trainer.optimizers[0].state.clear()
        # Every process draws the noise of the whole batch and takes its part, so that the number of processes does not
        # change the noise of an example.
        world, total = self.trainer.world_size, self._in_all_processes(len(batch.x))
        noise = self.noise(total, self.generator)[self.global_rank :: world]
        if not len(batch.x):
            return self._zero_loss()
        objective = self.objective_of(batch, noise)
        self._trained += sum_and_count(objective)
        # Lightning averages gradients over processes with equal weights, however many examples each process has. This
        # divisor makes that average the gradient of the mean over all examples.
        loss = -objective.sum() / (total / world)
        # In a phase some parameters do not learn. Their gradient is zero, because several processes wait for it.
        return loss if world == 1 and not self.has_phases else loss + self._zero_loss()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        if self.has_phases:  # weight decay would change a parameter that has a gradient, even if it is zero
            learning = set(map(id, self.trainable_parameters()))
            for parameter in self.parameters():
                parameter.grad = parameter.grad if id(parameter) in learning else None

    def on_train_epoch_end(self) -> None:
        self._log_mean(TRAINING_OBJECTIVE, self._trained)

    def on_validation_epoch_start(self) -> None:
        self._refit()
        # Lightning validates before the training epoch ends, so each of the two has its own sum.
        self._validated = torch.zeros(2, dtype=torch.float64, device=self.device)
        self._validation = generator(self.seed, VALIDATION_NOISE, self.device)

    def validation_step(self, batch: Batch, index: int) -> None:
        self._validated += sum_and_count(self.objective_of(batch, self.noise(len(batch.x), self._validation)))

    def on_validation_epoch_end(self) -> None:
        self._log_mean(VALIDATION_OBJECTIVE, self._validated)

    def on_train_end(self) -> None:
        self._finish()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint |= {} if self.generator is None else {"noise": self.generator.get_state()}
        checkpoint[CLASS] = type(self).__name__

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._noise_state = checkpoint.get("noise")

    @torch.no_grad()
    def squared_error(self, batches: Iterable[Batch]) -> Float64[Tensor, "2"]:
        """The expected squared error per pixel: its sum over observations, and the number of observations."""
        noise = generator(self.seed, REFIT_NOISE, self.device)
        total = torch.zeros(2, dtype=torch.float64, device=self.device)
        for batch in batches:
            total += sum_and_count(self.expected_error(batch.x, noise).flatten(1).mean(1))
        return total

    def expected_error(self, x: Float[Tensor, "B *event"], generator: torch.Generator) -> Float[Tensor, "B *event"]:
        """The squared error of every pixel, expected under the posterior. Here it is estimated from one draw."""
        posterior = self.encode(x)
        noise = torch.randn(len(x), self.latent_dim, generator=generator, device=self.device, dtype=x.dtype)
        return (x - self.decode(reparameterise(posterior, noise)).mean).square()

    def refit(self, training_split: Iterable[Batch]) -> None:
        """Let the likelihood estimate its own parameters from the whole training split, if it wants to.

        `OptimalGaussian`, for example, has a closed form for its variance, given the squared error of the model.
        """
        if self.likelihood.refits:
            total, count = self.squared_error(training_split)
            self.likelihood.refit(total / count)

    def _finish(self) -> None:
        """Make the model ready to be measured.

        Raises:
            Diverged: if a parameter is not a finite number.
        """
        for parameter in self.parameters():
            if not bool(parameter.isfinite().all()):
                where = f"epoch {self.current_epoch}"  # the last one, which is counted already
                raise Diverged(describe_divergence(PARAMETER, float(parameter.detach().sum()), where))
        self._refit()

    def _refit(self) -> None:
        if self.trainer.state.fn == "fit":
            self.refit(self.training_batches())

    def _log_mean(self, name: str, sums: Float64[Tensor, "2"]) -> None:
        """Log the mean over all processes.

        Raises:
            Diverged: if it is not a finite number.
        """
        total, count = self.over_processes(sums)
        mean = total / count
        if not torch.isfinite(mean):
            raise Diverged(describe_divergence(name, float(mean), f"epoch {self.current_epoch + 1}"))
        self.log(name, mean.float(), rank_zero_only=True)

    def _zero_loss(self) -> Tensor:
        """The loss of a process that has no example in this step. Its gradient is zero for every parameter.

        The other processes wait for a gradient of each parameter. The objective cannot give it: torch's distributions
        refuse an empty batch.
        """
        return torch.stack([0 * p.sum() for p in self.parameters() if p.requires_grad]).sum()

    def _in_all_processes(self, n: int) -> int:
        """The number of examples of a step in all processes, where this process has n."""
        return n if self.trainer.world_size == 1 else int(self.over_processes(torch.tensor([n], device=self.device)))


EPOCH_HOOKS = tuple(
    name
    for name, method in vars(Autoencoder).items()
    if isfunction(method) and hasattr(lightning.LightningModule, name) and name not in ("__init__", "forward")
)
"""The hooks in which `Autoencoder` runs an epoch. A pack has its own, so a model that overrides one cannot pack."""
