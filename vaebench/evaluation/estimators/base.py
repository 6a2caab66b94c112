"""The interface of estimators: functions of a model, some observations and a seed."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from vaebench.data.loaders import Batch
from vaebench.evaluation.metrics.base import refuse_old_names
from vaebench.models.base import Autoencoder
from vaebench.models.parts.posteriors import Form
from vaebench.models.vae import VAE
from vaebench.records.description import Description, Weights
from vaebench.records.record import Estimate, NotApplicable


class Estimator(ABC):
    """A measurement that evaluates the model itself, where metrics only read draws from its posterior q(z|x).

    It costs more than a metric. So a study must ask for it, and choose the number of observations. If the model
    gives a number that is not finite, the estimator raises FloatingPointError, and its message becomes the reason for
    the empty cells.
    """

    observations: int  # the number of observations to use, evenly spaced in the split

    def __init_subclass__(cls, **keywords: Any) -> None:
        refuse_old_names(cls)
        super().__init_subclass__(**keywords)

    @property
    @abstractmethod
    def columns(self) -> Mapping[str, Description]:
        """The estimates that `estimate` returns (not arrays), by name, and how to show each."""

    @abstractmethod
    def why_not_applicable(self, model: Autoencoder) -> str | None:
        """The reason why the estimator does not apply to this model; None if it applies."""

    @abstractmethod
    def estimate(self, model: Any, batch: Batch, seed: int) -> tuple[Estimate | NotApplicable, ...]:
        """Estimate means over the given observations; where an estimate is missing, give the reason instead.

        Args:
            model: one that the estimator applies to, in evaluation mode. It does not change.
            batch: on the model's device.

        Raises:
            FloatingPointError: if the model gives a number that is not finite.
        """

    def example_images(self, model: Any, x: Float[Tensor, "N *event"]) -> Float[Tensor, "R N *event"] | None:
        """Images that show what is measured, one column for each observation; None if there is nothing to show."""
        return None


class EvidenceEstimator(Estimator):
    """An estimate of log p(x), nats per observation."""

    def why_not_applicable(self, model: Autoencoder) -> str | None:
        if model.stochastic and model.form is not Form.NONE:
            return None
        return f"{type(model).__name__} has no prior p(z){'' if model.stochastic else ', and so no log p(x)'}"

    @abstractmethod
    def estimate(self, model: VAE, batch: Batch, seed: int) -> tuple[Estimate, ...]: ...


def evenly_spaced(batches: Iterable[Batch], count: int) -> Batch:
    """Take `count` observations of a split at equal distances, from the first on; all of them if the split has fewer.

    A data set may be sorted, for example by writer. Then its first `count` observations would be another population.

    Args:
        batches: the split, in its own order. It is iterated twice.
        count: the number of observations.
    """
    chosen = _indices(sum(len(batch.x) for batch in batches), count)
    parts, labels, start = [], [], 0
    for batch in batches:
        here = (chosen[(chosen >= start) & (chosen < start + len(batch.x))] - start).to(batch.x.device)
        parts.append(batch.x[here])
        labels += [] if batch.label is None else [batch.label[here]]
        start += len(batch.x)
    return Batch(torch.cat(parts), torch.cat(labels) if labels else None)


def part_of(total: int, count: int) -> str | None:
    """The value of `Estimate.over` for what `evenly_spaced` takes; None if it takes the whole split.

    >>> part_of(100, 10)
    '10 of 100, 9bc3312abd'
    >>> part_of(100, 100) is None
    True
    """
    chosen = _indices(total, count)
    return f"{len(chosen)} of {total}, {fingerprint(chosen)}" if len(chosen) < total else None


def fingerprint(values: Tensor) -> str:
    """Ten hexadecimal digits that identify the values, by SHA-256."""
    return sha256(values.cpu().contiguous().numpy().tobytes()).hexdigest()[:10]


def _indices(total: int, count: int) -> Int64[Tensor, " N"]:
    return torch.arange(min(count, total)) * total // max(1, min(count, total))


def mean_over_observations(
    name: str,
    values: Float[Tensor, " N"],
    monte_carlo_variance: Float[Tensor, " N"] | None = None,
    weights: Weights | None = None,
) -> Estimate:
    """The mean over observations with its standard error and, from `monte_carlo_variance`, its Monte-Carlo error.

    Args:
        values: one for each observation.
        monte_carlo_variance: of each value; the errors of two values are independent.
        weights: the reliability of the importance weights behind the values.
    """
    n = len(values)
    error = float(values.detach().double().std()) / math.sqrt(n) if n > 1 else None
    total = None if monte_carlo_variance is None else monte_carlo_variance.detach().double().sum()
    monte_carlo_error = None if total is None else float(total.sqrt()) / n
    return Estimate(name, float(values.detach().double().mean()), error, n, monte_carlo_error, weights=weights)
