"""The sparse autoencoder: an observation is a sum of few columns of a dictionary."""

from math import prod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributions import Normal
from torch.nn.functional import linear, normalize

from vaebench.config.registry import MODELS, NETWORKS, LikelihoodSpec, NetworkSpec, NonNegative, PositiveInt
from vaebench.config.seeding import seeded
from vaebench.models.ae import AE
from vaebench.models.parts.networks import Affine, Decoder


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
