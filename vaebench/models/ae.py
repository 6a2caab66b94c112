"""Autoencoders with a code in place of a distribution: plain, denoising, contractive, and sparse."""

from collections.abc import Callable, Iterable
from math import prod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Normal
from torch.func import vjp, vmap
from torch.nn.functional import linear, normalize

from vaebench.config.registry import (
    CORRUPTIONS,
    MODELS,
    NETWORKS,
    CorruptionSpec,
    LikelihoodSpec,
    NetworkSpec,
    NonNegative,
    PositiveInt,
)
from vaebench.config.seeding import seeded
from vaebench.data.loaders import Batch
from vaebench.models.base import Autoencoder
from vaebench.models.draws import Draws
from vaebench.models.parts.networks import Affine, Decoder


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


class Dictionary(nn.Linear):
    """a ↦ Da + b, where the columns of D have norm 1."""

    @property
    def columns(self) -> Float[Tensor, "D L"]:
        """D: the columns of the weight, each divided by its norm."""
        return normalize(self.weight, dim=0)

    def forward(self, code: Float[Tensor, "*batch L"]) -> Float[Tensor, "*batch D"]:
        return linear(code, self.columns, self.bias)


@MODELS.register
class SparseAE(AE):
    """Sparse autoencoder: max log p(x|Da + b) − λ‖a‖₁ with a = ReLU(W(x − x̂₀) + c) (Bricken et al. 2023).

    D has columns of norm 1, and x̂₀ is the mean of p(x|a = 0), so b for a Gaussian. With k, a has the k largest entries
    of W(x − x̂₀) + c instead, of either sign, and 0 elsewhere (TopK; Gao et al. 2024). An affine encoder starts with
    W = Dᵀ and c = 0. With σ² = ½ the objective is −‖x − Da‖² − λ‖a‖₁ and a constant; for orthonormal columns its best
    code is the soft threshold a = max(0, Dᵀx − λ/2).
    https://transformer-circuits.pub/2023/monosemantic-features and https://arxiv.org/abs/2406.04093

    Args:
        network: the architecture of the encoder, for W(x − x̂₀) + c. The decoder is always Da + b.
        l1: λ, the weight of the penalty.
        k: how many units of a code are kept; null for the ReLU.

    Raises:
        ValueError: if k is larger than the number of units.
    """

    sparse = True

    def __init__(
        self,
        shape: tuple[int, ...],
        seed: int = 0,
        *,
        network: NetworkSpec = "Affine",
        likelihood: LikelihoodSpec = "Gaussian",
        l1: NonNegative = 0.1,
        k: PositiveInt | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(shape, seed, network=network, likelihood=likelihood, **kwargs)
        if k is not None and k > self.latent_dim:
            raise ValueError(f"model.k: expected at most latent_dim = {self.latent_dim} units to keep, got {k}")
        self.l1, self.k = l1, k
        with seeded(seed, "dictionary"):
            self.decoder = Decoder(Dictionary(self.latent_dim, prod(self.shape)), nn.Unflatten(-1, self.shape))
        with torch.no_grad():
            self.dictionary.weight.copy_(self.dictionary.columns)
            affine = [module for module in self.encoder.modules() if isinstance(module, nn.Linear)]
            if type(NETWORKS.build(network)) is Affine:
                affine[0].weight.copy_(self.dictionary.weight.mT)
                affine[0].bias.zero_()

    @property
    def dictionary(self) -> Dictionary:
        """D and b."""
        dictionary = self.decoder[0]
        assert isinstance(dictionary, Dictionary)
        return dictionary

    def encode(self, x: Tensor) -> Normal:
        """The sparse code, as a point mass."""
        nothing = self.likelihood(self.decoder(x.new_zeros(1, self.latent_dim))).mean
        entries = self.encoder(x - nothing)
        if self.k is None:
            code = entries.relu()
        else:
            largest = entries.topk(self.k)
            code = torch.zeros_like(entries).scatter(-1, largest.indices, largest.values)
        return Normal(code, torch.zeros_like(code), validate_args=False)

    def objective(self, x: Tensor, noise: Tensor) -> Float[Tensor, " B"]:
        code = self.encode(x).mean
        return self.likelihood.log_prob(self.decoder(code), x) - self.l1 * code.abs().sum(-1)
