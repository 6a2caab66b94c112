"""Bounds on log p(x): pure functions of one tensor, the log-weights `[K, B]` = `log p(x|z) + log p(z) − log q(z|x)`.

Everything is in nats per observation and higher is better. Sums of weights are taken in float64.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def elbo(log_weight: Float[Tensor, "K B"]) -> Float[Tensor, " B"]:
    """Evidence lower bound E_q[log w], averaged over all K draws (Kingma & Welling 2014)."""
    return log_weight.double().mean(0)


def iwae(log_weight: Float[Tensor, "K B"], k: int) -> Float[Tensor, " B"]:
    """Importance-weighted bound E[log (1/k) Σ w] (Burda et al. 2016).

    For k < K it is averaged over the K/k disjoint groups of draws: the same expectation as one group, with less noise.

    Raises:
        ValueError: if k does not divide K, since the draws left over would be silently dropped.
    """
    return iwae_groups(log_weight, k).mean(0)


def iwae_groups(log_weight: Float[Tensor, "K B"], k: int) -> Float[Tensor, "G B"]:
    """The IWAE-k estimate of each of the G = K/k disjoint groups of draws."""
    return iwae_curve(log_weight, (k,))[0]


def iwae_curve(log_weight: Float[Tensor, "K B"], sizes: Sequence[int]) -> list[Float[Tensor, "G B"]]:
    """`iwae_groups` of several k from one pass over the weights: a group is made of groups of a size that divides k.

    Raises:
        ValueError: if a k does not divide K, since the draws left over would be silently dropped.
    """
    draws, groups = len(log_weight), {1: log_weight.double()}
    for k in sorted(sizes):
        if k < 1 or draws % k:
            raise ValueError(
                f"expected k to divide the number of draws {draws}, got k = {k}; choose k among its divisors"
            )
        part = max(size for size in groups if k % size == 0)
        if part < k:
            groups[k] = torch.logsumexp(groups[part].unflatten(0, (draws // k, k // part)), 1) - math.log(k // part)
    return [groups[k] for k in sizes]


def iwae_variance(log_weight: Float[Tensor, "K B"], k: int) -> Float[Tensor, " B"] | None:
    """Monte-Carlo variance of `iwae(log_weight, k)`, an observation at a time; None for a single draw."""
    return variance_of_groups(iwae_groups(log_weight, k), log_weight)


def variance_of_groups(groups: Float[Tensor, "G B"], log_weight: Float[Tensor, "K B"]) -> Float[Tensor, " B"] | None:
    """Monte-Carlo variance of the mean over groups of draws; None for a single draw.

    From their spread where there are at least two; of a single group, by leaving out one draw after the other.
    """
    if len(groups) > 1:
        return groups.var(0) / len(groups)
    return jackknife_variance(log_weight) if len(log_weight) > 1 else None


def jackknife_variance(log_weight: Float[Tensor, "K B"]) -> Float[Tensor, " B"]:
    """Monte-Carlo variance of log (1/K) Σ w, of one group of K ≥ 2 draws.

    (K − 1)/K Σ_k (θ_k − θ̄)², with θ_k the estimate without draw k. Its mean is at least (K − 1)/K of the variance of
    K − 1 draws (Efron & Stein 1981), however heavy the weights. The usual 1/ESS − 1/K is the first order of it, holds
    only while the weights vary little, and never exceeds 1 nat².
    """
    log_weight = log_weight.double()
    largest, place = log_weight.max(0, keepdim=True)
    weight = (log_weight - largest).exp()
    without = torch.log1p(-weight / weight.sum(0))  # θ_k less what all have in common
    # Where one draw carries nearly everything, 1 − w/Σw is rounding: the sum of the others is taken by itself.
    others = log_weight.scatter(0, place, -torch.inf).logsumexp(0, keepdim=True)
    without.scatter_(0, place, others - log_weight.logsumexp(0, keepdim=True))
    return without.var(0) * (len(without) - 1) ** 2 / len(without)


def effective_sample_size(log_weight: Float[Tensor, "K B"]) -> Float[Tensor, " B"]:
    """(Σw)² / Σw², between 1 (one draw carries all) and K (all weights equal) (Kong 1992)."""
    log_weight = log_weight.double()
    weight = (log_weight - log_weight.amax(0)).exp_()
    return weight.sum(0).square() / weight.square().sum(0)
