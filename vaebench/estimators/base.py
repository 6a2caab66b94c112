"""What every estimator of the evidence is: a function of a model, some observations and a seed."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from vaebench import bounds
from vaebench.draws import Batch
from vaebench.models.base import Autoencoder
from vaebench.models.vae import VAE
from vaebench.record import Estimate


class Estimator(ABC):
    """An estimate of log p(x) that asks the model itself, and not draws from its posterior q(z|x).

    It costs more than a diagnostic, so a study names it and says on how many observations. Where a number cannot be had
    (the decoder's output is not finite) it raises FloatingPointError, and a record leaves its columns blank with that
    reason.
    """

    observations: int
    """How many observations are wanted."""

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """The names of the numbers that `estimate` gives."""

    def applies_to(self, model: Autoencoder) -> str | None:
        """None, or the reason why the model has no evidence to estimate."""
        return None if model.stochastic else f"{type(model).__name__} has no prior p(z), and so no log p(x)"

    @abstractmethod
    def estimate(self, model: VAE, x: Float[Tensor, "N *event"], seed: int) -> tuple[Estimate, ...]:
        """The estimates, nats per observation, means over the given observations.

        Args:
            model: in evaluation mode; it is left as it is.
            x: on the model's device.
            seed: of all that is random.

        Raises:
            FloatingPointError: if the model gives no finite number.
        """


def evenly_spaced(batches: Iterable[Batch], count: int) -> Float[Tensor, "N *event"]:
    """So many observations of a split, at equal distances in its own order, the first of all among them.

    All of them where there are no more. Data sets may be sorted, by writer or by difficulty: the first `count` would be
    another population.

    Args:
        batches: the split, in its own order; they are gone through twice.
        count: how many.
    """
    total = sum(len(batch.x) for batch in batches)
    chosen = torch.arange(min(count, total)) * total // max(1, min(count, total))
    parts, passed = [], 0
    for batch in batches:
        here = chosen[(chosen >= passed) & (chosen < passed + len(batch.x))] - passed
        parts.append(batch.x[here.to(batch.x.device)])
        passed += len(batch.x)
    return torch.cat(parts)


def mean_over_observations(
    name: str, values: Float[Tensor, " N"], noise: Float[Tensor, " N"] | None = None, note: str | None = None
) -> Estimate:
    """The mean of one number an observation, its standard error, and what of it is Monte-Carlo noise.

    Args:
        name: the column's.
        values: a number an observation.
        noise: their Monte-Carlo variances, independent of one another.
        note: a reservation.
    """
    n = len(values)
    error = float(values.double().std()) / math.sqrt(n) if n > 1 else None
    remaining = None if noise is None else float(noise.double().sum().sqrt()) / n
    return Estimate(name, float(values.double().mean()), error, n, remaining, note)


def collapse_note(effective: Float[Tensor, " N"], draws: int) -> str | None:
    """The reservation about a mean of weights that few draws carry, from the effective sample sizes."""
    return bounds.collapse_note(float((effective < bounds.COLLAPSED).double().mean()), draws)
