"""What every estimator is: a function of a model, some observations and a seed."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from hashlib import sha256
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from vaebench.data.batch import Batch
from vaebench.evaluation.metrics.base import Blank
from vaebench.models.base import Autoencoder
from vaebench.models.vae import VAE
from vaebench.records.record import Estimate
from vaebench.records.weights import Weights


class Estimator(ABC):
    """A measurement that asks the model itself, and not draws from its posterior q(z|x).

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

    @abstractmethod
    def applies_to(self, model: Autoencoder) -> str | None:
        """None, or the reason why the estimator has no meaning for this model."""

    @abstractmethod
    def estimate(self, model: Any, batch: Batch, seed: int) -> tuple[Estimate | Blank, ...]:
        """The estimates, means over the given observations; a number that it does not give is blank, with the reason.

        Args:
            model: to which the estimator applies, in evaluation mode; it is left as it is.
            batch: on the model's device.
            seed: of all that is random.

        Raises:
            FloatingPointError: if the model gives no finite number.
        """

    def pictured(self, model: Any, x: Float[Tensor, "N *event"]) -> Float[Tensor, "R N *event"] | None:
        """Rows of images, a column an observation, that show what is measured; None where there is nothing to see."""
        return None


class EvidenceEstimator(Estimator):
    """An estimate of log p(x), nats per observation."""

    def applies_to(self, model: Autoencoder) -> str | None:
        return None if model.stochastic else f"{type(model).__name__} has no prior p(z), and so no log p(x)"

    @abstractmethod
    def estimate(self, model: VAE, batch: Batch, seed: int) -> tuple[Estimate, ...]: ...


def evenly_spaced(batches: Iterable[Batch], count: int) -> Batch:
    """So many observations of a split, at equal distances in its own order, the first of all among them.

    All of them where there are no more. Data sets may be sorted, by writer or by difficulty: the first `count` would be
    another population.

    Args:
        batches: the split, in its own order; they are gone through twice.
        count: how many.
    """
    chosen = _places(sum(len(batch.x) for batch in batches), count)
    parts, labels, passed = [], [], 0
    for batch in batches:
        here = (chosen[(chosen >= passed) & (chosen < passed + len(batch.x))] - passed).to(batch.x.device)
        parts.append(batch.x[here])
        labels += [] if batch.label is None else [batch.label[here]]
        passed += len(batch.x)
    return Batch(torch.cat(parts), torch.cat(labels) if labels else None)


def part_of(total: int, count: int) -> str | None:
    """Which observations `evenly_spaced` takes of a split, as `Estimate.over` has it; None where it takes all."""
    chosen = _places(total, count)
    return f"{len(chosen)} of {total}, {fingerprint(chosen)}" if len(chosen) < total else None


def fingerprint(values: Tensor) -> str:
    """Ten digits that differ where the values do."""
    return sha256(values.cpu().contiguous().numpy().tobytes()).hexdigest()[:10]


def _places(total: int, count: int) -> Int64[Tensor, " N"]:
    return torch.arange(min(count, total)) * total // max(1, min(count, total))


def mean_over_observations(
    name: str, values: Float[Tensor, " N"], noise: Float[Tensor, " N"] | None = None, weights: Weights | None = None
) -> Estimate:
    """The mean of one number an observation, its standard error, and what of it is Monte-Carlo noise.

    Args:
        name: the column's.
        values: a number an observation.
        noise: their Monte-Carlo variances, independent of one another.
        weights: how far the weights behind them can be trusted.
    """
    n = len(values)
    error = float(values.double().std()) / math.sqrt(n) if n > 1 else None
    remaining = None if noise is None else float(noise.double().sum().sqrt()) / n
    return Estimate(name, float(values.double().mean()), error, n, remaining, weights=weights)
