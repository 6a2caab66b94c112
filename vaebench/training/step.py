"""One training step of one model, in plain PyTorch: objective, loss, gradient, clip, optimiser.

This function defines a step, and is here to be read; two faster programs take the same step:

- Runs usually train in a pack: many runs, or only one, trained as one program (`vaebench.training.packed`). Its weights
  are those of this function to rounding.
- A run trains outside a pack if it has several devices or early stopping. So does a model that learns from labels, that
  has training hooks of its own (AggressiveVAE chooses which parameters learn), or that `torch.vmap` cannot run for many
  members at once. Then Lightning takes the step, with the loss from `Autoencoder.training_step`. Its weights equal
  those of this function, bit for bit.

PPCA takes no steps: it computes its parameters from the whole training split.

tests/test_step.py compares both with this function, for every registered model that they train.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from vaebench.data.loaders import Batch
from vaebench.models.base import Autoencoder


def training_step(
    model: Autoencoder,
    x: Float[Tensor, "B *event"],
    noise: Float[Tensor, "B *any"],
    optimizer: torch.optim.Optimizer,
    clip: float | None = None,
    progress: float = 0.0,
    label: Int64[Tensor, " B"] | None = None,
) -> Float[Tensor, " B"]:
    """Change the model's parameters by one step of gradient descent.

    Args:
        model: the model to train.
        x: a batch of observations.
        noise: what `model.noise` gives for this batch.
        optimizer: of the model's parameters. `model.configure_optimizers()` makes the one of training, by default Adam.
        clip: the largest norm of the gradient; None for no limit.
        progress: how far the whole training is, from 0 to 1. Schedules of β read it. It also decides the phase: in each
            phase of StackedAE another layer learns. Other models have one phase.
        label: the class of each observation, for a model that learns from labels.

    Returns:
        The objective of each observation before the step, in nats.
    """
    model.progress.fill_(progress)
    if model.enter_phase(progress):  # true at the first step of a new phase, which starts with a new optimiser
        optimizer.state.clear()

    # What the model maximises, for example the ELBO: `model.objective(x, noise)`, or one that reads the labels too.
    objective = model.objective_of(Batch(x, label), noise)

    # Optimisers minimise: the loss is the negative mean over the batch.
    loss = -objective.mean()

    # The gradient with respect to every parameter. `backward` adds to the stored gradients, so they are reset first.
    optimizer.zero_grad()
    loss.backward()

    # Scale the gradient of all parameters together down to the norm `clip`. Its direction stays the same.
    if clip is not None:
        nn.utils.clip_grad_norm_(model.parameters(), clip)

    # Adam moves a parameter by learning rate × (running mean of its gradients) ÷ (their root mean square).
    optimizer.step()
    return objective.detach()
