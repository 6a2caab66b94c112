"""How heavy the tail of importance weights is, and how far a mean of them can be trusted: functions of log-weights."""

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from vaebench.evaluation import bounds
from vaebench.records.weights import Weights

FEWEST = 5
"""Draws in a tail that can be fitted."""

WIDEST = 650.0
"""Nats between the smallest and the largest weight of a tail, beyond which they would leave float64."""


def tail_length(draws: int) -> int:
    """min(K/5, 3√K), the number of the largest weights that count as the tail."""
    return int(min(draws / 5, 3 * draws**0.5))


def pareto_k(log_weight: Float[Tensor, "K B"]) -> Float64[Tensor, " B"]:
    """k̂ of every observation; NaN where the tail is shorter than five draws or its lower quarter is tied.

    Log-weights of a tail that is wider than float64 are drawn together to 650 nats: of such weights k̂ is too small, and
    still far above any limit.
    """
    tail = tail_length(len(log_weight))
    if tail < FEWEST:
        return torch.full_like(log_weight[0], torch.nan, dtype=torch.float64)
    largest = log_weight.double().topk(tail + 1, 0).values.flip(0)
    width = largest[-1] - largest[0]
    weights = ((largest - largest[-1]) * torch.where(width.isfinite(), WIDEST / width, 1.0).clamp(max=1)).exp()
    return generalized_pareto_shape(weights[1:] - weights[0])


def generalized_pareto_shape(excess: Float64[Tensor, "M B"]) -> Float64[Tensor, " B"]:
    """Shape k of F(x) = 1 − (1 + kx/σ)^(−1/k), from sorted excesses x ≥ 0 of a threshold, a column a fit.

    The posterior mean of θ = −k/σ over the grid of Zhang & Stephens (2009), then k = mean log(1 − θx); last, the prior
    of Vehtari et al. (2024), ten observations of k = 0.5. NaN where the lower quartile is 0.
    """
    count, quartile = len(excess), excess[int(len(excess) / 4 + 0.5) - 1]
    size = 30 + int(count**0.5)
    steps = 1 - (size / (torch.arange(1, size + 1, dtype=excess.dtype, device=excess.device) - 0.5)).sqrt()
    theta = 1 / excess[-1] + steps[:, None] / (3 * quartile)
    shape = torch.stack([torch.log1p(-t * excess).mean(0) for t in theta])
    likelihood = count * ((-theta / shape).log() - shape - 1)
    mean = (theta * likelihood.softmax(0)).sum(0)
    k = torch.log1p(-mean * excess).mean(0)
    return torch.where(quartile > 0, (count * k + 5) / (count + 10), torch.nan)


def weights_of(log_weight: Float[Tensor, "K B"]) -> Weights | None:
    """What the weights of some observations say of a mean of them; None where `summary` says so."""
    return summary(pareto_k(log_weight), bounds.effective_sample_size(log_weight), len(log_weight))


def summary(shapes: Float64[Tensor, " B"], effective: Float64[Tensor, " B"], draws: int) -> Weights | None:
    """The medians over observations; None for a single draw, and where a weight is no number.

    Args:
        shapes: k̂ of every observation, NaN where there is none.
        effective: effective draws of every observation.
        draws: K.
    """
    if draws == 1 or not bool(effective.isfinite().all()):
        return None
    fitted = shapes[~shapes.isnan()]
    shape = float(fitted.quantile(0.5)) if len(fitted) else None
    return Weights(shape, float(effective.quantile(0.5)), draws)
