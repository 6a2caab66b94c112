"""The stochastic contractive autoencoder: the code of a corrupted observation should be that of the clean one."""

from typing import Any

from jaxtyping import Float
from torch import Tensor

from vaebench.config.registry import MODELS, NonNegative
from vaebench.models.denoising_ae import DenoisingAE


@MODELS.register
class StochasticContractiveAE(DenoisingAE):
    """Stochastic contractive autoencoder: max log p(x|z = h(x)) − λ‖h(x) − h(x̃)‖², x̃ a corruption of x.

    The decoder sees the clean code. Gaussian noise of a small standard deviation s gives the objective of
    `ContractiveAE` with the weight λs², because E‖h(x + sε) − h(x)‖² = s²‖∂h/∂x‖²_F + O(s⁴).

    Args:
        contraction: λ, the weight of the penalty.
    """

    def __init__(self, shape: tuple[int, ...], seed: int = 0, *, contraction: NonNegative = 1.0, **kwargs: Any) -> None:
        super().__init__(shape, seed, **kwargs)
        self.contraction = contraction

    def objective(self, x: Tensor, noise: Tensor) -> Float[Tensor, " B"]:
        code = self.encoder(x)
        moved = (code - self.encoder(self.corruption(x, noise))).square().sum(-1)
        return self.likelihood.log_prob(self.decoder(code), x) - self.contraction * moved
