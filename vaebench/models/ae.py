"""Autoencoders with a code in place of a distribution: plain, denoising, and contractive."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import Normal
from torch.func import vjp, vmap

from vaebench.config.registry import CORRUPTIONS, MODELS, CorruptionSpec, NonNegative
from vaebench.data.loaders import Batch
from vaebench.models.base import Autoencoder
from vaebench.models.draws import Draws


@MODELS.register
class AE(Autoencoder):
    """Autoencoder: max log p(x|z = f(x)).

    It has no prior and no posterior density, and so no bound on log p(x): these metrics do not apply.
    """

    def noise(self, batch_size: int, generator: torch.Generator) -> Tensor:
        return torch.empty(batch_size, 0, device=generator.device)

    def encode(self, x: Tensor) -> Normal:
        """The code, as a point mass."""
        code = self.encoder(x)
        return Normal(code, torch.zeros_like(code), validate_args=False)

    def objective(self, x: Tensor, noise: Tensor) -> Float[Tensor, " B"]:
        return self.likelihood.log_prob(self.decoder(self.encoder(x)), x)

    def draws_at(
        self, batch: Batch, noise: Iterable[Tensor], keep: int = 1, out: Tensor | None = None, quick: bool = True
    ) -> Draws:
        posterior = self.encode(batch.x)
        p = self.decode(posterior.mean)
        none = batch.x.new_empty(0, len(batch.x))
        return Draws(
            x=batch.x,
            label=batch.label,
            posterior=posterior,
            reconstruction=p.mean,
            z=posterior.mean[None],
            log_px=p.log_prob(batch.x)[None],
            log_pz=none,
            log_qz=none,
        )


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


def squared_jacobian(
    encode: Callable[[Tensor], Float[Tensor, "B L"]], x: Float[Tensor, "B *event"]
) -> Float[Tensor, " B"]:
    """‖∂h/∂x‖²_F of each observation: the sum of all L·D squared derivatives. It is exact, from L backward passes.

    Gradients flow through the result into the parameters of the encoder, and it can be mapped by `torch.func.vmap`.

    Args:
        encode: the code h of each observation. It must not depend on the other observations of the batch.

    >>> squared_jacobian(lambda x: x @ torch.tensor([[1.0, 2.0], [0.0, 3.0]]), torch.zeros(1, 2))
    tensor([14.])
    """
    with torch.inference_mode(False):  # validation runs in inference mode, in which nothing can be differentiated
        code, backward = vjp(encode, x.clone())[:2]
        units = torch.eye(code.shape[-1], dtype=code.dtype, device=code.device)
        # The rows of a batch are independent, so one backward pass gives ∂h_j/∂x of every observation.
        gradients = vmap(lambda unit: backward(unit.expand_as(code))[0])(units)
        return gradients.square().flatten(2).sum((0, 2))


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
