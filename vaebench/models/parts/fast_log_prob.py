"""log p(x|z) at many z of the same observations, without gradient, in few passes over the decoder's output.

`vaebench.models.parts.likelihoods` has the same numbers as distributions, which go through that output some ten times
and cost a third of the decoder's matrix products; these go through it three times.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

Score = Callable[[Float[Tensor, "K B *shape"]], Float[Tensor, "K B"]]
"""log p(x|z) of B observations as a function of the likelihood's parameters at K latents of each.

The parameters are overwritten: to put an output of that size elsewhere costs as much as to compute it.
"""

FACTORS = 32
"""Probabilities multiplied before a logarithm is taken: whole vectors of a processor, and above e^−87 as a rule."""


def bernoulli(x: Float[Tensor, "B *shape"]) -> Score:
    """Σ log σ(±l), the sign that of the pixel: products of probabilities, then their logarithms.

    No sum of terms of both signs, so nothing cancels. Where a product leaves the range of the numbers, logarithms are
    taken one by one.

    Args:
        x: in {0, 1}.
    """
    sign = (2 * x - 1).flatten(1)

    def score(logits: Tensor) -> Tensor:
        signed = logits.flatten(2).mul_(sign)
        products = _products(torch.sigmoid(signed))
        if bool((products >= torch.finfo(x.dtype).tiny).all()):
            return products.log_().sum(-1)
        return logsigmoid(signed).sum(-1)

    return score


def gaussian(x: Float[Tensor, "B *shape"], std: Float[Tensor, "*pixels"]) -> Score:
    """−½ |(x − μ)/σ|² − Σ log σ − D/2 · log 2π.

    Args:
        x: real.
        std: σ, one of all pixels or one a pixel.
    """
    own = std.expand(x.shape[1:]).flatten()
    constant = own.log().sum() + 0.5 * math.log(2 * math.pi) * len(own)
    target = x.flatten(1)

    def score(mean: Tensor) -> Tensor:
        residual = mean.flatten(2).sub_(target).div_(own if std.ndim else std)
        return -0.5 * torch.linalg.vector_norm(residual, dim=-1).square() - constant

    return score


def _products(factors: Float[Tensor, "K B D"]) -> Float[Tensor, "K B G"]:
    """Products of so many factors each, of the last group as many as are left."""
    whole = factors.shape[-1] // FACTORS * FACTORS
    groups = factors[..., :whole].unflatten(-1, (-1, FACTORS)).prod(-1)
    if whole == factors.shape[-1]:
        return groups
    return torch.cat([groups, factors[..., whole:].prod(-1, keepdim=True)], -1)
