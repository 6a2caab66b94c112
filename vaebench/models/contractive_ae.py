"""The contractive autoencoder: a code that small changes of the observation hardly move."""

from typing import Any

from jaxtyping import Float
from torch import Tensor

from vaebench.config.registry import MODELS, NonNegative
from vaebench.models.ae import AE
from vaebench.models.jacobian import squared_jacobian


@MODELS.register
class ContractiveAE(AE):
    """Contractive autoencoder (Rifai et al. 2011): max log p(x|z = h(x)) − λ‖∂h/∂x‖²_F.

    The penalty is a sum over all units and pixels, so the objective has one number per observation. A linear encoder
    has ‖W‖²_F; a layer of sigmoids has Σ_j (h_j(1 − h_j))² Σ_i W_ji². https://icml.cc/2011/papers/455_icmlpaper.pdf

    Args:
        contraction: λ, the weight of the penalty.
    """

    def __init__(self, shape: tuple[int, ...], seed: int = 0, *, contraction: NonNegative = 0.1, **kwargs: Any) -> None:
        super().__init__(shape, seed, **kwargs)
        self.contraction = contraction

    def objective(self, x: Tensor, noise: Tensor) -> Float[Tensor, " B"]:
        return super().objective(x, noise) - self.contraction * squared_jacobian(self.encoder, x)
