"""The shape k̂ of the tail of importance weights, which says how far their mean can be trusted (Vehtari et al. 2024).

https://arxiv.org/abs/1507.02646
"""

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from vaebench.evaluation import bounds
from vaebench.models.draws import ChunkSize
from vaebench.records.weights import Weights

FEWEST = 5
"""The smallest number of draws in a tail that can be fitted."""

TERMS = ChunkSize(1, 2**24)
"""Terms of the fit that are computed at a time."""

WIDEST = 650.0
"""The largest difference of log-weights in a tail, in nats. Beyond it, their ratio would underflow in float64."""


def tail_length(draws: int) -> int:
    """min(K/5, 3√K), the number of largest weights that form the tail.

    >>> [tail_length(draws) for draws in (20, 100, 10_000)]
    [4, 20, 300]
    """
    return int(min(draws / 5, 3 * draws**0.5))


def pareto_k(log_weight: Float[Tensor, "K B"]) -> Float64[Tensor, " B"]:
    """k̂ of every observation; NaN if the tail has fewer than five draws, or if its lower quarter has equal weights.

    If the log-weights of a tail differ by more than 650 nats, they are scaled down to this range, because float64
    cannot hold the weights. Then k̂ is too small, but still far above every limit.
    """
    tail = tail_length(len(log_weight))
    if tail < FEWEST:
        return torch.full_like(log_weight[0], torch.nan, dtype=torch.float64)
    largest = log_weight.double().topk(tail + 1, 0).values.flip(0)
    width = largest[-1] - largest[0]
    weights = ((largest - largest[-1]) * torch.where(width.isfinite(), WIDEST / width, 1.0).clamp(max=1)).exp()
    return generalized_pareto_shape(weights[1:] - weights[0])


def generalized_pareto_shape(excess: Float64[Tensor, "M B"]) -> Float64[Tensor, " B"]:
    """Fit the shape k of F(x) = 1 − (1 + kx/σ)^(−1/k) to sorted excesses x ≥ 0 over a threshold, for each column.

    First the posterior mean of θ = −k/σ over the grid of Zhang & Stephens (2009), then k = mean log(1 − θx). Last comes
    the prior of Vehtari et al. (2024), which counts like ten observations of k = 0.5. NaN where the lower quartile is
    0.
    """
    count, quartile = len(excess), excess[int(len(excess) / 4 + 0.5) - 1]
    size = 30 + int(count**0.5)
    # The grid of θ: 1/x_max plus offsets that the lower quartile scales.
    steps = 1 - (size / (torch.arange(1, size + 1, dtype=excess.dtype, device=excess.device) - 0.5)).sqrt()
    theta = 1 / excess[-1] + steps[:, None] / (3 * quartile)
    some = max(1, TERMS.on(excess) // excess.numel())
    shape = torch.cat([torch.log1p(-part[:, None] * excess).mean(1) for part in theta.split(some)])
    # The profile log-likelihood of θ; its softmax is the posterior on the grid.
    likelihood = count * ((-theta / shape).log() - shape - 1)
    mean = (theta * likelihood.softmax(0)).sum(0)
    k = torch.log1p(-mean * excess).mean(0)
    return torch.where(quartile > 0, (count * k + 5) / (count + 10), torch.nan)


def weights_of(log_weight: Float[Tensor, "K B"]) -> Weights | None:
    """Summarise the importance weights of some observations; None where `summary` returns None."""
    return summary(pareto_k(log_weight), bounds.effective_sample_size(log_weight), len(log_weight))


def summary(shapes: Float64[Tensor, " B"], effective: Float64[Tensor, " B"], draws: int) -> Weights | None:
    """The medians over observations; None for a single draw, or if a weight is not finite.

    Args:
        shapes: k̂ of every observation, or NaN.
        effective: the effective sample size of every observation.
        draws: K.
    """
    if draws == 1 or not bool(effective.isfinite().all()):
        return None
    fitted = shapes[~shapes.isnan()]
    shape = float(fitted.quantile(0.5)) if len(fitted) else None
    return Weights(shape, float(effective.quantile(0.5)), draws)
