"""Bounds on log p(x), their Monte-Carlo errors, and how far their weights can be trusted.

All are pure functions of the log-weights `log p(x|z) + log p(z) − log q(z|x)`, shape `[K, B]`: K is the number of
draws, B the number of observations. Bounds are in nats per observation, and higher is better. Sums of weights are
computed in float64. k is the number of draws in a group of IWAE-k. k̂ (Pareto k) is another number: the shape of the
tail of the weights. It and the effective sample size say how far their mean can be trusted (Vehtari et al. 2024).

Burda et al. 2016: https://arxiv.org/abs/1509.00519; Vehtari et al. 2024: https://arxiv.org/abs/1507.02646
"""

import math
from collections.abc import Sequence
from statistics import median

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from vaebench.models.draws import ChunkSize
from vaebench.records.description import Weights


def elbo(log_weight: Float[Tensor, "K B"]) -> Float[Tensor, " B"]:
    """Evidence lower bound E_q[log w], the mean over all K draws (Kingma & Welling 2014).

    >>> elbo(torch.tensor([[1.0], [3.0]])).tolist()
    [2.0]
    """
    return log_weight.double().mean(0)


def iwae(log_weight: Float[Tensor, "K B"], k: int) -> Float[Tensor, " B"]:
    """Importance-weighted bound E[log (1/k) Σ w] (Burda et al. 2016).

    For k < K it is the mean over K/k disjoint groups of draws. Its expected value is that of one group of k draws, and
    it has less noise.

    Raises:
        ValueError: if k does not divide K, because the remaining draws would be ignored silently.

    >>> log_weight = torch.tensor([[1.0], [2.0], [6.0], [3.0]]).log()
    >>> [round(iwae(log_weight, k).exp().item(), 6) for k in (1, 4)]
    [2.44949, 3.0]
    """
    return iwae_groups(log_weight, k).mean(0)


def iwae_groups(log_weight: Float[Tensor, "K B"], k: int) -> Float[Tensor, "G B"]:
    """The IWAE-k estimate of each of the G = K/k disjoint groups of draws."""
    return iwae_groups_by_size(log_weight, (k,))[0]


