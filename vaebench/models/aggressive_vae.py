"""The VAE whose encoder is trained ahead of its decoder until the code stops gaining information."""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution, Normal  # noqa: F401 (Normal: for the example)

from vaebench.config.registry import MODELS, PositiveInt
from vaebench.config.seeding import generator
from vaebench.data.loaders import Batch
from vaebench.models.parts.posteriors import log_density, reparameterise
from vaebench.models.vae import VAE


@MODELS.register
class AggressiveVAE(VAE):
    """VAE whose encoder is trained aggressively, ahead of its decoder (He et al. 2019): max ELBO.

    While training is aggressive, `encoder_steps` steps change q(z|x) alone, each on the next batch, and the step after
    them changes p(x|z) and p(z) alone. He et al. end their inner loop when the bound of a window stops rising; here its
    length is fixed. Both kinds count as steps of the epoch, so a run has as many steps as one of another model.
    Aggressive training ends, as in the paper, at the first validation at which I(x;z) is lower than at the validation
    before. From then on every step changes everything. I(x;z) is the mean over validation batches of the information
    within a batch.

    It trains outside a pack: members of a pack take their steps together, but each of these models decides for
    itself when its steps change.

    https://arxiv.org/abs/1901.05534

    Args:
        encoder_steps: steps of the encoder before each step of the decoder.

    Raises:
        ValueError: when training starts, if there is no validation split.
    """

    why_one_device = (
        "in some of its steps a part of the parameters has no gradient, for which the other devices would wait"
    )
    is_aggressive: Tensor
    information: Tensor

    def __init__(
        self, shape: tuple[int, ...], seed: int = 0, *, encoder_steps: PositiveInt = 10, **kwargs: Any
    ) -> None:
        super().__init__(shape, seed, **kwargs)
        self.encoder_steps = encoder_steps
        self.register_buffer("is_aggressive", torch.ones(()))
        self.register_buffer("information", torch.zeros(()))

    def on_train_start(self) -> None:
        if self.data_module is not None and not self.data_module.sizes["validation"]:
            raise ValueError(
                "AggressiveVAE expects a validation split, on which I(x;z) ends the aggressive training, got none; "
                "leave out data.validation: 0"
            )

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """The loss of a step, after the choice of what it changes. Adam leaves alone what has no gradient."""
        decoders_turn = self.global_step % (self.encoder_steps + 1) == self.encoder_steps
        self._learn(encoder=not (self.is_aggressive and decoders_turn), decoder=not self.is_aggressive or decoders_turn)
        return super().training_step(batch, index)

    def on_train_end(self) -> None:
        self._learn(encoder=True, decoder=True)
        super().on_train_end()

    def on_validation_epoch_start(self) -> None:
        super().on_validation_epoch_start()
        self._found: list[Tensor] = []
        self._draws = generator(self.seed, "information", self.device)

    def validation_step(self, batch: Batch, index: int) -> None:
        super().validation_step(batch, index)
        posterior = self.encode(batch.x)
        z = reparameterise(posterior, self.noise(len(batch.x), self._draws))
        self._found.append(information(posterior, z))

    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        if not self.trainer.sanity_checking:
            found = torch.cat(self._found).mean()
            self.is_aggressive *= found >= self.information
            self.information.copy_(found)

    def _learn(self, *, encoder: bool, decoder: bool) -> None:
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(encoder if name.startswith(("encoder.", "posterior.")) else decoder)


def information(posterior: Distribution, z: Float[Tensor, "B L"]) -> Float[Tensor, " B"]:
    """log q(z_n|x_n) − log (1/B) Σ_m q(z_n|x_m), whose mean is I(x;z) for the observations of the batch.

    >>> same = Normal(torch.zeros(3, 2), torch.ones(3, 2))
    >>> information(same, torch.ones(3, 2)).abs().max() < 1e-6
    tensor(True)
    """
    log_q = log_density(posterior, z[:, None].expand(-1, len(z), -1))
    return log_q.diagonal() - log_q.logsumexp(1) + math.log(len(z))
