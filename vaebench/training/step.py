"""One training step of one model, in plain PyTorch: objective, loss, gradient, clip, optimiser.

This function defines a step. Outside a pack, Lightning runs these operations: `Autoencoder.training_step` gives it the
loss. A pack is a group of runs that train as one program, in `vaebench.training.packed`. tests/test_step.py compares
both with this function, for every registered model.
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
        progress: the share of training that is over, from 0 to 1. It decides the phase; a schedule of β reads it.
        label: the class of each observation, for a model that learns from labels.

    Returns:
        The objective of each observation before the step, in nats.
    """
    model.progress.fill_(progress)
    if model.enter(progress):  # a new phase (StackedAE trains layer after layer) starts with a new optimiser
        optimizer.state.clear()

    # What the model maximises, for example the ELBO. All randomness comes from `noise`.
    objective = model.objective_of(Batch(x, label), noise)

    # Optimisers minimise: the loss is the negative mean over the batch.
    loss = -objective.mean()

    # The gradient with respect to every parameter. `backward` adds to the stored gradients, so they are reset first.
    optimizer.zero_grad()
    loss.backward()

    # Scale the gradient of all parameters together down to the norm `clip`. Its direction stays the same.
    if clip is not None:
        nn.utils.clip_grad_norm_(model.parameters(), clip)

    # Adam (Kingma & Ba 2015), for example, moves each parameter by learning rate × (running mean of its gradients) ÷
    # (their root mean square).
    optimizer.step()
    return objective.detach()