def iwae_groups_by_size(log_weight: Float[Tensor, "K B"], sizes: Sequence[int]) -> list[Float[Tensor, "G B"]]:
    """`iwae_groups` for several k. A larger group is computed from smaller groups, not again from the draws.

    Raises:
        ValueError: if a k does not divide K, because the remaining draws would be ignored silently.
    """
    draws, log_means = len(log_weight), {1: log_weight.double()}  # by size of group, `[G, B]`
    for k in sorted({*sizes} - {1}):
        if k < 1 or draws % k:
            raise ValueError(
                f"expected k to divide the number of draws {draws}, got k = {k}; choose k among its divisors"
            )
        # A group of k draws is k/known smaller groups, whose log-means are known.
        known = max(size for size in log_means if k % size == 0)
        inside = log_means[known].unflatten(0, (draws // k, k // known))
        log_means[k] = inside.logsumexp(1) - math.log(k // known)
    return [log_means[k] for k in sizes]


def iwae_variance(log_weight: Float[Tensor, "K B"], k: int) -> Float[Tensor, " B"] | None:
    """Monte-Carlo variance of `iwae(log_weight, k)` for each observation; None for a single draw."""
    return variance_of_groups(iwae_groups(log_weight, k), log_weight)


def variance_of_groups(groups: Float[Tensor, "G B"], log_weight: Float[Tensor, "K B"]) -> Float[Tensor, " B"] | None:
    """Monte-Carlo variance of the mean over groups of draws; None for a single draw.

    It is the variance between groups if there are two or more, else the jackknife over the draws of the one group.
    """
    if len(groups) > 1:
        return _variance(groups) / len(groups)
    return jackknife_variance(log_weight) if len(log_weight) > 1 else None


def jackknife_variance(log_weight: Float[Tensor, "K B"]) -> Float[Tensor, " B"]:
    """Monte-Carlo variance of log (1/K) Σ w for one group of K ≥ 2 draws.

    (K − 1)/K Σ_i (l_i − l̄)², where l_i is the estimate without draw i, and l̄ the mean of all l_i. The mean of this
    sum is at least (K − 1)/K of the variance of an estimate from K − 1 draws (Efron & Stein 1981), for weights of any
    distribution. The usual formula is 1/ESS − 1/K. It is the first order of the jackknife, holds only if the weights
    vary little, and never exceeds 1 nat².
    """
    without = leave_one_out(log_weight)
    return _variance(without) * (len(without) - 1) ** 2 / len(without)


def _variance(values: Float64[Tensor, "N B"]) -> Float64[Tensor, " B"]:
    """The variance of each column. `Tensor.var` goes through them column by column, which takes twice as long.

    >>> _variance(torch.tensor([[1.0], [3.0], [5.0]], dtype=torch.float64)).tolist()
    [4.0]
    """
    return (values - values.mean(0)).square_().sum(0) / (len(values) - 1)


SMALLEST_SUM = 1e-290
"""The smallest sum of weights, divided by the largest weight, that has all digits of float64."""


def leave_one_out(log_weight: Float[Tensor, "K B"]) -> Float64[Tensor, "K B"]:
    """log (1/(K − 1)) Σ w without each draw, up to a constant for each observation."""
    log_weight = log_weight.double()
    largest, row_of_largest = log_weight.max(0, keepdim=True)
    weight = (log_weight - largest).exp_()
    total, others = weight.sum(0, keepdim=True), weight.scatter(0, row_of_largest, 0.0).sum(0, keepdim=True)
    # log(Σ − w) = log Σ + log(1 − w/Σ). If one weight is nearly the whole sum, 1 − w/Σ is only rounding error. So for
    # the largest weight the sum of the others is used.
    without_largest = others.log() - total.log()
    if bool((others < SMALLEST_SUM).any()):
        log_others = log_weight.scatter(0, row_of_largest, -torch.inf)
        without_largest = log_others.logsumexp(0, keepdim=True) - log_weight.logsumexp(0, keepdim=True)
    return torch.log1p(weight.div_(-total)).scatter_(0, row_of_largest, without_largest)


def effective_sample_size(log_weight: Float[Tensor, "K B"]) -> Float[Tensor, " B"]:
    """(Σw)² / Σw², from 1 (one weight is the whole sum) to K (all weights are equal) (Kong 1992).

    >>> effective_sample_size(torch.zeros(4, 1)).tolist()
    [4.0]
    """
    log_weight = log_weight.double()
    weight = (log_weight - log_weight.max(0).values).exp_()  # not `amax`, which takes three times as long
    return weight.sum(0).square() / weight.square().sum(0)


FEWEST_IN_TAIL = 5
"""The smallest number of draws in a tail that can be fitted."""

TERMS_AT_ONCE = ChunkSize(2**15, 2**24)
"""Values of θ × draws × observations that are computed at a time."""

WIDEST_TAIL = 650.0
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
    if tail < FEWEST_IN_TAIL:
        return torch.full_like(log_weight[0], torch.nan, dtype=torch.float64)
    # NumPy's partition takes a fifth of the time of `topk`.
    # One weight more than the tail: the threshold, which all weights of the tail exceed.
    unsorted = np.partition(log_weight.double().cpu().numpy(), -tail - 1, 0)[-tail - 1 :]
    largest = torch.from_numpy(np.sort(unsorted, 0)).to(log_weight.device)
    width = largest[-1] - largest[0]
    weights = ((largest - largest[-1]) * torch.where(width.isfinite(), WIDEST_TAIL / width, 1.0).clamp(max=1)).exp()
    return generalized_pareto_shape(weights[1:] - weights[0])


def generalized_pareto_shape(excess: Float64[Tensor, "M B"]) -> Float64[Tensor, " B"]:
    """Fit the shape k of F(x) = 1 − (1 + kx/σ)^(−1/k) to sorted excesses x ≥ 0 over a threshold, for each column.

    First the posterior mean of θ = −k/σ over the grid of Zhang & Stephens (2009), then k = mean log(1 − θx). Last comes
    the prior of Vehtari et al. (2024), which counts like ten observations of k = 0.5. NaN where the lower quartile is
    0.
    """
    count, quartile = len(excess), excess[int(len(excess) / 4 + 0.5) - 1]
    size = 30 + int(count**0.5)
    # The grid of θ: 1/x_max plus steps / (3 · lower quartile).
    steps = 1 - (size / (torch.arange(1, size + 1, dtype=excess.dtype, device=excess.device) - 0.5)).sqrt()
    theta = 1 / excess[-1] + steps[:, None] / (3 * quartile)
    thetas_at_once = max(1, TERMS_AT_ONCE.on(excess) // excess.numel())
    shape = torch.cat([(-thetas[:, None] * excess).log1p_().mean(1) for thetas in theta.split(thetas_at_once)])
    # The profile log-likelihood of θ; its softmax is the posterior on the grid.
    likelihood = count * ((-theta / shape).log() - shape - 1)
    mean = (theta * likelihood.softmax(0)).sum(0)
    k = torch.log1p(-mean * excess).mean(0)
    return torch.where(quartile > 0, (count * k + 5) / (count + 10), torch.nan)


def reliability(log_weight: Float[Tensor, "K B"]) -> Weights | None:
    """How far the importance weights of some observations can be trusted, as `median_reliability` says it."""
    return median_reliability(pareto_k(log_weight), effective_sample_size(log_weight), len(log_weight))


def median_reliability(shapes: Float64[Tensor, " B"], effective: Float64[Tensor, " B"], draws: int) -> Weights | None:
    """The medians over observations of k̂ and of the effective sample size.

    None for a single draw, or if a weight is not finite.

    Args:
        shapes: k̂ of every observation, or NaN.
        effective: the effective sample size of every observation.
        draws: K.
    """
    if draws == 1 or not bool(effective.isfinite().all()):
        return None
    fitted = shapes[~shapes.isnan()].tolist()
    return Weights(median(fitted) if fitted else None, median(effective.tolist()), draws)
