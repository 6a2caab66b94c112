"""Bounds on log p(x): pure functions of the log-weights `log p(x|z) + log p(z) − log q(z|x)`, shape `[K, B]`.

K is the number of draws, B the number of observations. Bounds are in nats per observation, and higher is better. Sums
of weights are computed in float64.

Burda et al. 2016: https://arxiv.org/abs/1509.00519
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Float64
from torch import Tensor


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
    return iwae_curve(log_weight, (k,))[0]


def iwae_curve(log_weight: Float[Tensor, "K B"], sizes: Sequence[int]) -> list[Float[Tensor, "G B"]]:
    """`iwae_groups` for several k. A larger group is computed from smaller groups, not again from the draws.

    Raises:
        ValueError: if a k does not divide K, because the remaining draws would be ignored silently.
    """
    draws, groups = len(log_weight), {1: log_weight.double()}
    for k in sorted(sizes):
        if k < 1 or draws % k:
            raise ValueError(
                f"expected k to divide the number of draws {draws}, got k = {k}; choose k among its divisors"
            )
        # A group of k draws is k/part groups of `part` draws, whose log-means are known: the largest that divide k.
        part = max(size for size in groups if k % size == 0)
        if part < k:
            groups[k] = torch.logsumexp(groups[part].unflatten(0, (draws // k, k // part)), 1) - math.log(k // part)
    return [groups[k] for k in sizes]


def iwae_variance(log_weight: Float[Tensor, "K B"], k: int) -> Float[Tensor, " B"] | None:
    """Monte-Carlo variance of `iwae(log_weight, k)` for each observation; None for a single draw."""
    return variance_of_groups(iwae_groups(log_weight, k), log_weight)


def variance_of_groups(groups: Float[Tensor, "G B"], log_weight: Float[Tensor, "K B"]) -> Float[Tensor, " B"] | None:
    """Monte-Carlo variance of the mean over groups of draws; None for a single draw.

    It is the variance between groups if there are two or more, else the jackknife over the draws of the one group.
    """
    if len(groups) > 1:
        return groups.var(0) / len(groups)
    return jackknife_variance(log_weight) if len(log_weight) > 1 else None


def jackknife_variance(log_weight: Float[Tensor, "K B"]) -> Float[Tensor, " B"]:
    """Monte-Carlo variance of log (1/K) Σ w for one group of K ≥ 2 draws.

    (K − 1)/K Σ_k (θ_k − θ̄)², where θ_k is the estimate without draw k. Its mean is at least (K − 1)/K of the variance
    of an estimate from K − 1 draws (Efron & Stein 1981), for weights of any distribution. The usual formula 1/ESS − 1/K
    is its first order. That one holds only if the weights vary little, and never exceeds 1 nat².
    """
    without = leave_one_out(log_weight)
    return without.var(0) * (len(without) - 1) ** 2 / len(without)


def leave_one_out(log_weight: Float[Tensor, "K B"]) -> Float64[Tensor, "K B"]:
    """log (1/(K − 1)) Σ w without each draw, up to a constant for each observation."""
    log_weight = log_weight.double()
    largest, place = log_weight.max(0, keepdim=True)
    weight = (log_weight - largest).exp()
    without = torch.log1p(-weight / weight.sum(0))
    # If one weight is nearly the whole sum, 1 − w/Σw is only rounding error. So compute the sum of the others directly.
    others = log_weight.scatter(0, place, -torch.inf).logsumexp(0, keepdim=True)
    return without.scatter_(0, place, others - log_weight.logsumexp(0, keepdim=True))


def effective_sample_size(log_weight: Float[Tensor, "K B"]) -> Float[Tensor, " B"]:
    """(Σw)² / Σw², from 1 (one weight is the whole sum) to K (all weights are equal) (Kong 1992).

    >>> effective_sample_size(torch.zeros(4, 1)).tolist()
    [4.0]
    """
    log_weight = log_weight.double()
    weight = (log_weight - log_weight.amax(0)).exp_()
    return weight.sum(0).square() / weight.square().sum(0)
