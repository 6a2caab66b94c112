"""The denoising autoencoder: reconstruct observations from corrupted ones."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from vaebench.config.registry import CORRUPTIONS, MODELS, CorruptionSpec
from vaebench.models.ae import AE


@MODELS.register
class DenoisingAE(AE):
    """Denoising autoencoder (Vincent et al. 2010): max log p(x|z = f(x̃)), x̃ a corruption of x. Evaluated on clean x.

    Args:
        corruption: how x̃ is made from x.
    """

    def __init__(
        self, shape: tuple[int, ...], seed: int = 0, *, corruption: CorruptionSpec = "GaussianNoise", **kwargs: Any
    ) -> None:
        super().__init__(shape, seed, **kwargs)
        self.corruption = CORRUPTIONS.build(corruption)

    def noise(self, batch_size: int, generator: torch.Generator) -> Tensor:
        return self.corruption.draw((batch_size, *self.shape), generator)

    def objective(self, x: Tensor, noise: Tensor) -> Float[Tensor, " B"]:
        return self.likelihood.log_prob(self.decoder(self.encoder(self.corruption(x, noise))), x)
