"""log p(x|z) for many latents of the same observations, without gradients, in few passes over the decoder's output.

The distributions of `likelihoods` give the same numbers. But they read that output about ten times, which costs a third
of the decoder's matrix products. These functions read it three times.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

LogProb = Callable[[Float[Tensor, "K B *shape"]], Float[Tensor, "K B"]]
"""log p(x|z) of B observations, as a function of the decoder's output for K latents of each.

It overwrites its argument, because allocating another tensor of that size would cost as much as computing it.
"""

FACTORS = 32
"""The number of probabilities in one product. It fills a processor's vectors, and the product rarely underflows."""


def bernoulli_log_prob(x: Float[Tensor, "B *shape"]) -> LogProb:
    """Σ log σ(±l), with + for pixels of 1 and − for pixels of 0: multiply probabilities, then take logarithms.

    All terms are negative, so no digits cancel. If a product underflows, the logarithms are taken one by one.

    Args:
        x: observations in {0, 1}.
    """
    sign = (2 * x - 1).flatten(1)

    def log_prob(logits: Tensor) -> Tensor:
        signed = logits.flatten(2).mul_(sign)
        products = _products(torch.sigmoid(signed))
        if bool(products.amin() >= torch.finfo(x.dtype).tiny):
            return products.log_().sum(-1)
        return logsigmoid(signed).sum(-1)

    return log_prob


def gaussian_log_prob(x: Float[Tensor, "B *shape"], std: Float[Tensor, "*pixels"]) -> LogProb:
    """−½ |(x − μ)/σ|² − Σ log σ − D/2 · log 2π.

    Args:
        x: real observations.
        std: σ, one for all pixels or one for each.
    """
    own = std.expand(x.shape[1:]).flatten()
    constant = own.log().sum() + 0.5 * math.log(2 * math.pi) * len(own)
    target = x.flatten(1)

    def log_prob(mean: Tensor) -> Tensor:
        residual = mean.flatten(2).sub_(target).div_(own if std.ndim else std)
        return -0.5 * torch.linalg.vector_norm(residual, dim=-1).square() - constant

    return log_prob


def _products(factors: Float[Tensor, "K B D"]) -> Float[Tensor, "K B G"]:
    """Products of groups of `FACTORS` factors. The last group may be smaller.

    >>> _products(torch.full((1, 1, 33), 2.0)).flatten().tolist() == [2.0**32, 2.0]
    True
    """
    whole = factors.shape[-1] // FACTORS * FACTORS
    groups = factors[..., :whole].unflatten(-1, (-1, FACTORS)).prod(-1)
    if whole == factors.shape[-1]:
        return groups
    return torch.cat([groups, factors[..., whole:].prod(-1, keepdim=True)], -1)
