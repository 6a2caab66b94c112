"""What a training epoch is: its random streams, its sums, its refit, and the names under which it reports.

`Autoencoder` runs an epoch for one model, `vaebench.training.packed.module.Pack` for many at once. Both are
LightningModules with hooks of the same names, and both are made of the functions and names in this file:

1. Each step takes the next noise of `TRAINING_NOISE`. `progress_at` says which share of the training is over, and so
   in which phase it is: which layers of a StackedAE learn (`Autoencoder.phase_at`). Each phase starts with a new
   optimiser.
2. `sum_over_observations` adds up the objective over the observations of the epoch.
3. Before validation, and after the last epoch, `Autoencoder.refit` recomputes what the likelihood
   estimates from the training split: the σ² of `OptimalGaussian`.
4. Validation evaluates the objective with the noise of `VALIDATION_NOISE`, the same in every epoch.
5. The two means are logged as `TRAINING_OBJECTIVE` and `VALIDATION_OBJECTIVE`. If one is not a finite number, the
   training has diverged, and `Diverged` is raised or recorded, with a text of `describe_divergence`.
6. After the last epoch the same holds for the parameters, because the last step may have made one NaN.
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

PARAMETER = "a parameter"
"""What became NaN or infinite if the last steps of a training diverge, and no objective is computed after them."""

REMEDY = "lower model.learning_rate, or set train.gradient_clip"  # what a user can do about a divergence


def progress_at(step: int, steps: int | float) -> float:
    """The share of training that is over at a step, counted from zero: 0 at the first step, 1 at the last.

    >>> [progress_at(step, 5) for step in range(5)]
    [0.0, 0.25, 0.5, 0.75, 1.0]
    >>> progress_at(0, 1)
    0.0
    """
    return step / max(1, steps - 1)


def sum_over_observations(objective: Float[Tensor, "*M B"]) -> Float64[Tensor, "*M"]:
    """The sum over observations. A mean of batch means would be wrong where the last batch is short.

    >>> sum_over_observations(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([3., 7.], dtype=torch.float64)
    """
    return objective.detach().double().sum(-1)


def sum_and_count(per_observation: Float[Tensor, " B"]) -> Float64[Tensor, "2"]:
    """The sum over observations and their number.

    >>> sum_and_count(torch.tensor([1.0, 2.0]))
    tensor([3., 2.], dtype=torch.float64)
    """
    summed = sum_over_observations(per_observation)
    return torch.stack([summed, summed.new_tensor(len(per_observation))])


def describe_divergence(name: str, value: float, where: str) -> str:
    """How a training has diverged.

    >>> describe_divergence("train/objective", float("nan"), "epoch 3")
    'train/objective became nan in epoch 3'
    """
    return f"{name} became {value:.3g} in {where}"


class Diverged(FloatingPointError):
    """The objective is no longer a finite number.

    Args:
        what: which number, and where in the training.
        remedy: what the user can do about it.
    """

    def __init__(self, what: str, remedy: str = REMEDY) -> None:
        super().__init__(what, remedy)
        self.what, self.remedy = what, remedy

    def __str__(self) -> str:
        return f"{self.what}; {self.remedy}"
