"""What one does with a model in Python: sample, reconstruct and interpolate, and train, test or predict on any loader.

Everything here is made of the methods of the model, so a new model has it without code of its own.
"""

import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import lightning
import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.distributions import Distribution

from vaebench.config.seeding import generator, seeded
from vaebench.data.datamodule import DataModule
from vaebench.data.loaders import Batch
from vaebench.models.draws import Draws
from vaebench.models.epoch import TEST_ELBO, TEST_OBJECTIVE, TESTED, VALIDATION_NOISE, sum_and_count
from vaebench.models.parts.posteriors import unit_stddev

# Lightning warns if a model has this hook and its data module does not, which is what is wanted here.
warnings.filterwarnings("ignore", "You have overridden .on_before_batch_transfer.", UserWarning)

ROWS = 1024  # samples that are decoded at a time
MOST_PREPARED = 2**31  # bytes of a plain loader's observations from which a model is prepared


class Usable(lightning.LightningModule):
    """The part of every model that uses it. `Autoencoder` has the model and its training."""

    shape: tuple[int, ...]
    seed: int
    stochastic: bool
    encode: Any
    decode: Any
    draws: Any
    noise: Any
    objective_of: Any
    prior: Any

    # -- samples, reconstructions, interpolations ----------------------------------------------------------------------

    def prior_distribution(self) -> Distribution:
        """p(z) with the present parameters.

        Raises:
            ValueError: if the model has no prior.
        """
        if not self.stochastic:
            raise ValueError(
                f"{type(self).__name__} has no prior p(z), so it has no samples; use a model with a prior, e.g. VAE"
            )
        prior = self.prior(self.encode)
        assert isinstance(prior, Distribution)
        return prior

    @torch.no_grad()
    def sample(self, count: int, seed: int = 0, mean: bool = False) -> Float[Tensor, "N *event"]:
        """Samples of the model: z ~ p(z), then x ~ p(x|z).

        Args:
            count: N, the number of samples.
            seed: of the randomness. The same seed gives the same samples on one kind of device.
            mean: give the mean of p(x|z) instead of a sample of it. These have less noise than x ~ p(x).

        Raises:
            ValueError: if the model has no prior.
        """
        prior = self.prior_distribution()
        with seeded(seed, "samples"):
            parts = [self.decode(z) for z in prior.sample(torch.Size([count])).split(ROWS)]
            x = torch.cat([p.mean if mean else p.sample() for p in parts])
        return x.reshape(count, *self.shape)

    @torch.no_grad()
    def reconstruct(self, x: Float[Tensor, "B *event"]) -> Float[Tensor, "B *event"]:
        """The mean of p(x|z) at the mean of q(z|x): `forward` without gradients."""
        reconstruction: Tensor = self(x)
        return reconstruction

    @torch.no_grad()
    def interpolate(
        self, first: Float[Tensor, "B *event"], second: Float[Tensor, "B *event"], steps: int = 9
    ) -> Float[Tensor, "T B *event"]:
        """The means of p(x|z) at T codes on the straight line between the codes of two observations, both included.

        Raises:
            ValueError: if there are fewer than two steps.
        """
        if steps < 2:
            raise ValueError(f"expected at least 2 steps, the two ends, got {steps}")
        start, end = self.encode(first).mean, self.encode(second).mean
        shares = torch.linspace(0, 1, steps, device=start.device, dtype=start.dtype)
        return torch.stack([self.decode(start.lerp(end, share)).mean for share in shares])

    # -- loaders of x or (x, y) ----------------------------------------------------------------------------------------

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Batch:
        """Turn what a plain DataLoader gives into a `Batch`."""
        return self.as_batch(batch)

    def as_batch(self, given: Any) -> Batch:
        """A batch from x, (x,) or (x, label).

        Raises:
            TypeError: if it is none of these, or x is not a tensor of floating-point numbers.
            ValueError: if the observations have another shape than the model's.
        """
        if isinstance(given, Batch):
            return given
        x, label = given if isinstance(given, list | tuple) and len(given) == 2 else (given, None)
        x = x[0] if isinstance(x, list | tuple) and len(x) == 1 else x
        if not isinstance(x, Tensor) or not x.is_floating_point():
            got = f"a tensor of {x.dtype}" if isinstance(x, Tensor) else type(given).__name__
            raise TypeError(f"expected batches of x or (x, label) with x in floating point, got {got}; convert it")
        if tuple(x.shape[1:]) != self.shape:
            raise ValueError(f"expected observations of shape {[*self.shape]}, got {[*x.shape[1:]]}; reshape them")
        return Batch(x.to(self.dtype), label)

    @property
    def data_module(self) -> DataModule | None:
        """The Trainer's data module; None if it has a loader, or a data module of another package."""
        data = getattr(self.trainer, "datamodule", None)
        return data if isinstance(data, DataModule) else None

    def training_batches(self) -> Iterable[Batch]:
        """The training split of the Trainer's data module, or the batches of its loader."""
        if self.data_module is not None:
            return self.data_module.batches("train")
        self.trainer.fit_loop.setup_data()
        return _Loaded(self, self.trainer.train_dataloader)

    def whole_training_split(self) -> Batch:
        """As much of the training data of a plain loader as is needed to prepare the model: at most 2 GiB of it."""
        parts, size = list[Batch](), 0
        for batch in self.training_batches():
            parts.append(batch)
            size += batch.x.numel() * batch.x.element_size()
            if size > MOST_PREPARED:
                break
        labels = [part.label for part in parts if part.label is not None]
        return Batch(torch.cat([part.x for part in parts]), torch.cat(labels) if labels else None)

    def over_processes(self, numbers: Shaped[Tensor, " C"]) -> Shaped[Tensor, " C"]:
        """The sum of each number over all processes."""
        gathered = self.all_gather(numbers)
        assert isinstance(gathered, Tensor)
        return gathered.view(-1, len(numbers)).sum(0)

    # -- Trainer.test, Trainer.predict ---------------------------------------------------------------------------------

    def on_test_epoch_start(self) -> None:
        self._tested = {name: torch.zeros(2, dtype=torch.float64, device=self.device) for name in TESTED}
        self._test = generator(self.seed, VALIDATION_NOISE, self.device)

    def test_step(self, batch: Batch, index: int) -> None:
        self._tested[TEST_OBJECTIVE] += sum_and_count(self.objective_of(batch, self.noise(len(batch.x), self._test)))
        if self.stochastic:
            seen: Draws = self.draws(batch, 1, self._test)
            self._tested[TEST_ELBO] += sum_and_count(seen.log_weight.double().mean(0))

    def on_test_epoch_end(self) -> None:
        for name, sums in self._tested.items():
            total, count = self.over_processes(sums)
            if count:
                self.log(name, (total / count).float(), rank_zero_only=True)

    def predict_step(self, batch: Batch, index: int) -> dict[str, Tensor]:
        """The mean and the standard deviation of q(z|x), `[B, L]` each, and the reconstruction `[B, *event]`."""
        posterior = self.encode(batch.x)
        return {
            "mean": posterior.mean,
            "stddev": unit_stddev(posterior),
            "reconstruction": self.decode(posterior.mean).mean,
        }


class _Loaded:
    """The batches of a plain loader on the model's device. It can be iterated again."""

    def __init__(self, model: Usable, loader: Any) -> None:
        self.model, self.loader = model, loader

    def __iter__(self) -> Iterator[Batch]:
        for given in self.loader:
            x, label = self.model.as_batch(given)
            yield Batch(x.to(self.model.device), None if label is None else label.to(self.model.device))
