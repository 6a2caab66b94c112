"""How heavy the tail of the importance weights is."""

import torch
from jaxtyping import Float, Float64
from torch import Tensor
from torchmetrics.utilities.data import dim_zero_cat

from vaebench.draws import Draws
from vaebench.metrics.base import Blank, Diagnostic
from vaebench.record import Estimate
from vaebench.registry import METRICS

UNRELIABLE = 0.7
"""The k̂ above which no practical number of draws makes the mean weight reliable."""

FEWEST = 5
"""Draws in a tail that can be fitted."""


@METRICS.register
class ParetoK(Diagnostic):
    """Pareto k̂, the shape of the tail of each observation's K importance weights (Vehtari et al. 2024): the median
    over observations, and the share above 0.7.

    Weights of shape k have 1/k finite moments: from 0.5 on no variance, from 1 on no mean. The generalised Pareto
    distribution is fitted to the largest min(K/5, 3√K) weights, so 25 draws are the fewest; below some 2200 the share
    is flattering, as k̂ is safe only below 1 − 1/log10(K). k̂ is drawn towards 0.5 with the weight of ten draws and has a
    standard deviation of about (1 + k)/√(tail). Where the largest weights are tied there is no tail and no k̂.
    """

    shapes: list[Tensor]
    draws: int = 0

    def __init__(self) -> None:
        super().__init__()
        self.add_state("shapes", [], dist_reduce_fx="cat")

    def columns(self, draws: int) -> tuple[str, ...]:
        return ("pareto_k_median", f"pareto_k_above_{UNRELIABLE:g}")

    def update(self, draws: Draws) -> None:
        self.draws = len(draws.log_weight)
        self.shapes.append(pareto_k(draws.log_weight))

    def compute(self) -> tuple[Estimate | Blank, ...]:
        shapes = dim_zero_cat(self.shapes)
        n, names = len(shapes), self.columns(self.draws)
        fitted = shapes[~shapes.isnan()]
        if not len(fitted):
            few = f"{FEWEST * FEWEST} draws are the fewest that have a tail, got {self.draws}"
            tied = "the largest weights of every observation are tied: there is no tail"
            return tuple(Blank(name, few if tail_length(self.draws) < FEWEST else tied) for name in names)
        note = f"the largest weights of {n - len(fitted)} of {n} observations are tied" if len(fitted) < n else None
        values = float(fitted.quantile(0.5)), float((fitted > UNRELIABLE).sum()) / n
        return tuple(Estimate(name, value, n=n, note=note) for name, value in zip(names, values, strict=True))


def tail_length(draws: int) -> int:
    """min(K/5, 3√K), the number of the largest weights that count as the tail."""
    return int(min(draws / 5, 3 * draws**0.5))


def pareto_k(log_weight: Float[Tensor, "K B"]) -> Float64[Tensor, " B"]:
    """k̂ of every observation; NaN where the tail is shorter than five draws or its lower quarter is tied."""
    tail = tail_length(len(log_weight))
    if tail < FEWEST:
        return torch.full_like(log_weight[0], torch.nan, dtype=torch.float64)
    largest = log_weight.double().topk(tail + 1, 0).values.flip(0)
    weights = (largest - largest[-1]).exp()
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
