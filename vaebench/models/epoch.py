"""What a training epoch is: its random streams, its sums, its refit, and the names under which it reports.

`Autoencoder` runs an epoch for one model, `vaebench.training.packed.module.Pack` for many at once. Both are
LightningModules with hooks of the same names, and both are made of the functions and names in this file:

1. Each step takes the next noise of `TRAINING_NOISE`. `progress` says how much of the training is over, and so in
   which phase it is (`Autoencoder.phase_at`). Each phase starts with a new optimiser.
2. `total` adds up the objective over the observations of the epoch.
3. Before validation, and after the last epoch, `Autoencoder.refit` recomputes what the likelihood
   estimates from the training split: the σ² of `OptimalGaussian`.
4. Validation evaluates the objective with the noise of `VALIDATION_NOISE`, the same in every epoch.
5. The two means are logged as `TRAINING_OBJECTIVE` and `VALIDATION_OBJECTIVE`. If one is not a finite number, the
   training has diverged, and `divergence` says so.
"""

import torch
from jaxtyping import Float, Float64
from torch import Tensor

TRAINING_NOISE = "noise of rank 0"
"""Name of the random stream of the training noise. All processes of a run use it, not only rank 0: the name is old."""

VALIDATION_NOISE = "validation"
"""Name of the random stream of the validation noise. Every validation starts it from the same seed."""

REFIT_NOISE = "refit"  # name of the random stream of a refit. Every refit starts it from the same seed

TRAINING_OBJECTIVE, VALIDATION_OBJECTIVE = "train/objective", "val/objective"
"""The names under which an epoch logs the mean objective of the two splits, in nats per observation."""

TEST_OBJECTIVE, TEST_ELBO = "test/objective", "test/elbo"
"""What `Trainer.test` logs, in nats per observation. The ELBO is estimated from one draw of each observation."""

TESTED = (TEST_OBJECTIVE, TEST_ELBO)

REMEDY = "lower model.learning_rate, or set train.gradient_clip"  # what a user can do about a divergence


def progress(step: int, steps: int | float) -> float:
    """The share of training that is over at a step, counted from zero: 0 at the first step, 1 at the last.

    >>> [progress(step, 5) for step in range(5)]
    [0.0, 0.25, 0.5, 0.75, 1.0]
    >>> progress(0, 1)
    0.0
    """
    return step / max(1, steps - 1)


def total(objective: Float[Tensor, "*M B"]) -> Float64[Tensor, "*M"]:
    """The sum over observations. A mean of batch means would be wrong where the last batch is short.

    >>> total(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([3., 7.], dtype=torch.float64)
    """
    return objective.detach().double().sum(-1)


def tally(per_observation: Float[Tensor, " B"]) -> Float64[Tensor, "2"]:
    """The sum over observations and their number.

    >>> tally(torch.tensor([1.0, 2.0]))
    tensor([3., 2.], dtype=torch.float64)
    """
    summed = total(per_observation)
    return torch.stack([summed, summed.new_tensor(len(per_observation))])


def divergence(name: str, value: float, where: str) -> str:
    """How a training has diverged.

    >>> divergence("train/objective", float("nan"), "epoch 3")
    'train/objective became nan in epoch 3'
    """
    return f"{name} became {value:.3g} in {where}"
